"""Notifications: real receivers get text and picture, at least once, whatever becomes of them or of us."""

import base64
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from brokers import free_port, wait_until
from daemons import PHOTOS, House, dropsight
from dropsight.config import Notify
from dropsight.crashpoints import VARIABLE
from dropsight.errors import SinkError
from dropsight.journal.event_messages import EventBest
from dropsight.sinks.notify import notifier, words
from dropsight.sinks.notify.allowance import MOST, HourlyAllowance, Sent, ToldSource
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.sinks.notify.notification import Notification, Receipt
from dropsight.sinks.notify.notification_queue import FILE, NotificationQueue
from dropsight.sinks.notify.quiet import quiet_until
from notified import Events, MailServer, SharedDispatcher, Told, message, own_dispatcher
from receivers import Receiver, Turn, secret_file
from webs import ANY_PORT, address, ask

JPEG = "image/jpeg"


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[SharedDispatcher]:
    shared = SharedDispatcher()
    yield shared
    shared.end()


def raw(**how: Any) -> Receiver:
    return Receiver(**how, read=bytes)


def ntfy(receiver: Receiver) -> str:
    return f"ntfy://127.0.0.1:{receiver.port}/t0pic-5ecret"


def hook(receiver: Receiver) -> str:
    return f"json://127.0.0.1:{receiver.port}/path-5ecret"


def longer_side(jpeg: bytes) -> int:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return int(max(found.shape))


def titles(receiver: Receiver) -> list[str]:
    return [body["title"] for body in receiver.taken]


def test_phone_webhook_and_mail_get_the_words_and_the_picture_as_a_jpeg_of_640_pixels(
    tmp_path: Path, dispatcher: Dispatcher
) -> None:
    told = message(10, best=EventBest("record1", 0.93, "red fox"), count=3)
    with raw() as phone, Receiver() as web, MailServer() as mail, Told(tmp_path, dispatcher) as people:
        for place, url in enumerate((ntfy(phone), hook(web), mail.url), 1):
            people.by(Events([message(1, notify=["cellar"]), told, message(2, notify=[])]), url, place)
        wait_until(lambda: bool(phone.taken and web.taken and mail.taken))
    now = datetime.fromtimestamp(people.now[0]).astimezone()
    text = f"red fox 93 %, 3 photos since {words.clock(told.started, now)}"
    (asked,) = phone.asked
    said = parse_qs(urlsplit(asked.path).query)
    assert (said["title"], said["message"]) == (["fox at front"], [text])
    assert said["filename"] == ["front-record1.jpg"]
    assert longer_side(asked.body) == 640
    (body,) = web.taken
    (attached,) = body["attachments"]
    assert (body["title"], body["message"]) == ("fox at front", text)
    assert (attached["mimetype"], attached["filename"]) == (JPEG, "front-record1.jpg")
    assert longer_side(base64.b64decode(attached["base64"])) == 640
    assert web.asked[0].headers["X-Dropsight-Id"] == told.message_id
    (mailed,) = mail.taken
    (part,) = mailed.iter_attachments()
    assert (mailed["subject"], part.get_content_type()) == ("fox at front", JPEG)
    assert (mailed["x-dropsight-id"], part.get_filename()) == (told.message_id, "front-record1.jpg")
    text_part = mailed.get_body(("plain",))
    assert text_part
    assert text_part.get_content().strip() == text
    assert longer_side(part.get_content()) == 640


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def test_a_receiver_that_is_down_refuses_drops_or_hangs_gets_it_later_and_holds_up_no_other(
    tmp_path: Path, dispatcher: Dispatcher
) -> None:
    """With the same id. Of what hangs, the URL says how long that is waited for."""
    ways = (Turn(503), Turn(0, instead=reset), Turn(0, instead=lambda handler: handler.connection.recv(1)))
    found = [Receiver([turn, Turn()]) for turn in ways]
    told = message(1)
    with Told(tmp_path, dispatcher) as people, Receiver() as well:
        down = people.by(Events([told]), f"json://127.0.0.1:{free_port()}/path-5ecret")
        wait_until(down.troubles.any)
        fault = "notify:phone (json://***) was not notified: it cannot be reached (Connection refused)"
        assert down.troubles.current() == {"notify:phone": fault}
        for place, receiver in enumerate(found, 2):
            receiver.__enter__()
            people.by(Events([told]), f"{hook(receiver)}?rto=1", place)
        people.by(Events([told]), hook(well), 9)
        wait_until(lambda: bool(well.taken))
        wait_until(lambda: all(receiver.taken for receiver in found))
        for receiver in found:
            receiver.__exit__()
            assert {asked.headers["X-Dropsight-Id"] for asked in receiver.asked} == {told.message_id}
            assert len(receiver.asked) > len(receiver.taken)
        assert down.standing().held == 1


def test_what_refuses_the_picture_gets_the_text_alone(tmp_path: Path, dispatcher: Dispatcher) -> None:
    with Receiver() as web, MailServer() as mail, Told(tmp_path, dispatcher) as people:
        web.judge = lambda asked: Turn(413 if asked.body["attachments"] else 200)
        mail.says = lambda said: "552 too large" if list(said.iter_attachments()) else "250 taken"
        people.by(Events([message(1)]), hook(web))
        people.by(Events([message(1)]), mail.url, 2)
        wait_until(lambda: bool(web.taken and mail.taken))
    assert len(web.asked) == 2
    assert titles(web) == [mail.taken[0]["subject"]] == ["fox at front"]


def test_names_that_strangers_give_are_text_and_nothing_else(tmp_path: Path, dispatcher: Dispatcher) -> None:
    """Whoever uploads makes folders, which are cameras."""
    evil = "<b>x</b>\r\nBcc: eve@example.org\u202e"
    told = message(1, camera=evil, best=EventBest("r", 0.9, "<img src=//eve>\n**x**"))
    with MailServer() as mail, Told(tmp_path, dispatcher) as people:
        people.by(Events([told, told]), mail.url)
        wait_until(lambda: bool(mail.taken))
    (mailed,) = mail.taken
    kinds = [part.get_content_type() for part in mailed.walk() if not part.is_multipart()]
    assert kinds == ["text/plain", JPEG]
    assert mailed["bcc"] is None
    assert mailed["subject"] == "fox at <b>x</b>\\r\\nBcc: eve\uff20example.org\\u202e"


def test_what_is_longer_than_a_service_takes_comes_in_parts(dispatcher: Dispatcher) -> None:
    lines = [f"event {number}: {'x' * 200}" for number in range(30)]
    with Receiver() as chat:
        notification = Notification(
            f"mmost://127.0.0.1:{chat.port}/t0ken-5ecret0123", "30 events", "\n".join(lines), "id"
        )
        assert dispatcher.carry(notification, None, stopping=lambda: False) == Receipt()
    texts = [body["text"] for body in chat.taken]
    assert len(texts) == 2
    assert all(f"event {number}:" in "".join(texts) for number in range(30))


def test_after_a_reload_the_new_url_is_tried_at_once(tmp_path: Path, dispatcher: Dispatcher) -> None:
    with Receiver() as web, Told(tmp_path, dispatcher) as people:
        follower = people.by(Events([message(1)]), f"json://127.0.0.1:{free_port()}/", then=hook(web))
        wait_until(follower.troubles.any)
        follower.read_secrets()
        wait_until(lambda: bool(web.taken) and not follower.troubles.any())


def test_where_the_picture_is_gone_or_not_wanted_the_text_goes_alone(
    tmp_path: Path, dispatcher: Dispatcher
) -> None:
    gone = message(1, best=EventBest("gone", 0.9, "red fox"))
    with Receiver() as web, Receiver() as other:
        with Told(tmp_path, dispatcher) as people:
            people.by(Events([gone]), hook(web))
            wait_until(lambda: bool(web.taken))
        with Told(tmp_path, dispatcher, settings=Notify(pictures=False)) as people:
            people.by(Events([message(2)]), hook(other), 2)
            wait_until(lambda: bool(other.taken))
    assert web.taken[0]["attachments"] == other.taken[0]["attachments"] == []


SECRETS = (
    "ntfy://user-5ecret:pass-5ecret@127.0.0.1:1/topic-5ecret",
    "ntfys://127.0.0.1:{port}/topic-5ecret",
    "json://127.0.0.1:{port}/path-5ecret?token=t-5ecret",
    "mailto://127.0.0.1:1?user=u5ecret&pass=p5ecret&mode=insecure&from=a5ecret@x.org&to=b5ecret@x.org",
    "tgram://123456789:abc5ecret_hijklmnop/12315544",
    "jsons://host5ecret.invalid/path-5ecret",
    "nonsense://5ecret",
)


def test_no_word_about_a_fault_has_anything_of_the_url_in_it(dispatcher: SharedDispatcher) -> None:
    """Nor has the process that gets it, where others may look."""
    with Receiver([Turn(403, {"X": "5ecret"})]) as receiver:
        for url in SECRETS:
            notification = Notification(url.format(port=receiver.port), "5", "5", "id")
            fault = dispatcher.carry(notification, None, stopping=lambda: False).fault
            assert fault
            assert "5ecret" not in fault
            assert "127.0.0.1" not in fault
    for name in ("cmdline", "environ"):
        assert b"5ecret" not in Path(f"/proc/{dispatcher.pid}/{name}").read_bytes()


@pytest.mark.slow
def test_a_process_that_dies_is_begun_anew_and_one_that_hangs_is_ended_and_said(tmp_path: Path) -> None:
    with own_dispatcher() as dispatcher, Receiver() as web, Told(tmp_path, dispatcher) as people:
        events = Events([message(1)])
        follower = people.by(events, hook(web))
        wait_until(lambda: follower.standing().delivered == 1)
        assert dispatcher.pid
        os.kill(dispatcher.pid, signal.SIGKILL)
        events.add(message(2))
        follower.wake()
        wait_until(lambda: follower.standing().delivered == 2)
        hung = dispatcher.pid
        assert hung
        os.kill(hung, signal.SIGSTOP)
        dispatcher.longest_seconds = 0.5
        events.add(message(3))
        follower.wake()
        wait_until(lambda: "the notification process was ended" in str(follower.troubles.current()))
        dispatcher.longest_seconds = 120.0
        wait_until(lambda: follower.standing().delivered == 3 and not follower.troubles.any())
        assert {each.headers["X-Dropsight-Id"] for each in web.asked} == {
            message(number).message_id for number in (1, 2, 3)
        }
        assert not Path(f"/proc/{hung}").exists()


def test_without_apprise_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropsight.sinks.notify.dispatcher.find_spec", lambda _: None)
    with (
        own_dispatcher() as dispatcher,
        pytest.raises(SinkError, match=r"need Apprise: .*pip install .*notify"),
    ):
        dispatcher.carry(Notification("json://x", "", "", ""), None, stopping=lambda: False)


def test_the_process_that_notifies_ends_at_rest(tmp_path: Path) -> None:
    with (
        own_dispatcher(rest_seconds=0.0) as dispatcher,
        Receiver() as web,
        Told(tmp_path, dispatcher) as people,
    ):
        people.by(Events([message(1)]), hook(web))
        wait_until(lambda: bool(web.taken))
        wait_until(lambda: dispatcher.pid is None)


def test_beyond_thirty_in_an_hour_the_rest_comes_as_one(tmp_path: Path, dispatcher: Dispatcher) -> None:
    """Of all targets together: what one takes, another does not have."""
    events = Events([message(number) for number in range(MOST + 5)])
    with Receiver() as web, Told(tmp_path, dispatcher, settings=Notify(pictures=False)) as people:
        follower = people.by(events, hook(web))
        wait_until(lambda: len(web.taken) == MOST and follower.standing().held == 5)
        other = people.by(Events([message(90)]), hook(web), 2)
        wait_until(lambda: other.standing().to == "json://*** (30 were sent within the hour)")
        assert "what comes next comes together" in web.taken[-1]["message"]
        assert len(web.taken) == MOST
        people.now[0] += 3600
        follower.wake()
        other.wake()
        wait_until(lambda: len(web.taken) == MOST + 2)
    assert sorted(titles(web)[MOST:]) == ["5 events", "fox at front"]
    (digest,) = [body["message"] for body in web.taken if body["title"] == "5 events"]
    assert len(digest.splitlines()) == 5


def test_what_happens_in_quiet_hours_is_told_at_their_end_together(
    tmp_path: Path, dispatcher: Dispatcher
) -> None:
    here = datetime.fromtimestamp(1_795_900_000).astimezone()
    begin, end = (f"{here + timedelta(hours=by):%H:%M}" for by in (-1, 1))
    settings = Notify(quiet=f"{begin}-{end}", pictures=False)
    with Receiver() as web, Told(tmp_path, dispatcher, settings=settings) as people:
        events = Events([message(1), message(2, name="cat", camera="back")])
        follower = people.by(events, hook(web))
        wait_until(lambda: follower.standing().to == f"json://*** (quiet until {end})")
        assert follower.standing().held == 2
        assert not web.asked
        people.now[0] += 3 * 3600
        follower.wake()
        wait_until(lambda: bool(web.taken))
        events.add(message(3))
        follower.wake()
        wait_until(lambda: len(web.taken) == 2)
    assert titles(web) == ["2 events", "fox at front"]
    assert [line.partition(":")[0] for line in web.taken[0]["message"].splitlines()] == [
        "fox at front",
        "cat at back",
    ]


def test_after_a_day_in_vain_it_is_given_up_with_a_line(
    tmp_path: Path, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried for a day: what was off meanwhile, or in quiet hours, does not count."""
    monkeypatch.setattr(notifier, "GIVE_UP_SECONDS", 0.5)
    with Told(tmp_path, dispatcher) as people:
        follower = people.by(Events([message(1), message(2)]), f"json://127.0.0.1:{free_port()}/")
        wait_until(lambda: follower.standing().set_aside == 2)
        assert "given up: 2 notifications; tried for a day" in str(follower.troubles.current())
        assert follower.standing().held == 0


TELL = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from dropsight.sinks.notify.dispatcher import Dispatcher
from notified import Events, Told, message

events = Events([message(number) for number in range(3)], Path(sys.argv[1], "mark"))
with Told(Path(sys.argv[1]), Dispatcher()) as people:
    follower = people.by(events, sys.argv[2])
    while not follower.tried or follower.standing().held:
        threading.Event().wait(0.01)
people.parts.dispatcher.close()
"""


@pytest.mark.slow
def test_a_kill_at_any_point_between_event_and_delivery_loses_none(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Receiver() as web:
        for point in ("before_holding", "before_telling:2", "after_telling", ""):
            arguments = [
                sys.executable,
                "-c",
                TELL,
                str(tmp_path / "a"),
                hook(web),
                str(Path(__file__).parent),
            ]
            done = subprocess.run(arguments, env={**os.environ, VARIABLE: point}, check=False, timeout=120)
            assert done.returncode == (-signal.SIGKILL if point else 0)
    ids = [asked.headers["X-Dropsight-Id"] for asked in web.asked]
    assert titles(web) == ["fox at front", "2 events", "2 events"]
    assert ids[0] == message(0).message_id
    assert ids[1] == ids[2]


def test_whoever_has_most_notifications_waiting_has_nobody_else_s_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a night of quiet, 10,000 events of cameras that an uploader made up took the fox's place."""
    monkeypatch.setattr("dropsight.sinks.notify.notification_queue.MOST", 3)
    queue = NotificationQueue(tmp_path / FILE)
    queue.add("phone", [message(0)], ["garden"])
    gone = sum(queue.add("phone", [message(number)], ["street"]) for number in range(1, 9))
    assert gone == 6
    assert [held.message for held in queue.waiting("phone", 10)] == [message(0), message(7), message(8)]


def test_what_waits_is_kept_once_within_a_bound_and_over_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dropsight.sinks.notify.notification_queue.MOST", 3)
    queue = NotificationQueue(tmp_path / FILE)
    assert queue.add("phone", [message(number) for number in (1, 2, 2, 3)], [""] * 4) == 0
    assert queue.add("phone", [message(4)], [""]) == 1
    assert queue.add("mail", [message(1)], [""]) == 0
    queue.close()
    queue = NotificationQueue(tmp_path / FILE)
    kept = queue.waiting("phone", 10)
    assert [held.message for held in kept] == [message(2), message(3), message(4)]
    queue.told(kept[:1], Sent(time.time(), ToldSource(camera="front")))
    assert (queue.count("phone"), queue.count("mail"), len(queue.sent())) == (2, 1, 1)
    queue.close()
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    assert NotificationQueue(tmp_path / FILE).waiting("phone", 10) == []
    assert f"{tmp_path / FILE} is damaged" in caplog.text
    assert (tmp_path / f"{FILE}.damaged").exists()


def test_thirty_an_hour_is_counted_over_restarts_and_a_clock_that_was_set_back_frees_them() -> None:
    allowance = HourlyAllowance(Sent(second) for second in range(29))
    assert allowance.take(Sent(100.0)) == 0
    assert allowance.is_used_up
    assert allowance.take(Sent(100.0)) == 3500.0
    allowance.give_back(Sent(100.0))
    assert allowance.take(Sent(200.0)) == 0
    assert allowance.take(Sent(50.0)) == 0


@pytest.mark.parametrize(
    ("at", "until"),
    [("21:59", None), ("22:00", "2026-11-29T07:00"), ("06:59", "2026-11-28T07:00"), ("07:00", None)],
)
def test_quiet_hours_go_over_midnight(at: str, until: str | None) -> None:
    end = datetime.fromisoformat(until) if until else None
    assert quiet_until("22:00-07:00", datetime.fromisoformat(f"2026-11-28T{at}")) == end
    noon, end = (datetime.fromisoformat(f"2026-11-28T{hour}:00") for hour in (13, 14))
    assert quiet_until("12:00-14:00", noon) == end
    assert quiet_until(None, noon) is None


def test_an_event_is_told_in_plain_words() -> None:
    zone = UTC
    now = datetime(2026, 11, 28, 22, tzinfo=zone)
    one = message(10, count=1, region="door", best=EventBest("r", 0.987, "group:cat"))
    assert words.title_of(one) == "fox at front (door)"
    assert words.body_of(one, now=now, zone=zone) == "cat 99 %, 1 photo at 21:10"
    clip = message(10, count=1, clips=1)
    assert words.body_of(clip, now=now, zone=zone) == "red fox 51 %, 1 clip at 21:10"
    both = message(10, count=4, clips=3)
    assert words.body_of(both, now=now, zone=zone) == "red fox 51 %, 1 photo and 3 clips since 21:10"
    sure = message(10, best=EventBest("r", 0.99971, "fox"))
    assert words.body_of(sure, now=now, zone=zone).startswith("fox 99.9 %, ")
    over = message(10, phase="end", ended="2026-11-28T21:14:00Z")
    assert words.body_of(over, now=now, zone=zone) == "over: red fox 51 %, 2 photos, 21:10 to 21:14"
    assert words.body_of(one, now=now + timedelta(days=1), zone=zone).endswith("at 28 Nov 21:10")
    title, body = words.digest([message(n % 25) for n in range(50)], now=now, zone=zone)
    assert title == "25 events"
    assert body.splitlines()[-1] == "and 5 more: fox at front 5"


RULE = {"name": "any", "labels": ["*"], "confidence": 0.01, "confirm": "1 of 1", "notify": ["phone"]}


def drop_photo(house: House, camera: str) -> None:
    (house.inbox / camera).mkdir()
    photo = cv2.imread(str(PHOTOS[0]))
    assert photo is not None
    cv2.imwrite(str(house.root / "photo.jpg"), cv2.resize(photo, (1600, 1200)))
    (house.root / "photo.jpg").rename(house.inbox / camera / "1.jpg")


@pytest.mark.slow
def test_the_daemon_tells_of_every_event_over_kills_and_shows_whom_it_does_not_reach(tmp_path: Path) -> None:
    """One target is away all the time. What is shown has nothing of a URL."""
    with Receiver() as web:
        urls = f"{hook(web)}\njson://127.0.0.1:{free_port()}/away-5ecret\n"
        targets = secret_file(tmp_path / "phone", urls)
        settings = {"events": [RULE], "notify": {"phone": {"targets_file": str(targets)}}, "web": ANY_PORT}
        house = House(tmp_path, settings)
        try:
            for number, point in enumerate(("before_holding", "before_telling", "after_telling")):
                drop_photo(house, f"camera{number}")
                house.spawn(**{VARIABLE: point})
                assert house.ended() == -signal.SIGKILL, house.daemon_log()
            house.start()
            wait_until(lambda: house.status()["stats"]["followers"]["notify:phone"]["waiting"] == 0)
            trouble = (
                "notify:phone/2 (json://***) was not notified: it cannot be reached (Connection refused)"
            )
            wait_until(lambda: house.status()["troubles"].get("notify:phone/2") == trouble)
            shown = dropsight("status", "-c", str(house.config)).stdout
            figures = ask(address(house), "/metrics").body.decode()
            dumped = dropsight("config", "-c", str(house.config)).stdout
        finally:
            house.kill()
    assert "trouble    notify:phone/2: (json://***) was not notified: it cannot be reached" in shown
    said = "\n".join(f"{body['title']}: {body['message']}" for body in web.taken)
    assert all(f"any at camera{number}" in said for number in range(3))
    picture = base64.b64decode(web.taken[0]["attachments"][0]["base64"])
    assert longer_side(picture) == 640
    assert re.search(r"follower +notify:phone/2, json://\*\*\*, 0 delivered, 3 waiting", shown)
    assert 'dropsight_follower_waiting{follower="notify:phone/2"} 3.0' in figures
    for text in (shown, figures, dumped, house.daemon_log()):
        assert "5ecret" not in text


PICTURES = """
import sys, threading
import dropsight.service.record_pictures
from dropsight.classify.resources import give_memory_back, share_memory
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail

def own():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

def work():
    for _ in range(3):
        thumbnail(sys.argv[1], Bounds(), longest=640)
        give_memory_back()

share_memory()
give_memory_back()
before = own()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(own() - before)
"""


def test_pictures_of_twelve_megapixels_leave_the_daemon_no_larger(tmp_path: Path) -> None:
    """Apprise is never in the daemon; with all the rest, notifications cost it less than 1 MB."""
    photo, small = tmp_path / "large.jpg", cv2.imread(str(PHOTOS[0]))
    assert small is not None
    cv2.imwrite(str(photo), cv2.resize(small, (4000, 3000)))
    done = subprocess.run(
        [sys.executable, "-c", PICTURES, str(photo)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2000
