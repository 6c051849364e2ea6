"""Every topic of the contract, heard from a real daemon: QoS, retain flag, and what it says."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, ROOT, House

pytestmark = pytest.mark.broker

BASE, DISCOVERY = "dropsight/test", "homeassistant/device/dropsight_test"
ASKED, REPLY_TO = f"{BASE}/command", "elsewhere/answers"
CAMERA, PART = "K\u00fcche 1", "K_che_1"
# Of each topic: QoS and whether it is retained; None: as `mqtt.retain` says.
CONTRACT: Mapping[str, tuple[int, bool | None]] = {
    f"{BASE}/availability": (1, True),
    f"{BASE}/result/{PART}": (1, None),
    f"{BASE}/result/default": (1, None),
    f"{BASE}/result/{PART}/again": (1, False),
    f"{BASE}/result/default/again": (1, False),
    f"{BASE}/state/{PART}": (1, True),
    f"{BASE}/state/default": (1, True),
    f"{BASE}/problem/{PART}": (1, True),
    f"{BASE}/problem/default": (1, True),
    f"{BASE}/thumbnail/{PART}": (1, True),
    f"{BASE}/thumbnail/default": (1, True),
    f"{BASE}/failure/{PART}": (1, False),
    f"{BASE}/expired/{PART}": (1, False),
    f"{BASE}/burst/{PART}": (1, False),
    **{f"{BASE}/event/{part}/any_thing": (1, False) for part in (PART, "default")},
    **{
        f"{BASE}/{kind}/{part}/any_thing": (1, True)
        for kind in ("active", "seen")
        for part in (PART, "default")
    },
    **{f"{BASE}/event_thumbnail/{part}": (1, True) for part in (PART, "default")},
    f"{BASE}/stats": (0, True),
    f"{BASE}/info": (1, True),
    f"{BASE}/command/response": (1, False),
    REPLY_TO: (1, False),
    f"{DISCOVERY}/config": (1, True),
    f"{DISCOVERY}/{PART}/config": (1, True),
    f"{DISCOVERY}/default/config": (1, True),
}


class Life:
    """Two lives of a daemon: one is stopped, one is killed; what was heard and logged in them."""

    def __init__(self, root: Path, *, retain: bool) -> None:
        self.retain = retain
        with mosquitto(root) as broker, Subscriber(broker.port, "#", as_published=True) as self.heard:
            mqtt = {"url": broker.url, "retain": retain, "thumbnails": True}
            watch = {"path": "inbox", "burst_seconds": 2}
            rule = {"name": "any_thing", "labels": ["*"], "confidence": 0.01, "confirm": "1 of 1"}
            self._house = House(root, {"mqtt": mqtt, "watch": [watch], "events": [rule]})
            try:
                self._live_well()
                self._live_in_haste()
            finally:
                self._house.kill()
            wait_until(lambda: self.last("availability") == b"offline", what="the last will is told")
        self.records = self._house.records()

    def _live_well(self) -> None:
        house = self._house
        house.start()
        (house.inbox / CAMERA).mkdir()
        self._drop("near.jpg")
        wait_until(lambda: house.finished() == 1)
        self._drop("good.jpg")
        shutil.copyfile(PHOTOS[1], house.inbox / "root.jpg")
        (house.inbox / CAMERA / "bad.jpg").write_bytes(b"no picture")
        wait_until(lambda: house.finished() == 4)
        self.heard.publish(ASKED, b'{"command": "rescan"}')
        self.heard.request(ASKED, b'{"command": "stats"}', reply_to=REPLY_TO, correlation=b"7")
        missing = CONTRACT.keys() - {f"{BASE}/expired/{PART}"}
        wait_until(lambda: missing <= self.heard.sent.keys(), what=f"{missing}")
        assert house.stop() == 0

    def _drop(self, name: str) -> None:
        """All of them captured at the same time."""
        part = self._house.root / name
        shutil.copy(PHOTOS[0], part)
        os.utime(part, (1_700_000_000, 1_700_000_000))
        part.rename(self._house.inbox / CAMERA / name)

    def _live_in_haste(self) -> None:
        house = self._house
        config = yaml.safe_load(house.config.read_text())
        house.config.write_text(yaml.safe_dump({**config, "queue": {"max_age": 0.0001}}))
        shutil.copy(PHOTOS[0], house.inbox / CAMERA / "old.jpg")
        self.second = len(self.heard.messages)
        house.start()
        wait_until(lambda: f"{BASE}/expired/{PART}" in self.heard.sent)
        again = {topic for topic, (_, kept) in CONTRACT.items() if kept} - set(self.pictures())
        wait_until(lambda: again <= {topic for topic, _, _ in self.heard.messages[self.second :]})
        house.kill()

    def pictures(self) -> Iterator[str]:
        return (topic for topic in CONTRACT if "thumbnail/" in topic)

    def last(self, name: str) -> bytes:
        return self.heard.topics(f"{BASE}/{name}")[-1]

    def record(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.records if each["image_path"].endswith(name))
        return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="passing results"),
        pytest.param(True, id="retained results", marks=pytest.mark.slow),
    ],
)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(tmp_path_factory.mktemp("house"), retain=request.param)


def test_every_topic_has_the_qos_and_the_retain_flag_of_the_contract_and_there_is_no_other(
    life: Life,
) -> None:
    expected = {
        topic: {(qos, life.retain if kept is None else kept)} for topic, (qos, kept) in CONTRACT.items()
    }
    assert {topic: said for topic, said in life.heard.sent.items() if topic != ASKED} == expected


def test_the_page_on_mqtt_names_every_topic(life: Life) -> None:
    page = (ROOT / "docs" / "mqtt.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `dropsight/<device>/")]
    named = {name for row in rows for name in re.findall(r"`(?:dropsight/<device>/)?([^`]+)`", row)}
    told = {topic.removeprefix(f"{BASE}/") for topic in life.heard.sent if topic.startswith(f"{BASE}/")}
    kinds = {re.sub(f"/({PART}|default)(?=/|$)", "/<camera>", topic) for topic in told}
    kinds = {re.sub("/any_thing$", "/<name>", topic) for topic in kinds}
    assert named == kinds - {"command/response"}


def test_records_are_those_of_the_log_on_the_topic_of_their_kind(life: Life) -> None:
    for kind, name in (("result", "good.jpg"), ("state", "good.jpg"), ("failure", "bad.jpg")):
        assert json.loads(life.last(f"{kind}/{PART}")) == life.record(name), kind
    for kind in ("result", "state"):
        assert json.loads(life.last(f"{kind}/default")) == life.record("root.jpg")
    assert json.loads(life.last(f"expired/{PART}")) == life.record("old.jpg")
    (burst,) = (record for record in life.records if record["kind"] == "burst")
    assert json.loads(life.last(f"burst/{PART}")) == burst
    assert {life.record(name)["status"] for name in ("good.jpg", "bad.jpg", "old.jpg")} == {
        *("ok", "failed", "expired")
    }


def test_availability_is_told_at_start_and_stop_and_by_the_last_will(life: Life) -> None:
    assert life.heard.topics(f"{BASE}/availability") == [b"online", b"offline", b"online", b"offline"]


def test_everything_retained_is_told_again_on_the_next_connection(life: Life) -> None:
    """Pictures are, too, where the broker has them no more: Home Assistant takes each for news."""
    again = {topic for topic, _, _ in life.heard.messages[life.second :]}
    assert again >= {topic for topic, (_, kept) in CONTRACT.items() if kept} - set(life.pictures())


def test_stats_add_up_and_info_has_version_model_labels_and_config(life: Life) -> None:
    for said in life.heard.topics(f"{BASE}/stats"):
        found = json.loads(said)["counters"]
        assert found["seen"] == sum(found[name] for name in ("done", "failed", "waiting", "expired"))
    info = json.loads(life.last("info"))
    assert {"version", "model", "labels", "fallback", "config"} <= info.keys()
    assert info["fallback"] is None


def test_answers_go_to_the_response_topic_or_where_mqtt_5_asks_for_them(life: Life) -> None:
    assert [json.loads(each)["command"] for each in life.heard.topics(f"{BASE}/command/response")] == [
        "rescan"
    ]
    (answer,) = life.heard.topics(REPLY_TO)
    assert json.loads(answer)["ok"] is True
    assert life.heard.correlated[REPLY_TO] == b"7"


def test_of_a_camera_that_sends_nothing_more_problem_and_picture_stay(life: Life) -> None:
    problem = json.loads(life.last(f"problem/{PART}"))
    assert problem["camera"] == CAMERA
    assert life.last(f"thumbnail/{PART}").startswith(b"\xff\xd8")
