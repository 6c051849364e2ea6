"""`dropsight check` finds out what a broker takes of all that `run` tells it, and leaves nothing behind."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Mqtt
from dropsight.sinks.mqtt.permissions import Findings, try_broker
from proxies import hanging_up

pytestmark = pytest.mark.broker

OF_EVENTS = ("event/#", "active/#", "seen/#", "event_thumbnail/#")
RULES = [{"name": "any", "labels": ["*"]}]
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
ROOT = "dropsight/test"
# By topic, as an operator's rules allow it.
KINDS = (
    *("result/#", "failure/#", "expired/#", "availability", "info", "stats", "state/#", "problem/#"),
    *("thumbnail/#", "command/response"),
)
DISCOVERY = "homeassistant/device/#"


def about(done: subprocess.CompletedProcess[str], mark: str) -> str:
    """What it says of the broker with this mark."""
    return "\n".join(line for line in done.stdout.splitlines() if line.split()[:2] == [mark, "broker"])


def rules(folder: Path, *, without: str) -> str:
    """A broker that takes all of ours but one kind, and lets everybody listen."""
    kinds = [f"{ROOT}/{kind}" for kind in (*KINDS, *OF_EVENTS)]
    lines = [f"topic write {kind}\n" for kind in (*kinds, DISCOVERY) if kind != without]
    (folder / "acl").write_text("".join(["topic read #\n", *lines]))
    # Mosquitto 2.0.11 hangs up on who is refused a message where any number may wait.
    return f"allow_anonymous true\nacl_file {folder / 'acl'}\nmax_queued_messages 10000\n"


def tried(folder: Path, url: str, protocol: Literal["5", "3.1.1"]) -> Findings:
    """What `check` finds out, without its looking at all else."""
    return try_broker(Mqtt(url=url, protocol=protocol, thumbnails=True), "test", state=folder, events=True)


def retained(broker: Mosquitto) -> dict[str, bytes]:
    with Subscriber(broker.port, "#") as late:
        late.publish("end/of/it", b"x")
        wait_until(lambda: bool(late.topics("end/of/it")))
        return {topic: payload for topic, payload, kept in list(late.messages) if kept}


@pytest.mark.slow
@PROTOCOLS
def test_check_says_all_that_run_says_and_nobody_takes_it_for_news(tmp_path: Path, protocol: str) -> None:
    mqtt = {"thumbnails": True, "protocol": protocol, "retain": True}
    stats = {"interval_seconds": 2.0}
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as first,
        running(tmp_path, mqtt={"url": broker.url, **mqtt}, stats=stats, events=RULES) as house,
    ):
        (house.inbox / "front").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "front")
        wait_until(lambda: f"{ROOT}/thumbnail/front" in retained(broker))
        wait_until(lambda: b'"done":1' in retained(broker).get(f"{ROOT}/stats", b""))
        wait_until(lambda: bool(first.topics("/front/again")))
        before = retained(broker)
        with Subscriber(broker.port, "#") as heard:
            done = dropsight("check", "-c", str(house.config))
            assert done.returncode == 0, done.stdout
            assert about(done, "ok") == f"ok    broker   MQTT {protocol}"
            assert not about(done, "warn")
            said = {topic: payload for topic, payload, kept in list(heard.messages) if not kept}
        assert {topic.split("/")[2] for topic in said if topic.startswith(ROOT)} == {
            kind.split("/")[0] for kind in (*KINDS, *OF_EVENTS)
        }
        assert any(topic.startswith("homeassistant/device/dropsight_test/") for topic in said)
        for topic, payload in said.items():
            # Of the stats, some may be the daemon's own.
            known = payload == before.get(topic) or topic in {f"{ROOT}/stats", f"{ROOT}/command/response"}
            assert known or not payload, topic
        assert not [topic for topic in said if "/front" in topic]
        stats_aside = {f"{ROOT}/stats": b""}
        assert retained(broker) | stats_aside == before | stats_aside
        assert not {"mqtt", "name", "records"} & house.status()["troubles"].keys()


@pytest.mark.parametrize("kind", [*(f"{ROOT}/{kind}" for kind in (*KINDS, *OF_EVENTS)), DISCOVERY])
def test_each_topic_that_a_broker_refuses_is_named_with_the_reason(tmp_path: Path, kind: str) -> None:
    with mosquitto(tmp_path, extra=rules(tmp_path, without=kind)) as broker:
        lines = tried(tmp_path, broker.url, "5").refused
    assert len(lines) == (2 if "result/" in kind else 1)
    for line in lines:
        assert kind.rstrip("#") in line
        assert line.endswith(": Not authorized")


def test_of_a_broker_that_refuses_all_check_names_each_topic(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\n")
    extra = f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n"
    with mosquitto(tmp_path, extra=extra) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "thumbnails": True}, "events": RULES})
        done = dropsight("check", "-c", str(house.config))
    assert done.returncode == 1
    assert about(done, "FAIL").count("Not authorized") == len(KINDS) + len(OF_EVENTS) + 2


@pytest.mark.parametrize("without", [f"{ROOT}/state/#", "all"])
def test_what_a_broker_of_an_older_mqtt_throws_away_is_a_doubt(tmp_path: Path, without: str) -> None:
    """It acknowledges that as well; a message that comes back was kept."""
    extra = rules(tmp_path, without=without)
    if without == "all":
        (tmp_path / "acl").write_text("topic read #\n")
    with mosquitto(tmp_path, extra=extra) as broker:
        found = tried(tmp_path, broker.url, "3.1.1")
    assert not found.refused
    (line,) = found.doubts
    what = "anything" if without == "all" else f"{ROOT}/state/dropsight-check"
    assert f"it acknowledges {what}, but does not deliver:" in line


@PROTOCOLS
@pytest.mark.skipif(PLUGIN is None, reason="Mosquitto without its plugin for dynamic security")
def test_where_we_may_not_listen_that_is_said_and_what_cannot_be_known(
    tmp_path: Path, protocol: Literal["5", "3.1.1"]
) -> None:
    role = {"rolename": "write", "acls": [{"acltype": "publishClientSend", "topic": "#", "allow": True}]}
    group = {"groupname": "all", "roles": [{"rolename": "write"}]}
    allowed = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}
    security = {
        "defaultACLAccess": {**allowed, "unsubscribe": True},
        "roles": [role],
        "groups": [group],
        "anonymousGroup": "all",
    }
    (tmp_path / "security.json").write_text(json.dumps(security))
    extra = f"allow_anonymous true\nplugin {PLUGIN}\nplugin_opt_config_file {tmp_path / 'security.json'}\n"
    with mosquitto(tmp_path, extra=extra) as broker:
        found = tried(tmp_path, broker.url, protocol)
    assert not found.refused
    doubts = "\n".join(found.doubts)
    for topic in (f"{ROOT}/command", f"{ROOT}/availability", f"{ROOT}/info", "homeassistant/status"):
        assert f"it denied the subscription to {topic}: " in doubts
    assert ("is unknown: we may not subscribe to it" in doubts) is (protocol == "3.1.1")


@PROTOCOLS
@pytest.mark.parametrize("forbidden", ["homeassistant/device/", f"{ROOT}/state/", "homeassistant/status"])
def test_what_a_broker_hangs_up_on_is_named_and_all_else_is_tried(
    tmp_path: Path, protocol: Literal["5", "3.1.1"], forbidden: str
) -> None:
    with mosquitto(tmp_path) as broker, hanging_up(broker.port, forbidden.encode()) as middle:
        found = tried(tmp_path, middle.url, protocol)
    where = found.doubts if forbidden.endswith("status") else found.refused
    (line,) = (line for line in where if "disconnects" in line)
    assert forbidden in line
    assert len(found.refused) == (not forbidden.endswith("status"))
    assert [doubt for doubt in found.doubts if "disconnects" not in doubt] == []


@PROTOCOLS
@pytest.mark.parametrize(("extra", "lacking"), [("retain_available false", "retain"), ("max_qos 0", "QoS 0")])
def test_what_a_broker_does_not_offer_is_said_and_is_no_fault(
    tmp_path: Path, protocol: Literal["5", "3.1.1"], extra: str, lacking: str
) -> None:
    with mosquitto(tmp_path, extra=f"allow_anonymous true\n{extra}\n") as broker:
        found = tried(tmp_path, broker.url, protocol)
    assert not found.refused
    (doubt,) = found.doubts
    assert lacking in doubt
    assert doubt.endswith(": continuing without")
