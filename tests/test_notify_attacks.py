"""Notifications under attack: by who names folders, by who floods, and by receivers that mean harm."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from importlib.machinery import ModuleSpec
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from brokers import wait_until
from dropsight.bounded import SECRET_BYTES
from dropsight.config import Notify
from dropsight.errors import SinkError
from dropsight.journal.event_messages import EventBest
from dropsight.sinks.notify import words
from dropsight.sinks.notify.allowance import HourlyAllowance
from dropsight.sinks.notify.answer_bounds import MOST_BYTES
from dropsight.sinks.notify.dispatcher import MEMORY_BYTES, Dispatcher
from dropsight.sinks.notify.notification import MESSAGE_BYTES, Notification, Receipt
from dropsight.sinks.notify.targets import Target
from notified import Events, NotedDispatcher, SharedDispatcher, Told, message
from receivers import Receiver, Turn

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[SharedDispatcher]:
    shared = SharedDispatcher()
    yield shared
    shared.end()


def told(dispatcher: Dispatcher, url: str, *, sender: str = "dropsight") -> Receipt:
    notification = Notification(url, "fox at front", "red fox 93 %", "id", sender, "fox.jpg")
    return dispatcher.carry(notification, b"\xff\xd8 a picture", stopping=lambda: False)


def hook(receiver: Receiver) -> str:
    return f"json://127.0.0.1:{receiver.port}/"


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"100000\r\n" + bytes(2**20) + b"\r\n"
    try:
        while True:
            handler.wfile.write(piece)
    except OSError:
        return


def test_an_answer_without_an_end_is_hung_up_on_and_takes_no_memory(dispatcher: SharedDispatcher) -> None:
    with Receiver([Turn(0, instead=endless)]) as stream:
        assert told(dispatcher, hook(stream)).fault == "its answer has no end"
    status = Path(f"/proc/{dispatcher.pid}/status").read_text()
    (peak,) = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    assert peak < MEMORY_BYTES / 2
    assert MOST_BYTES < MEMORY_BYTES / 16


def test_a_receiver_that_only_says_to_go_on_is_hung_up_on(dispatcher: SharedDispatcher) -> None:
    def going_on(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            while True:
                handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)

    with Receiver([Turn(0, instead=going_on)]) as stream:
        assert told(dispatcher, hook(stream)).fault == "it closes the connection"


def test_any_number_of_notifications_that_trickle_hold_up_no_other(dispatcher: Dispatcher) -> None:
    """Apprise has a few threads for all that have a limit of time, and does not get them back."""
    over = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b"x")

    with Receiver([Turn(0, instead=trickle)]) as slow, Receiver() as well:
        waiting = [threading.Thread(target=told, args=(dispatcher, hook(slow))) for _ in range(12)]
        for thread in waiting:
            thread.start()
        try:
            wait_until(lambda: len(slow.asked) == len(waiting))
            assert told(dispatcher, hook(well)).fault is None
            assert all(thread.is_alive() for thread in waiting)
        finally:
            over.set()
            for thread in waiting:
                thread.join()


def test_a_receiver_does_not_choose_whom_the_picture_goes_to(dispatcher: Dispatcher) -> None:
    with Receiver() as other, Receiver([Turn(307, {"Location": other.url})]) as sly:
        assert told(dispatcher, hook(sly)).fault == "it answers 307 Temporary Redirect"
        assert not other.asked
        assert told(dispatcher, f"{hook(sly)}?redirect=yes").fault is None
        assert len(other.taken) == 1


def test_a_device_of_any_name_tells(dispatcher: Dispatcher) -> None:
    """HTTP's headers have no other signs than ASCII's."""
    assert words.sender("Küche\r\nX: 厨房") == r"dropsight on Kuche\r\nX:"
    assert words.sender("厨房") == "dropsight"
    with Receiver() as web:
        assert told(dispatcher, hook(web), sender=words.sender("Küche\r\nX: 厨房")).fault is None


def test_names_call_nobody_and_are_cut() -> None:
    """A chat would wake everybody for a folder that is called @everyone."""
    evil = message(1, name="fox", camera="@everyone", best=EventBest("r", 0.9, "\x1b@here" + "x" * 10_000))
    assert words.title_of(evil) == "fox at \uff20everyone"
    said = f"{words.title_of(evil)}: {words.body_of(evil, now=NOON)}"
    assert "@" not in said
    assert r"\x1b" in said
    assert len(said) < 200
    broken = message(2, camera="a" * 10_000, best=EventBest("", 0.0, "\x1b" * 10_000))
    assert len(words.title_of(broken)) < 100
    assert len(words.body_of(broken, now=NOON)) < 400


@pytest.mark.parametrize(
    ("taken", "place"), [("0001-01-01T00:00:00Z", "America/New_York"), ("9999-12-31T23:59:59Z", "Asia/Tokyo")]
)
def test_a_photo_that_says_that_it_is_of_any_year_stops_no_target(taken: str, place: str) -> None:
    """That one would have been tried again for ever, and all others after it."""
    said = words.body_of(message(1, started=taken), now=NOON, zone=ZoneInfo(place))
    assert said.endswith(f"since {taken}")


def test_a_flood_of_events_of_made_up_cameras_is_a_few_messages_and_one_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dropsight.sinks.notify.notification_queue.MOST", 100)
    flood = [message(number, camera=f"{number:05}" + "\u202e" * 250) for number in range(300)]
    noted = NotedDispatcher()
    with Told(tmp_path, noted) as people:
        people.parts.allowance = HourlyAllowance(most=5)
        follower = people.by(Events(flood), "json://127.0.0.1/", picture=lambda *_: b"")
        wait_until(lambda: "were sent within the hour" in follower.standing().to)
        assert len(noted.notifications) == 5
        assert follower.standing()[1:] == (5, 200, 95)  # delivered, given up, held
        assert caplog.text.count("given up: the oldest notifications; more than 100 wait") == 1
        people.now[0] += 3600
        follower.wake()
        wait_until(lambda: follower.standing().held == 0)
    (rest,) = noted.notifications[5:]
    assert rest.title == "95 events"
    assert "and 75 more" in rest.body
    longest = msgspec.structs.replace(rest, url="x" * SECRET_BYTES)
    assert len(rest.body.encode()) < MESSAGE_BYTES / 8
    assert len(msgspec.msgpack.encode(longest)) < MESSAGE_BYTES


def test_what_cannot_be_handed_over_is_a_fault_that_is_tried_again(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SinkError, match="cannot be handed to the notification process: Message too long"):
        dispatcher.carry(Notification("x" * 2**20, "", "", ""), None, stopping=lambda: False)
    monkeypatch.setattr("dropsight.sinks.notify.dispatcher.Receipt", int)
    with Receiver() as web, pytest.raises(SinkError, match="sent invalid data"):
        told(dispatcher, hook(web))


def test_an_apprise_that_only_root_may_read_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As root's umask of 077 leaves it: found, without anything in it."""
    monkeypatch.setattr("dropsight.sinks.notify.dispatcher.find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(SinkError, match=r"not for this user to read: .*chmod -R a\+rX .*site-packages"):
        told(Dispatcher(), "json://127.0.0.1/")


def test_a_target_shows_nobody_its_url() -> None:
    assert "5ecret" not in repr(Target("phone", Notify(), 1, "ntfy://127.0.0.1/5ecret"))
