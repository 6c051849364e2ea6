"""Images that arrive over MQTT, from a real broker: in the inbox before they are acknowledged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arriving import sending, taking
from brokers import MOSQUITTO, Mosquitto, mosquitto, wait_until
from daemons import PHOTOS

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
