"""What docs/raspberry-pi.md tells people to paste is what the programs take and what dropsight gives.

The files for Mosquitto and vsftpd are tried for real by scripts/systemd-proof.
"""

import json
import re
import shutil
import socket
import sys
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import yaml

from brokers import free_port, wait_until
from daemons import PHOTOS, ROOT, running
from processes import begin

PAGE = (ROOT / "docs" / "raspberry-pi.md").read_text()
# Beside Python's, where scripts/test puts it.
PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=str(Path(sys.executable).parent))
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real record."""
    with running(tmp_path_factory.mktemp("house")) as house:
        (house.inbox / "front").mkdir()
        (house.inbox / "front" / "a.jpg").write_bytes(PHOTOS[0].read_bytes())
        wait_until(lambda: len(house.records()) == 1)
        return house.records()[0]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def at(record: Mapping[str, Any], path: str) -> object:
    value: Any = record
    for key in path.split("."):
        value = value[key]
    return value


def test_telegraf_reads_keys_that_a_record_has(record: dict[str, Any]) -> None:
    (tail,) = tomllib.loads(FILES["/etc/telegraf/telegraf.d/dropsight.conf"])["inputs"]["tail"]
    (parser,) = tail["json_v2"]
    for wanted in (*parser["tag"], *parser["field"]):
        value = at(record, wanted["path"])
        assert isinstance(value, float if wanted.get("type") == "float" else str)
    stamp = re.sub(r"\d", "0", str(at(record, parser["timestamp_path"])))
    assert re.sub(r"\d", "0", parser["timestamp_format"]) == stamp


def test_vector_labels_by_keys_that_a_record_has(record: dict[str, Any]) -> None:
    config = yaml.safe_load(FILES["/etc/vector/vector.yaml"])
    parts = config["sources"] | config["transforms"]
    for part in (*config["transforms"].values(), *config["sinks"].values()):
        assert set(part["inputs"]) <= set(parts)
    for key in re.findall(r"{{ (\w+) }}", FILES["/etc/vector/vector.yaml"]):
        assert isinstance(record[key], str)
    assert "time" in record


def test_home_assistant_is_triggered_by_a_topic_and_keys_that_there_are(record: dict[str, Any]) -> None:
    automation = yaml.safe_load(FILES["automation.yaml"])
    assert automation["triggers"][0]["topic"] == f"dropsight/porch-pi/result/{record['camera']}"
    for key in re.findall(r"payload_json\.(\w+)", FILES["automation.yaml"]):
        assert key in record
    labels = (ROOT / "daemon" / "dropsight" / "models" / "builtin" / "imagenet_labels.txt").read_text()
    for label in re.findall(r'"([^"]+)"', automation["conditions"][0]["value_template"]):
        assert label in labels.splitlines()


def test_the_node_red_flow_is_wired_to_nodes_of_its_own(record: dict[str, Any]) -> None:
    flow = json.loads(FILES["flow.json"])
    known = {node["id"] for node in flow}
    wired = {target for node in flow for output in node.get("wires", []) for target in output}
    assert wired <= known
    for key in re.findall(r"payload\.(\w+)", FILES["flow.json"]):
        assert key in record


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="needs the program prometheus, which scripts/test fetches")
def test_the_queries_for_grafana_count_every_image_in_prometheus(tmp_path: Path) -> None:
    assert PROMETHEUS
    web, port = free_port(), free_port()
    config = yaml.safe_load(FILES["/etc/prometheus/prometheus.yml"])
    config["global"] = {"scrape_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{web}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    def asked(query: str) -> list[dict[str, Any]]:
        text = urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{text}") as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError:  # it is starting
            return []
        return found

    def total(query: str) -> float:
        return sum(float(each["value"][1]) for each in asked(query))

    files = (f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data")
    command = [PROMETHEUS, *files, f"--web.listen-address=127.0.0.1:{port}"]
    with running(tmp_path, web={"listen": f"127.0.0.1:{web}"}) as house:
        (house.inbox / "front").mkdir()
        (house.inbox / "front" / "first.jpg").write_bytes(PHOTOS[0].read_bytes())
        wait_until(lambda: house.finished() == 1)  # from now on its camera is known
        wait_until(lambda: listens(web))
        prometheus = begin(command, stderr=DEVNULL)
        try:
            wait_until(lambda: listens(port))
            seen = "count_over_time(dropsight_images_waiting[1d])"
            wait_until(lambda: total(seen) >= 2, what="it is scraped")
            for number, photo in enumerate(PHOTOS * 6):
                (house.inbox / "front" / f"{number}.jpg").write_bytes(photo.read_bytes())
            wait_until(lambda: house.finished() == 1 + 6 * len(PHOTOS))
            scraped = total(seen)
            wait_until(lambda: total(seen) >= scraped + 3, what="it is scraped again")
            by_camera, latency, by_label, waiting, *_ = FILES["queries"].splitlines()
            assert total(by_camera) > 0
            assert 0 < total(latency) < 60
            # increase() goes on beyond its first and its last sample, by as much as it thinks likely.
            assert 0.7 * 6 * 10 <= total(by_label) <= 1.5 * 6 * len(PHOTOS)
            assert total(waiting) == 0
        finally:
            prometheus.terminate()
            prometheus.wait()


def test_grafana_asks_for_metrics_that_there_are(tmp_path: Path) -> None:
    port = free_port()
    (target,) = yaml.safe_load(FILES["/etc/prometheus/prometheus.yml"])["scrape_configs"][0]["static_configs"]
    assert target["targets"] == ["127.0.0.1:8080"]  # web.listen's default
    with running(tmp_path, web={"listen": f"127.0.0.1:{port}"}) as house:
        (house.inbox / "a.jpg").write_bytes(PHOTOS[0].read_bytes())
        wait_until(lambda: house.finished() == 1)
        wait_until(lambda: listens(port))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    for name in re.findall(r"dropsight_\w+", FILES["queries"]):
        assert re.search(rf"^{name}\b", text, flags=re.MULTILINE), name
    for name in re.findall(r"`(dropsight_\w+) >", PAGE):
        assert f"# TYPE {name} " in text


def test_units_in_the_page_name_what_scripts_install_makes() -> None:
    timelapse = FILES["/etc/systemd/system/timelapse.service"]
    assert "User=dropsight" in timelapse
    assert "/var/lib/dropsight/inbox/" in timelapse
    assert (ROOT / "scripts" / "install").read_text().count("/var/lib/dropsight/inbox") >= 1


def test_a_disk_with_an_inbox_that_is_away_keeps_neither_unit_from_working_for_the_other_inboxes() -> None:
    texts = [text for name, text in FILES.items() if name.endswith(".d/override.conf")]
    texts.append((ROOT / "systemd" / "dropsight-inbox.service").read_text())
    for text in texts:
        assert re.findall(r"^ReadWritePaths=(.)", text, flags=re.MULTILINE) == ["-"]
        assert not re.search(r"^(RequiresMountsFor|Requires|BindsTo)=", text, flags=re.MULTILINE)
