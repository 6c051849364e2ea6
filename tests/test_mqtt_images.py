"""Images that arrive over MQTT, from a real broker: in the inbox before they are acknowledged."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arriving import sending, taking
from brokers import MOSQUITTO, Mosquitto, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight import crashpoints

pytestmark = pytest.mark.broker

PHOTO = PHOTOS[0].read_bytes()
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto")
    with mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


@PROTOCOLS
@pytest.mark.parametrize("qos", [0, 1])
def test_what_a_camera_publishes_lies_whole_in_its_folder(
    tmp_path: Path, broker: Mosquitto, protocol: str, qos: int
) -> None:
    with taking(tmp_path, broker, protocol=protocol) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        sender.send("cameras/front/image", PHOTO, qos=qos)
        sender.send("cameras/back/image", PHOTO + b"more", qos=qos)
        sender.send("cameras/back/other", PHOTO, qos=qos)
        wait_until(lambda: found.source.status().received == 2)
        assert found.contents() == [PHOTO, PHOTO + b"more"]
        assert found.cameras() == {"front", "back"}
        assert all(path.suffix == ".jpg" for path in found.files())
        assert not found.troubles.any()


def test_what_arrives_is_recorded_as_any_image_and_what_is_none_as_a_broken_one(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings: dict[str, Any] = {"mqtt": {"url": broker.url}, "watch": [{"mqtt": "yard/+/+/snapshot"}]}
    with running(tmp_path, **settings) as house, sending(broker) as sender:
        wait_until(lambda: "subscribed to yard" in house.daemon_log())
        sender.send("yard/gate/person/snapshot", PHOTO)
        sender.send("yard/barn/car/snapshot", b"no picture")
        wait_until(lambda: house.finished() == 2)
        good, bad = sorted(house.records(), key=lambda record: record["status"], reverse=True)
        assert (good["status"], good["camera"]) == ("ok", "gate")
        assert good["image_path"].startswith("gate/person/")
        assert (bad["camera"], bad["error"]["code"]) == ("barn", "not_an_image")
        (source,) = house.status()["sources"]
        assert (source["connected"], source["received"]) == (True, 2)
        assert (
            "yard/+/+/snapshot, connected, 2 received" in dropsight("status", "-c", str(house.config)).stdout
        )
        assert not house.status()["troubles"]
        assert house.stop() == 0
    assert not any(path.is_file() for path in (tmp_path / "inbox-mqtt").rglob("*"))


POINTS = (
    *("in_arrival_written", "in_arrival_synced", "in_arrival_named"),
    *("before_arrival_ack", "after_arrival_ack"),
)


@pytest.mark.slow
def test_no_image_is_lost_wherever_on_its_way_the_daemon_is_killed(tmp_path: Path, broker: Mosquitto) -> None:
    """And none comes twice but for one that lay in the inbox when its acknowledgement was cut off."""
    topics = "killed/+/image"
    house = House(tmp_path, {"mqtt": {"url": broker.url}, "watch": [{"mqtt": topics}]})
    try:
        house.start()
        wait_until(lambda: "subscribed to killed" in house.daemon_log())
        assert house.stop() == 0
        with sending(broker) as sender:
            for number, point in enumerate(POINTS):
                sender.send("killed/front/image", b"not the picture %d" % number)
                house.spawn(**{crashpoints.VARIABLE: point})
                assert house.ended() == -signal.SIGKILL
            house.start()
            sender.send("killed/front/image", b"the last")
        sent = {b"the last", *(b"not the picture %d" % number for number in range(len(POINTS)))}
        wait_until(lambda: {path.read_bytes() for path in house.failed.rglob("*.jpg")} == sent)
        # Named and not yet acknowledged, at two of the points.
        assert len(house.records()) <= len(sent) + 2
    finally:
        house.kill()
