"""Images that arrive over MQTT, from a real broker: in the inbox before they are acknowledged."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arriving import (
    SAVES,
    TOPICS,
    Sender,
    Taking,
    deaf_mosquitto,
    has_session,
    lose_session,
    rob_session,
    sending,
    taking,
)
from brokers import MOSQUITTO, Mosquitto, free_port, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from disks import fill, small_disk
from dropsight import crashpoints
from dropsight.config import Mqtt, Watch
from dropsight.intake.folder import DropFolder
from dropsight.intake.landing import LONGEST_NAME_BYTES, folder_name, part_of
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sources import former, image_session, taken
from dropsight.sources.arrivals import session_id
from dropsight.sources.image_connection import WINDOW, Arrival, ImageConnection, MessageMemory
from dropsight.sources.taken import TakenPictures, path_of
from proxies import SUBACK, muffling, unacknowledging
from test_closed_folders import immutable
from webs import address, ask

pytestmark = pytest.mark.broker

PHOTO = PHOTOS[0].read_bytes()
# So many messages it has on their way at once (max_inflight_messages).
OF_MOSQUITTO = 20
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def metrics(url: str) -> str:
    return ask(url, "/metrics").body.decode()


def saved(folder: Path) -> bytes:
    """What Mosquitto will know when it is begun again."""
    path = folder / "mosquitto.db"
    return path.read_bytes() if path.exists() else b""


def note_of(state: Path, session: str) -> Path:
    """What tells of it until it is ended."""
    path = path_of(state, session)
    return path.with_name(f"{path.name.replace('taken', 'subscriptions')}.json")


def is_sent(sender: Sender, topic: str, found: Taking) -> bool:
    """Each call sends another."""
    sender.send(topic, b"x")
    return found.source.status().received > 0


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


@pytest.mark.slow
def test_what_arrives_is_recorded_as_any_image_and_what_is_none_as_a_broken_one(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings: dict[str, Any] = {
        "mqtt": {"url": broker.url},
        "watch": [{"mqtt": "yard/+/+/snapshot"}],
        "web": {"listen": f"127.0.0.1:{free_port()}"},
    }
    with running(tmp_path, **settings) as house, sending(broker) as sender:
        wait_until(lambda: "subscribed to yard" in house.daemon_log())
        web = address(house)
        assert 'dropsight_source_images_total{source="mqtt"} 0.0' in metrics(web)
        sender.send("yard/gate/person/snapshot", PHOTO)
        sender.send("yard/barn/car/snapshot", b"no picture")
        wait_until(lambda: len(house.records()) == 2)
        good, bad = sorted(house.records(), key=lambda record: record["status"], reverse=True)
        assert (good["status"], good["camera"]) == ("ok", "gate")
        assert good["image_path"].startswith("gate/person/")
        assert (bad["camera"], bad["error"]["code"]) == ("barn", "not_an_image")
        (source,) = house.status()["sources"]
        assert (source["connected"], source["received"]) == (True, 2)
        assert (
            "yard/+/+/snapshot, connected, 2 received" in dropsight("status", "-c", str(house.config)).stdout
        )
        wait_until(lambda: 'dropsight_source_images_total{source="mqtt"} 2.0' in metrics(web))
        found = metrics(web)
        assert 'dropsight_source_refused_total{reason="too_large",source="mqtt"} 0.0' in found
        assert 'dropsight_trouble{part="arrivals"} 0.0' in found
        assert not house.status()["troubles"]
        assert house.stop() == 0
    assert not any(path.is_file() for path in (tmp_path / "inbox-mqtt").rglob("*"))


@PROTOCOLS
def test_what_is_published_while_nobody_is_there_comes_later_and_once(tmp_path: Path, protocol: str) -> None:
    """Though the broker is killed, too: it keeps our session, and we ask it for nothing again."""
    port = free_port()
    with mosquitto(tmp_path, port=port, extra=SAVES.format(tmp_path)) as broker:
        with taking(tmp_path, broker, protocol=protocol) as found, sending(broker) as sender:
            wait_until(found.is_subscribed)
            sender.send("cameras/front/image", b"first", retain=True)
            wait_until(lambda: found.source.status().received == 1)
        with sending(broker) as sender:
            sender.send("cameras/front/image", b"second", retain=True)
            sender.send("cameras/back/image", b"third")
        wait_until(lambda: b"third" in saved(tmp_path))
        broker.kill()
        broker.start()
        with taking(tmp_path, broker, protocol=protocol) as found, sending(broker) as sender:
            sender.send("cameras/front/image", b"fourth")
            wait_until(lambda: found.source.status().received == 3)
            assert found.contents() == [b"first", b"fourth", b"second", b"third"]
            broker.kill()
            wait_until(lambda: not found.source.status().connected)
            wait_until(lambda: "no images arrive over MQTT" in (found.source.status().trouble or ""))
            broker.start()
            wait_until(lambda: found.source.status().connected)
            assert not found.troubles.any()


@PROTOCOLS
def test_a_picture_that_is_retained_is_taken_when_it_is_first_subscribed_to_and_not_again(
    tmp_path: Path, broker: Mosquitto, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at the next start, nor where the broker has lost our session meanwhile."""
    caplog.set_level("INFO")
    topics, topic, name = f"retained{protocol}/+/image", f"retained{protocol}/front/image", f"one-{protocol}"
    settings: dict[str, Any] = {"protocol": protocol, "mqtt": topics, "client_id": name}
    with sending(broker) as sender:
        sender.send(topic, b"kept", retain=True)
        with taking(tmp_path, broker, **settings) as found:
            wait_until(lambda: found.contents() == [b"kept"])
            lose_session(broker, session_id(name, topics))
            wait_until(lambda: caplog.text.count(f"subscribed to {topics}") == 2)
            sender.send(topic, b"new")
            wait_until(lambda: b"new" in found.contents())
        with taking(tmp_path, broker, **settings) as found:
            sender.send(topic, b"newer")
            wait_until(lambda: b"newer" in found.contents())
            assert found.contents() == [b"kept", b"new", b"newer"]


def test_a_retained_picture_that_is_published_again_unchanged_is_one_image(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """As bridges between brokers do at each connection, also after a start; one not retained is another."""
    topics, topic = "bridged/+/image", "bridged/front/image"
    with taking(tmp_path, broker, mqtt=topics, protocol="5") as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        for picture in (b"first", b"first", b"second", b"second", b"first"):
            sender.send(topic, picture, retain=True)
        sender.send(topic, b"first")
        sender.send("bridged/last/image", b"last")
        wait_until(lambda: b"last" in found.contents())
        assert found.contents() == [b"first", b"first", b"first", b"last", b"second"]
    with taking(tmp_path, broker, mqtt=topics, protocol="5") as found, sending(broker) as sender:
        sender.send(topic, b"first", retain=True)
        sender.send("bridged/last/image", b"the last")
        wait_until(lambda: b"the last" in found.contents())
        assert found.contents() == [b"first", b"first", b"first", b"last", b"second", b"the last"]


def test_a_session_that_the_broker_has_without_its_subscription_leaves_nobody_blind(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """A broker that lost power has gone back to what it saved last; others may know our client id."""
    settings: dict[str, Any] = {"mqtt": "robbed/+/image", "client_id": "robbed"}
    with taking(tmp_path, broker, **settings) as found:
        wait_until(found.is_subscribed)
    rob_session(broker, session_id("robbed", "robbed/+/image"), "robbed/+/image")
    with taking(tmp_path, broker, **settings) as found, sending(broker) as sender:
        wait_until(lambda: found.source.status().connected)
        wait_until(lambda: is_sent(sender, "robbed/front/image", found))


@PROTOCOLS
def test_a_message_that_is_too_large_is_thrown_away_and_said_and_the_next_is_taken(
    tmp_path: Path, broker: Mosquitto, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In MQTT 5 the broker knows the bound; in 3.1.1 it would send it for ever, were it not acknowledged."""
    most, topics = 100_000, f"large{protocol}/+/image"
    settings = {"protocol": protocol, "mqtt": topics, "client_id": f"large-{protocol}"}
    with taking(tmp_path, broker, max_bytes=most, **settings) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        for payload in (bytes(20 * 2**20), bytes(most + 1), bytes(most)):
            sender.send(f"large{protocol}/front/image", payload)
        wait_until(lambda: found.source.status().received == 1)
        assert [len(content) for content in found.contents()] == [most]
        assert found.source.status().refused["too_large"] == (2 if protocol == "3.1.1" else 1)
        assert "are more than limits.max_bytes" in caplog.text
    with taking(tmp_path, broker, max_bytes=most, **settings) as found, sending(broker) as sender:
        sender.send(f"large{protocol}/front/image", b"x")
        wait_until(lambda: found.source.status().received == 1)
        assert found.source.status().refused["too_large"] == 0


HOSTILE = {
    "..": "_",
    ".hidden": "_.hidden",
    "": "_",
    "a b": "a b",
    "Haust\u00fcr": "Haust\u00fcr",
    "a\u202ec": "a_c",
    'a:b*c?"<>|d\\e': "a_b_c_____d_e",
    "dots. .": "dots",
    " front": "_ front",
    "-rf": "_-rf",
    "@eaDir": "_@eaDir",
    "done": "_done",
}


def test_no_topic_leads_out_of_the_inbox_or_to_where_nobody_looks(tmp_path: Path, broker: Mosquitto) -> None:
    """Such as to our own folder of processed images, or to one that is passed by."""
    long = ["x" * 300, "x" * 299 + "y", "\u6b63\u95e8" * 80]
    settings = {"mqtt": "hostile/+/image", "processed": tmp_path / "inbox" / "done", "client_id": "hostile"}
    with taking(tmp_path, broker, **settings) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        levels = [*HOSTILE, *long]
        for level in levels:
            sender.send(f"hostile/{level}/image", level.encode() + b"!")
        wait_until(lambda: found.source.status().received == len(levels))
        folder = DropFolder.open(found.watch)
        where = {Path(path).read_bytes().decode()[:-1]: Path(path).parent for path in folder.images()}
        assert {level: where[level].name for level in HOSTILE} == HOSTILE
        assert {path.parent for path in where.values()} == {found.inbox}
        assert len({where[level] for level in long}) == len(long)
        assert max(len(path.name.encode()) for path in where.values()) <= LONGEST_NAME_BYTES
    # Mosquitto hangs up on these; others may not.
    assert folder_name("a\x00b\x1b[2Jc\nd") == "a_b__2Jc_d"


def test_while_the_disk_is_full_nothing_is_acknowledged_and_all_comes_when_there_is_room(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with small_disk(tmp_path / "inbox") as disk, sending(broker) as sender:
        ballast = fill(disk)
        settings: dict[str, Any] = {"mqtt": "full/+/image", "client_id": "full"}
        with taking(tmp_path, broker, **settings) as found:
            wait_until(found.is_subscribed)
            for number in range(20):  # more than may be on their way at once
                sender.send("full/front/image", b"%02d" % number)
            wait_until(found.troubles.any)
            assert "No space left on device; images wait" in found.troubles.current()["arrivals"]
            assert found.source.status().received == 0
        with taking(tmp_path, broker, **settings) as found:  # to which the broker sends them again
            wait_until(found.troubles.any)
            ballast.unlink()
            wait_until(lambda: found.source.status().received == 20)
            assert found.contents() == [b"%02d" % number for number in range(20)]
            assert not found.troubles.any()


@PROTOCOLS
def test_an_inbox_that_is_full_holds_up_the_images_of_no_other(
    tmp_path: Path, broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do those that wait for it keep the memory that others need: the broker sends them again."""
    monkeypatch.setattr(image_session, "HELD_SECONDS", 0.5)
    monkeypatch.setattr(image_session, "LOOK_SECONDS", 0.5)
    most, full, free = 50_000, f"full{protocol}/image", f"free{protocol}/image"
    with small_disk(tmp_path / "full") as disk, sending(broker) as sender:
        ballast = fill(disk)
        watches = [Watch(path=disk, mqtt=full), Watch(path=tmp_path / "free", mqtt=free)]
        with taking(tmp_path, broker, watches=watches, protocol=protocol, max_bytes=most) as found:
            wait_until(found.is_subscribed)
            for number in range(30):  # more than may be on their way at once
                sender.send(full, bytes([number]) * most)
            wait_until(found.troubles.any)
            for number in range(30):
                sender.send(free, bytes([number]) * most)
            wait_until(lambda: found.source.status().received == 30)
            assert "No space left on device; images wait" in found.troubles.current()["arrivals"]
            ballast.unlink()
            wait_until(lambda: found.source.status().received == 60)
            sent = [path.read_bytes()[:1] for path in disk.glob("2*.jpg")]
            assert sorted(sent) == [bytes([number]) for number in range(30)]
            wait_until(lambda: not found.troubles.any())


def test_a_filter_that_is_in_the_config_no_more_leaves_no_session_with_the_broker(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In which the broker would go on keeping images, for ever in MQTT 3.1.1."""
    monkeypatch.setattr(former, "ALONE_SECONDS", 0.1)
    settings: dict[str, Any] = {"client_id": "gone", "protocol": "3.1.1"}
    with taking(tmp_path, broker, mqtt="gone/+/image", **settings) as found:
        wait_until(found.is_subscribed)
    name = session_id("gone", "gone/+/image")
    assert has_session(broker, name)
    with taking(tmp_path, broker, mqtt="other/+/image", **settings) as found:
        wait_until(found.is_subscribed)
        wait_until(lambda: not note_of(tmp_path / "state", name).exists())
    assert not has_session(broker, name)


@PROTOCOLS
@pytest.mark.parametrize("changed", [{"mqtt": "{}/+/+"}, {"client_id": "{}-other"}])
def test_a_change_of_filter_or_client_id_loses_no_image_and_takes_none_twice(
    tmp_path: Path, broker: Mosquitto, protocol: str, changed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the former session is taken, and what is retained is not taken again."""
    monkeypatch.setattr(former, "QUIET_SECONDS", 1.0)
    monkeypatch.setattr(former, "ALONE_SECONDS", 1.0)
    name = f"changed-{protocol}-{next(iter(changed))}"
    before: dict[str, Any] = {"protocol": protocol, "mqtt": f"{name}/+/image", "client_id": name}
    after = {**before, **{key: value.format(name) for key, value in changed.items()}}
    gone = session_id(name, before["mqtt"])
    pictures = [b"%03d" % number for number in range(60)]
    with sending(broker) as sender, ExitStack() as stack:
        found = stack.enter_context(taking(tmp_path, broker, **before))
        wait_until(found.is_subscribed)
        sender.send(f"{name}/back/image", b"kept", retain=True)
        wait_until(lambda: found.contents() == [b"kept"])
        found.stop()
        for number, picture in enumerate(pictures):
            if number == len(pictures) // 2:
                found = stack.enter_context(taking(tmp_path, broker, **after))
            sender.send(f"{name}/front/image", picture)
        wait_until(lambda: not path_of(tmp_path / "state", gone).exists())
        assert found.contents() == [*pictures, b"kept"]
    assert not has_session(broker, gone)


@PROTOCOLS
@pytest.mark.parametrize("copied", ["copied-{}/+/image", "copied-{}/back/image", "other-{}/+/image"])
def test_who_is_at_work_by_a_copied_state_keeps_his_session_and_images_where_the_copy_has_another_client_id(
    tmp_path: Path,
    broker: Mosquitto,
    protocol: str,
    copied: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whichever filter the copy has: what came while it looked for him was its own, or thrown away."""
    monkeypatch.setattr(former, "LOOK_SECONDS", 0.1)
    topics, sent = f"copied-{protocol}/+/image", list[bytes]()
    with taking(tmp_path / "one", broker, mqtt=topics, protocol=protocol, client_id="his") as his:
        wait_until(his.is_subscribed)
        without_halves = shutil.ignore_patterns("*.part")
        shutil.copytree(tmp_path / "one/state", tmp_path / "other/state", ignore=without_halves)
        other: dict[str, Any] = {"mqtt": copied.format(protocol), "protocol": protocol, "client_id": "mine"}
        with sending(broker) as sender, taking(tmp_path / "other", broker, **other) as mine:
            wait_until(mine.is_subscribed)

            def is_left_to_him() -> bool:
                sent.append(b"%05d" % len(sent))
                sender.send(f"copied-{protocol}/front/image", sent[-1])
                return "another dropsight may use it" in caplog.text

            wait_until(is_left_to_him)
            wait_until(lambda: len(his.files()) >= len(sent))
            assert his.contents() == sent
            wait_until(lambda: mine.contents() in ([], sent))


@PROTOCOLS
def test_a_filter_that_comes_back_while_its_former_session_is_emptied_is_subscribed_to_again(
    tmp_path: Path, broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(former, "ALONE_SECONDS", 0.1)
    names = {"client_id": f"back-{protocol}", "protocol": protocol}
    topics, other = f"back-{protocol}/+/image", f"back-{protocol}/+/+"
    with taking(tmp_path, broker, mqtt=topics, **names) as found:
        wait_until(found.is_subscribed)
    with taking(tmp_path, broker, mqtt=other, **names) as found:
        note = note_of(tmp_path / "state", session_id(names["client_id"], topics))
        wait_until(lambda: b"true" in note.read_bytes())
    with taking(tmp_path, broker, mqtt=topics, **names) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        sender.send(f"back-{protocol}/front/image", b"once")
        wait_until(lambda: found.contents() == [b"once"])


def test_what_was_written_before_the_connection_was_lost_is_not_written_twice(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """The broker, which has not heard of it, sends all again; a camera may send the same picture, too."""
    settings: dict[str, Any] = {"mqtt": "again/+/image", "client_id": "again"}
    with taking(tmp_path, broker, **settings) as found:
        connection = ImageConnection(
            Broker.of(Mqtt(url=broker.url)),
            "5",
            client_id="x",
            keepalive=60,
            room=MessageMemory(9),
            lasting=False,
        )
        first = Arrival("again/front/image", b"one", 3, number=1, qos=1, again=False, retained=False)
        other = first._replace(payload=b"two")
        first_again, other_again = first._replace(again=True), other._replace(again=True)
        steps = [(first, 1), (first_again, 1), (first, 2), (other, 3), (first_again, 3), (other_again, 3)]
        kept = [(first._replace(retained=True), 4), (first._replace(retained=True), 4)]
        for arrival, files in (*steps, *kept):
            assert found.source.sessions[0]._take(arrival, connection)  # noqa: SLF001 - no broker can be made to
            assert len(found.files()) == files


@PROTOCOLS
@pytest.mark.parametrize("is_begun_anew", [False, True])
def test_what_the_broker_has_on_its_way_as_the_connection_is_lost_is_one_image_each(
    tmp_path: Path, broker: Mosquitto, protocol: str, *, is_begun_anew: bool
) -> None:
    """Of one camera; in MQTT 3.1.1 the broker says how many these are. Also after a stop or a reload."""
    name = f"unheard-{protocol}-{is_begun_anew}"
    settings: dict[str, Any] = {"protocol": protocol, "mqtt": f"{name}/+/image", "client_id": name}
    pictures = [b"%03d" % number for number in range(OF_MOSQUITTO + 1)]
    on_their_way = WINDOW if protocol == "5" else OF_MOSQUITTO
    with muffling(broker.port) as way, sending(broker) as sender, ExitStack() as stack:
        found = stack.enter_context(taking(tmp_path, way, **settings))
        wait_until(found.is_subscribed)
        for picture in pictures[:-1]:
            sender.send(f"{name}/front/image", picture)
        wait_until(lambda: len(found.files()) == on_their_way)
        if is_begun_anew:
            found.stop()
            found = stack.enter_context(taking(tmp_path, way, **settings))
        way.silent = False
        way.cut()
        sender.send(f"{name}/front/image", pictures[-1])
        wait_until(lambda: pictures[-1] in found.contents())
        assert found.contents() == pictures


@PROTOCOLS
def test_an_image_that_waits_for_room_while_the_broker_is_killed_comes_once(
    tmp_path: Path, protocol: str
) -> None:
    with (
        small_disk(tmp_path / "inbox") as disk,
        mosquitto(tmp_path, extra=SAVES.format(tmp_path)) as broker,
        taking(tmp_path, broker, protocol=protocol) as found,
    ):
        ballast = fill(disk)
        wait_until(found.is_subscribed)
        with sending(broker) as sender:
            sender.send("cameras/front/image", b"waits")
            wait_until(lambda: "images wait" in found.troubles.current().get("arrivals", ""))
        broker.signal(signal.SIGUSR1)  # have it save what is on its way
        wait_until(lambda: b"waits" in saved(tmp_path))
        broker.kill()
        wait_until(lambda: not found.source.status().connected)
        ballast.unlink()
        broker.start()
        wait_until(lambda: found.source.status().received == 1)
        with sending(broker) as sender:
            sender.send("cameras/front/image", b"next")
        wait_until(lambda: found.contents() == [b"next", b"waits"])


@pytest.mark.parametrize("instead", ["nothing", "link"])
def test_an_inbox_that_is_away_is_waited_for_and_not_made(
    tmp_path: Path, broker: Mosquitto, instead: str
) -> None:
    """Its owner may have moved it to a larger disk, and put a link in its place."""
    settings: dict[str, Any] = {"mqtt": f"away{instead}/+/image", "client_id": f"away-{instead}"}
    with taking(tmp_path, broker, **settings) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        found.inbox.rmdir()
        if instead == "link":
            found.inbox.symlink_to(tmp_path / "elsewhere")
            (tmp_path / "elsewhere").mkdir()
        sender.send(f"away{instead}/front/image", b"one")
        wait_until(found.troubles.any)
        assert "images wait" in found.troubles.current()["arrivals"]
        assert not (tmp_path / "elsewhere" / "front").exists()
        if instead == "link":
            found.inbox.unlink()
        found.inbox.mkdir()
        wait_until(lambda: found.contents() == [b"one"])


def test_what_stands_in_a_camera_s_place_holds_up_no_other_and_is_not_followed(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"mqtt": "planted/+/image", "client_id": "planted"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with taking(tmp_path, broker, **settings) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        (found.inbox / "front").symlink_to(elsewhere)
        (found.inbox / "side").write_bytes(b"a file")
        (found.inbox / "back" / part_of(found.source.sessions[0].name)).mkdir(parents=True)
        for camera in ("front", "side", "back"):
            sender.send(f"planted/{camera}/image", camera.encode())
        wait_until(lambda: found.source.status().received == 1)
        assert (found.cameras(), found.source.status().refused["no_folder"]) == ({"inbox", "back"}, 2)
        assert not any(elsewhere.iterdir())
        assert "is not a writable folder" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a folder to everybody")
def test_a_camera_s_folder_that_somebody_has_closed_holds_up_no_other(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"mqtt": "closed/+/image", "client_id": "closed"}
    with taking(tmp_path, broker, **settings) as found, sending(broker) as sender:
        wait_until(found.is_subscribed)
        (found.inbox / "front").mkdir()
        with immutable(found.inbox / "front"):
            for camera in ("front", "back"):
                sender.send(f"closed/{camera}/image", camera.encode())
            wait_until(lambda: found.source.status().received == 1)
        assert (found.cameras(), found.source.status().refused["no_folder"]) == ({"back"}, 1)
        assert "is not a writable folder: Operation not permitted" in caplog.text
        with immutable(found.inbox):
            sender.send("closed/side/image", b"side")
            wait_until(found.troubles.any)
        wait_until(lambda: found.source.status().received == 2)


@PROTOCOLS
def test_a_broker_that_does_not_answer_the_subscription_is_a_trouble_until_it_does(
    tmp_path: Path, broker: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of images that do not come, nobody was told."""
    monkeypatch.setattr(image_session, "ASK_AGAIN_SECONDS", 0.5)
    with (
        unacknowledging(broker.port, kind=SUBACK) as mute,
        taking(tmp_path, mute, protocol=protocol) as found,
    ):
        wait_until(found.troubles.any)
        assert f"has not answered the subscription to {TOPICS}" in found.troubles.current()["arrivals"]
        mute.silent = False
        wait_until(lambda: not found.troubles.any())


@pytest.mark.slow
def test_a_broker_that_does_not_let_us_subscribe_is_a_trouble_and_check_says_so(tmp_path: Path) -> None:
    with deaf_mosquitto(tmp_path) as broker, taking(tmp_path, broker) as found:
        wait_until(found.troubles.any)
        assert f"denied the subscription to {TOPICS}" in found.troubles.current()["arrivals"]
        house = House(tmp_path, {"mqtt": {"url": broker.url}, "watch": [{"mqtt": TOPICS}]})
        checked = dropsight("check", "-c", str(house.config))
        assert checked.returncode == 1
        assert f"FAIL  arrivals the broker denied the subscription to {TOPICS}" in checked.stdout


@pytest.mark.slow
def test_check_says_where_images_will_go_and_takes_no_session_away(tmp_path: Path, broker: Mosquitto) -> None:
    settings: dict[str, Any] = {"mqtt": "checked/+/image", "client_id": "checked"}
    with taking(tmp_path, broker, **settings) as found:
        wait_until(found.is_subscribed)
    with sending(broker) as sender:
        sender.send("checked/front/image", b"while away")
    mqtt = {"url": broker.url, "client_id": "checked"}
    house = House(tmp_path, {"mqtt": mqtt, "watch": [{"mqtt": "checked/+/image"}]})
    checked = dropsight("check", "-c", str(house.config))
    assert f"ok    arrivals images on checked/+/image go into {tmp_path}/inbox-mqtt/+/" in checked.stdout
    with taking(tmp_path, broker, **settings) as found:
        wait_until(lambda: found.contents() == [b"while away"])


def test_another_filter_takes_the_place_of_the_one_before(tmp_path: Path, broker: Mosquitto) -> None:
    for name in ("before", "after"):
        with taking(tmp_path, broker, mqtt=f"{name}/+/image", client_id="changed") as found:
            wait_until(found.is_subscribed)
    with sending(broker) as sender:
        sender.send("before/front/image", b"old")
        sender.send("after/front/image", b"new")
    with taking(tmp_path, broker, mqtt="after/+/image", client_id="changed") as found:
        wait_until(lambda: found.source.status().received == 1)
        assert found.contents() == [b"new"]
        assert sum(found.source.status().refused.values()) == 0


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
        # At three of the points one lies in the inbox, and its acknowledgement was not sent, or not yet.
        assert len(house.records()) <= len(sent) + 3
    finally:
        house.kill()


def test_what_a_session_has_taken_is_newer_than_what_it_inherits_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the second one the former session's pictures had all the room, and its own were recorded again."""
    monkeypatch.setattr(taken, "MOST", 4)
    former_one = TakenPictures(tmp_path, "former")
    for number in range(4):
        former_one.note("front", b"%d" % number)
    for number in range(2):
        heir = TakenPictures(tmp_path, "heir")
        heir.inherit(tmp_path, "former")
        heir.note("front", b"own %d" % number)
    heir = TakenPictures(tmp_path, "heir")
    heir.inherit(tmp_path, "former")
    known = [heir.has("front", each) for each in (b"0", b"1", b"2", b"3", b"own 0", b"own 1")]
    assert known == [False, False, True, True, True, True]
    assert heir.ends_with("front", b"own 1")
