"""No camera uses up the notifications of an hour: what it has beyond its share waits, the others do not."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.config import Notify
from dropsight.crashpoints import VARIABLE
from dropsight.journal.event_messages import encode_message
from dropsight.sinks.notify.allowance import KNOWN_SECONDS, MOST, SECONDS, HourlyAllowance, Sent, ToldSource
from dropsight.sinks.notify.notification_queue import FILE, NotificationQueue, QueuedMessage
from notified import Events, SharedDispatcher, Told, message
from receivers import Receiver, secret_file

SHARE = MOST // 2
WAITS = f"json://*** ({SHARE} of one camera were sent within the hour)"
PLAIN = Notify(pictures=False)


@pytest.fixture(scope="module")
def dispatcher() -> Iterator[SharedDispatcher]:
    shared = SharedDispatcher()
    yield shared
    shared.end()


def hook(receiver: Receiver) -> str:
    return f"json://127.0.0.1:{receiver.port}/hook"


def titles(receiver: Receiver) -> list[str]:
    return [body["title"] for body in receiver.taken]


def test_a_camera_that_floods_has_half_of_the_hour_and_the_others_are_told_at_once(
    tmp_path: Path, dispatcher: SharedDispatcher
) -> None:
    events = Events([message(100, camera="back"), *(message(number) for number in range(SHARE + 5))])
    with Receiver() as web, Told(tmp_path, dispatcher, settings=PLAIN) as people:
        follower = people.by(events, hook(web))
        wait_until(lambda: follower.standing().to == WAITS)
        assert titles(web) == ["fox at back", *["fox at front"] * SHARE]
        assert web.taken[-1]["message"].endswith(
            "\n(many of this camera within an hour: what comes next of it comes together, later)"
        )
        for number in (101, 102):
            events.add(message(number, camera="back"))
        follower.wake()
        wait_until(lambda: len(web.taken) == SHARE + 3)
        wait_until(lambda: follower.standing()[1:] == (SHARE + 3, 0, 5))
        assert titles(web)[SHARE + 1 :] == ["fox at back", "fox at back"]
        people.now[0] += SECONDS
        follower.wake()
        wait_until(lambda: follower.standing().held == 0)
    assert titles(web)[SHARE + 3 :] == ["5 events"]
    *lines, why = web.taken[-1]["message"].splitlines()
    assert [line.partition(":")[0] for line in lines] == ["fox at front"] * 5
    assert why == "(this camera had its share within an hour: this came together)"


def test_made_up_cameras_of_an_inbox_have_half_of_the_hour_and_another_inbox_is_told_at_once(
    tmp_path: Path, dispatcher: SharedDispatcher
) -> None:
    """Whoever may make folders in an inbox can make cameras: each had a share of its own."""
    made_up = [message(number, camera=f"made up {number}") for number in range(SHARE + 5)]
    events = Events(made_up)
    with Receiver() as web, Told(tmp_path, dispatcher, settings=PLAIN, inboxes=2) as people:
        people.inboxes |= {"door": "/srv/house", **{each.camera: "/srv/ftp" for each in made_up}}
        follower = people.by(events, hook(web))
        wait_until(lambda: follower.standing().to == WAITS.replace("camera", "inbox"))
        assert titles(web) == [f"fox at made up {number}" for number in range(SHARE)]
        assert web.taken[-1]["message"].endswith(
            "\n(many of this inbox within an hour: what comes next of it comes together, later)"
        )
        events.add(message(101, camera="door"))
        follower.wake()
        wait_until(lambda: titles(web)[-1] == "fox at door")
        people.now[0] += SECONDS
        follower.wake()
        wait_until(lambda: follower.standing().held == 0)
    assert titles(web)[SHARE + 1 :] == ["5 events"]
    assert web.taken[-1]["message"].endswith(
        "\n(this inbox had its share within an hour: this came together)"
    )


def test_news_of_a_camera_beyond_its_share_has_nothing_read_that_waits(
    tmp_path: Path, dispatcher: SharedDispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 10,000 notifications were at each, 60 ms of a processor and as often as a flood has it."""
    reads = list[str]()
    read = NotificationQueue.waiting

    def counted(queue: NotificationQueue, target: str, most: int, **wanted: Any) -> list[QueuedMessage]:
        reads.append(target)
        return read(queue, target, most, **wanted)

    monkeypatch.setattr(NotificationQueue, "waiting", counted)
    events = Events([message(100, camera="back"), *(message(number) for number in range(SHARE + 1))])
    with Receiver() as web, Told(tmp_path, dispatcher, settings=PLAIN) as people:
        follower = people.by(events, hook(web))
        wait_until(lambda: follower.standing().to == WAITS)
        before = len(reads)
        for held in (2, 3, 4):  # once one is held, the turn of the one before is over
            events.add(message(SHARE + held))
            follower.wake()
            wait_until(lambda held=held: follower.standing().held == held)  # type: ignore[misc]
        assert len(reads) == before
        events.add(message(101, camera="back"))
        follower.wake()
        wait_until(lambda: titles(web)[-1] == "fox at back")


TELL = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from dropsight.config import Notify
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.journal.event_messages import encode_message
from notified import Events, Told, message

told = [message(100, camera="back"), *map(message, range(20)), message(101, camera="back")]
events = Events(told, Path(sys.argv[1], "mark"))
with Told(Path(sys.argv[1]), Dispatcher(), settings=Notify(pictures=False)) as people:
    people.now[0] = time.time()
    follower = people.by(events, sys.argv[2])
    while not follower.tried or follower.standing().held > 5:
        threading.Event().wait(0.01)
people.parts.dispatcher.close()
"""


@pytest.mark.slow
def test_a_kill_gives_no_camera_another_share(tmp_path: Path) -> None:
    """The last that is tried before it is the other camera's second, after the whole share of the first."""
    with Receiver() as web:
        for point in (f"before_telling:{SHARE + 2}", ""):
            tell = [sys.executable, "-c", TELL, str(tmp_path), hook(web), str(Path(__file__).parent)]
            done = subprocess.run(tell, env={**os.environ, VARIABLE: point}, check=False, timeout=120)
            assert done.returncode == (-signal.SIGKILL if point else 0)
    assert titles(web) == ["fox at back", *["fox at front"] * SHARE, "fox at back"]


@pytest.mark.slow
def test_the_daemon_knows_of_which_inbox_an_event_is(tmp_path: Path) -> None:
    targets = tmp_path / "phone"
    with Receiver() as web:
        phone = {"targets_file": str(secret_file(targets, hook(web))), "pictures": False}
        rule = {"name": "any", "labels": ["*"], "confidence": 0, "confirm": "1 of 1", "notify": ["phone"]}
        watch = [{"path": "house"}, {"path": "ftp"}]
        with running(tmp_path, watch=watch, events=[rule], notify={"phone": phone}) as house:
            for number in range(SHARE + 1):
                _drop(tmp_path / "ftp" / f"made-up-{number}")
            wait_until(lambda: _standing(house) == (SHARE, 1))
            _drop(tmp_path / "house" / "hall")
            wait_until(lambda: _standing(house) == (SHARE + 1, 1))
            assert titles(web)[-1] == "any at hall"


def _standing(house: House) -> tuple[int, int]:
    follower = house.status()["stats"]["followers"]["notify:phone"]
    return follower["delivered"], follower["waiting"]


def _drop(folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(PHOTOS[0], folder.parent / ".photo")
    (folder.parent / ".photo").rename(folder / "1.jpg")


def sent(at: float, camera: str, inbox: str = "") -> Sent:
    return Sent(at, ToldSource(inbox, camera))


def taken(allowance: HourlyAllowance, camera: str, at: float, inbox: str = "") -> int:
    """How many there are of a camera at that time."""
    count = 0
    while not allowance.take(sent(at, camera, inbox)):
        count += 1
    return count


def test_the_only_camera_has_all_of_the_hour_and_two_have_half_each() -> None:
    assert taken(HourlyAllowance(), "front", 0.0) == MOST
    both = HourlyAllowance()
    assert both.take(sent(0.0, "back")) == 0
    assert taken(both, "front", 1.0) == SHARE
    assert both.full(1.0) == {("", "front"): SHARE}
    assert both.take(sent(1.0, "front")) == SECONDS
    assert taken(both, "back", 2.0) == SHARE - 1
    assert both.is_used_up


def test_of_two_inboxes_each_has_half_and_a_camera_half_of_what_its_inbox_has() -> None:
    both = HourlyAllowance([sent(0.0, "door", "/house")], inboxes=2)
    assert taken(both, "one", 1.0, "/ftp") == SHARE // 2
    assert taken(both, "two", 1.0, "/ftp") == SHARE // 2
    assert taken(both, "three", 1.0, "/ftp") == SHARE % 2
    assert taken(both, "four", 1.0, "/ftp") == 0
    assert both.full(1.0)["/ftp",] == SHARE
    assert taken(both, "door", 2.0, "/house") == SHARE // 2 - 1
    assert taken(both, "hall", 2.0, "/house") == SHARE // 2
    assert both.take(sent(2.0, "the broker")) == 0
    assert both.is_used_up


def test_a_camera_is_another_one_for_thirty_days() -> None:
    for age, count in ((KNOWN_SECONDS - 1, SHARE), (KNOWN_SECONDS + 1, MOST)):
        assert taken(HourlyAllowance([sent(0.0, "back")]), "front", age) == count


def test_what_was_tried_before_and_what_is_of_several_cameras_is_of_no_share() -> None:
    allowance = HourlyAllowance([sent(0.0, "back")])
    assert taken(allowance, "front", 1.0) == SHARE
    assert allowance.take(sent(1.0, "front"), beyond_share=True) == 0
    allowance.give_back(sent(1.0, "front"))
    assert taken(allowance, "", 1.0) == MOST - SHARE - 1


def test_the_share_is_counted_over_restarts_and_two_cameras_are_known_long_after(tmp_path: Path) -> None:
    """However many there were, as an uploader may make up names."""
    now, queue = time.time(), NotificationQueue(tmp_path / FILE)
    for number, camera in enumerate(["old", "front", "back", "front", ""]):
        queue.told([], sent(now - 3 * SECONDS + number, camera))
    queue.told([], sent(now - 1, "front"))
    queue.close()
    queue = NotificationQueue(tmp_path / FILE)
    assert [each.source.camera for each in queue.sent()] == ["back", "front"]
    assert taken(HourlyAllowance(queue.sent()), "front", now) == SHARE - 1


def test_inboxes_are_kept_over_restarts(tmp_path: Path) -> None:
    now, queue = time.time(), NotificationQueue(tmp_path / FILE)
    queue.told([], sent(now - 1, "one", "/ftp"))
    queue.add("phone", [message(1)], ["/ftp"])
    queue.close()
    queue = NotificationQueue(tmp_path / FILE)
    assert [each.source for each in queue.sent()] == [ToldSource("/ftp", "one")]
    assert queue.waiting("phone", 1) == [QueuedMessage(1, message(1), "/ftp")]


def test_a_queue_of_before_there_were_inboxes_is_gone_on_with(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute(
            "CREATE TABLE waiting (n INTEGER PRIMARY KEY, target TEXT NOT NULL, id TEXT NOT NULL,"
            " line BLOB NOT NULL, tried_seconds REAL NOT NULL DEFAULT 0, UNIQUE (target, id)) STRICT"
        )
        db.execute("CREATE TABLE told (n INTEGER PRIMARY KEY, at REAL NOT NULL, camera TEXT NOT NULL) STRICT")
        row = ("phone", "x", encode_message(message(1)))
        db.execute("INSERT INTO waiting (target, id, line) VALUES (?, ?, ?)", row)
        db.execute("INSERT INTO told (at, camera) VALUES (?, 'front')", (time.time(),))
    db.close()
    queue = NotificationQueue(tmp_path / FILE)
    assert [each.source for each in queue.waiting("phone", 9)] == [ToldSource("", "front")]
    assert [each.source for each in queue.sent()] == [ToldSource("", "front")]


def test_what_an_older_dropsight_sent_within_the_hour_counts(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("CREATE TABLE sent (at REAL NOT NULL) STRICT")
        db.execute("INSERT INTO sent VALUES (?)", (time.time(),))
    db.close()
    (found,) = NotificationQueue(tmp_path / FILE).sent()
    assert found.source == ToldSource()
