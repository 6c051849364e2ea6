"""Images over MQTT beyond what is usual: floods of them, large ones, and folders that somebody takes away."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from arriving import (
    TOPICS,
    publish_raw,
    sending,
    taking,
)
from brokers import MOSQUITTO, Mosquitto, mosquitto, wait_until
from daemons import PHOTOS, running
from disks import fill, small_disk
from dropsight import crashpoints
from dropsight.config import Watch
from dropsight.intake.folder import DropFolder
from dropsight.intake.landing import Landing, UnwelcomeError
from dropsight.sources.image_connection import MessageMemory

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto")
    with mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


@contextmanager
def taken_away(camera: Path) -> Iterator[None]:
    """As fast as can be: what is in this folder, and then the folder."""
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            with suppress(OSError):
                for path in camera.iterdir():
                    path.unlink()
                camera.rmdir()

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield
    finally:
        over.set()
        taker.join()


def test_a_broker_that_keeps_nothing_while_nobody_is_connected_is_told_of_once(tmp_path: Path) -> None:
    """It may grant shorter sessions than we ask for (MQTT 5, 3.2.2.3.2): what goes then, nobody hears of."""

    class Forgetful(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(
                b"\x20\x08\0\0\x05\x11\0\0\0\x3c"
            )  # a CONNACK with a Session Expiry Interval
            while self.request.recv(4096):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forgetful) as forgetful:
        threading.Thread(target=forgetful.serve_forever, args=(0.02,), daemon=True).start()
        watch = {"path": "inbox", "mqtt": TOPICS}
        url = f"mqtt://127.0.0.1:{forgetful.server_address[1]}"
        with running(tmp_path, mqtt={"url": url}, watch=[watch]) as house:
            wait_until(lambda: f"keeps {TOPICS} for 60 s" in house.daemon_log())
        forgetful.shutdown()


def test_who_takes_away_what_is_being_written_to_a_camera_s_folder_holds_up_no_other(tmp_path: Path) -> None:
    """The session waits for whatever may pass, with the images of all other cameras behind it."""
    landing = Landing(DropFolder.open(Watch(path=tmp_path)))
    data = PHOTOS[0].read_bytes()
    with taken_away(tmp_path / "cam"):
        for _ in range(50):
            with suppress(UnwelcomeError):
                landing.land(["cam"], data)
    landing.land(["cam"], data)
    assert data in [path.read_bytes() for path in (tmp_path / "cam").iterdir()]


def test_what_two_dropsights_write_to_one_camera_s_folder_at_a_time_is_each_whole_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers: inboxes have their locks by network namespace."""
    folder = DropFolder.open(Watch(path=tmp_path))
    first, second = Landing(folder, sender="first"), Landing(folder, sender="second")
    other = threading.Thread(target=second.land, args=(["cam"], b"second"))
    is_amid, may_go_on = threading.Event(), threading.Event()

    def reach(point: str) -> None:
        if threading.current_thread() is other and point == "in_arrival_written":
            is_amid.set()
            may_go_on.wait()
        elif point == "in_arrival_synced" and not is_amid.is_set():
            other.start()
            is_amid.wait()

    monkeypatch.setattr(crashpoints, "reach", reach)
    first.land(["cam"], b"first")
    may_go_on.set()
    other.join()
    assert sorted(path.read_bytes() for path in (tmp_path / "cam").iterdir()) == [b"first", b"second"]


def test_a_flood_of_small_images_leaves_files_for_the_journal_to_make(tmp_path: Path) -> None:
    with small_disk(tmp_path / "inbox", size="2m,nr_inodes=60") as disk:
        landing = Landing(DropFolder.open(Watch(path=disk, mqtt="image")))
        with suppress(OSError):
            for _ in range(100):
                landing.land([], b"x")
        assert len(list(disk.iterdir())) < 60
        (disk / "journal").touch()


def test_a_message_of_a_million_properties_holds_up_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    settings: dict[str, Any] = {"mqtt": "properties/+/image", "client_id": "properties"}
    with taking(tmp_path, broker, **settings) as found:
        wait_until(found.is_subscribed)
        publish_raw(broker, "properties/front/image", b"\x26\0\0\0\0" * 1_000_000, b"one")
        wait_until(lambda: found.contents() == [b"one"])


@pytest.mark.slow
def test_images_as_large_as_they_may_be_are_in_memory_one_at_a_time(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """Else they are too much for a machine with 512 MB; also where some wait for an inbox that is full."""
    names, large, limit = ("full", "free"), b"no picture" + bytes(30 * 2**20), 32 * 2**20
    watches = [
        {"path": name, "mqtt": f"{name}/+/image", "processed": f"{name}-p", "failed": f"{name}-f"}
        for name in names
    ]
    with small_disk(tmp_path / "full") as full:
        fill(full)
        settings = {"mqtt": {"url": broker.url, "protocol": "3.1.1"}, "limits": {"max_bytes": limit}}
        with running(tmp_path, watch=watches, **settings) as house, sending(broker) as sender:
            wait_until(lambda: house.daemon_log().count("subscribed to ") == len(names))
            assert house.process
            before = most_bytes_of(house.process.pid)
            for topic in ("full/1/image", "free/1/image", "free/2/image", "free/3/image"):
                sender.send(topic, large)
            house.until(lambda: house.finished() == 3)
            # One as it arrives, and one as it is classified.
            assert most_bytes_of(house.process.pid) - before < 3.5 * limit


def most_bytes_of(process: int) -> int:
    """The most memory that it has had so far."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def test_a_large_image_does_not_wait_for_as_long_as_small_ones_come() -> None:
    """Whoever publishes to one inbox could hold up another else."""
    room, order = MessageMemory(10), []
    room.take(8, unless=bool)

    def take(size: int) -> None:
        room.take(size, unless=bool)
        order.append(size)
        room.give_back(size)

    waiting = []
    for size in (10, 1):
        waiting.append(threading.Thread(target=take, args=(size,)))
        waiting[-1].start()
        wait_until(lambda: len(room._turns) == len(waiting))  # noqa: SLF001
    room.give_back(8)
    for each in waiting:
        each.join(20)
    assert order == [10, 1]


def test_a_flood_of_cameras_fills_no_disk_with_folders(tmp_path: Path) -> None:
    watch = Watch(path=tmp_path / "inbox", mqtt=TOPICS)
    watch.path.mkdir()
    landing = Landing(DropFolder.open(watch), most_folders=3)
    for camera in ("a", "b", "c"):
        landing.land([camera], b"x")
    with pytest.raises(UnwelcomeError, match="holds 3 folders") as refused:
        landing.land(["d"], b"x")
    assert refused.value.reason == "too_many_folders"
    landing.land(["a"], b"y")
    assert sorted(path.read_bytes() for path in watch.path.rglob("*.jpg")) == [b"x", b"x", b"x", b"y"]
