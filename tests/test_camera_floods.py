"""Whoever may make folders makes cameras: what that costs others, and what stays at the broker."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from dropsight.cameras.watch import LONGEST_LIST, MOST_CAMERAS, SECONDS_A_DAY, CameraWatch, Memory
from dropsight.commands import logs
from dropsight.commands.logs import MOST_LINES, FewOfAKind
from dropsight.config import Cameras, Watch
from dropsight.events.rule import Rule
from dropsight.events.state import Spell, State
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal import event_keeping
from dropsight.journal.event_messages import EventBest, encode_message
from dropsight.journal.event_table import EventNews, EventReader
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal, Row
from dropsight.records import Prediction, timestamp
from dropsight.service import camera_keeper
from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.camera_session import CameraSession, CameraSessionParts
from dropsight.sinks.mqtt.discovery import Discovery
from dropsight.sinks.mqtt.event_names import MOST_PLACES, EventNames
from dropsight.sinks.mqtt.event_session import EventPictures, EventSession, EventSessionParts
from dropsight.sinks.mqtt.homeassistant import Entities
from dropsight.sinks.mqtt.states import CameraStates
from dropsight.sinks.mqtt.thumbnails import Thumbnails
from dropsight.sinks.mqtt.topics import MOST_KNOWN, CameraTopicParts, Topics
from dropsight.status.changes import Changes
from records import result
from test_event_rows import message

ANYTHING = Rule("fox", ("*",))
FLOOD = [f"a{number:04}" for number in range(MOST_PLACES + 100)]


@dataclass
class Told:
    """What the broker would have been told, in the place of a connection."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)

    def tell(self, topic: str, payload: bytes, **_: object) -> int:
        self.messages.append((topic, payload))
        return len(self.messages)

    def of(self, part: str) -> list[str]:
        return [topic for topic, _ in self.messages if part in topic]


@pytest.fixture
def topics() -> Topics:
    return Topics.of("dropsight", "test")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.db")) as found:
        yield found


def watching(*names: str) -> CameraWatch:
    return CameraWatch(Cameras(), {name: Memory() for name in names}, changed=lambda: None)


def discovery(state: Path, topics: Topics) -> Discovery:
    return Discovery(Entities("test", topics, thumbnails=False), state, wanted=True, told_before=False)


def test_no_flood_of_cameras_takes_the_entities_of_one_that_was_told_of(
    tmp_path: Path, topics: Topics
) -> None:
    """Also after a restart: what was told of is known."""
    list(discovery(tmp_path, topics).messages(["zdoor"], again=True))
    later = discovery(tmp_path, topics)
    for again in (True, False):
        told = {topic: payload for topic, payload, _ in later.messages(["zdoor", *FLOOD], again=again)}
        assert told.get("homeassistant/device/dropsight_test/zdoor/config") != b""


def test_no_flood_of_cameras_takes_the_events_topics_of_one_that_was_told_of(
    tmp_path: Path, topics: Topics
) -> None:
    names = EventNames([ANYTHING], topics, tmp_path)
    names.told(names.places({"zdoor"}))
    for known in (names, EventNames([ANYTHING], topics, tmp_path)):
        places = known.places({"zdoor", *FLOOD})
        assert len(places) == MOST_PLACES
        assert "zdoor/fox" in places
        assert known.told(places) == []


def test_of_events_without_topics_of_their_own_no_picture_is_left_at_the_broker(
    tmp_path: Path, topics: Topics, store: Journal
) -> None:
    """They would never be taken back."""
    watch, told, reader = watching(*FLOOD), Told(), EventReader(store.path)
    pictures = EventPictures(lambda record, _side: record.encode(), wake=lambda: None)
    shared = EventSessionParts(topics, watch, EventNames([ANYTHING], topics, tmp_path), reader, pictures)
    session = EventSession(shared, cast("Announcer", told))
    session.publish()
    for camera in (FLOOD[0], FLOOD[-1], "new"):
        one = msgspec.structs.replace(message(), id=camera, camera=camera, best=EventBest(camera, 0.9, "fox"))
        store.add([], EventNews([one]))
        session.of(Delivery(1, camera, "event", encode_message(one)))
    session.publish_last()
    assert told.of("event_thumbnail") == [f"dropsight/test/event_thumbnail/{FLOOD[0]}"]
    reader.close()


def test_a_camera_that_has_just_come_has_the_picture_of_its_event_once_it_is_known(
    tmp_path: Path, topics: Topics, store: Journal
) -> None:
    watch, told, reader = watching(), Told(), EventReader(store.path)
    pictures = EventPictures(lambda record, _side: record.encode(), wake=lambda: None)
    shared = EventSessionParts(topics, watch, EventNames([ANYTHING], topics, tmp_path), reader, pictures)
    session = EventSession(shared, cast("Announcer", told))
    one = message()
    store.add([], EventNews([one]))
    session.of(Delivery(1, one.camera, "event", encode_message(one)))
    session.publish_last()
    assert told.of("event_thumbnail") == []
    watch.recorded(one.camera, folder="", arrived=0.0)
    session.publish_last()
    assert ("dropsight/test/event_thumbnail/garden", b"r1") in told.messages
    reader.close()


@pytest.mark.parametrize("retained", [True, False])
def test_a_forgotten_camera_s_record_is_taken_back_where_records_are_retained(
    tmp_path: Path, topics: Topics, *, retained: bool
) -> None:
    watch, told = watching("gone", "front"), Told()
    known = discovery(tmp_path, topics)
    news = CameraSessionParts(
        topics, watch, CameraStates(), Thumbnails(lambda: None), known, pictures=True, records=retained
    )
    session = CameraSession(news, cast("Announcer", told))
    watch.forget(["gone"])
    session.publish()
    assert (("dropsight/test/result/gone", b"") in told.messages) is retained
    assert ("dropsight/test/state/gone", b"") in told.messages
    assert told.of("result/front") == []


def test_of_cameras_that_are_too_many_to_remember_nothing_is_retained() -> None:
    watch = watching(*(str(number) for number in range(MOST_CAMERAS - 1)))
    assert watch.remembers("new")
    watch.recorded("new", folder="", arrived=0.0)
    assert watch.remembers("new")
    assert not watch.remembers("newer")


def test_any_number_of_cameras_have_topics_of_their_own_and_a_bounded_number_is_remembered() -> None:
    parts = CameraTopicParts()
    known = [f"camera-{number}" for number in range(MOST_KNOWN)]
    assert [parts.of(camera) for camera in known] == known
    assert parts.of("another") == parts.of("another") != "another"
    parts.forget("another")
    parts.forget(known[0])
    assert parts.of("another") == "another"


def test_what_was_told_of_events_leaves_the_journal_first_beyond_its_half(store: Journal) -> None:
    """A picture whose time jumps makes two messages for each rule."""
    statuses = ["ok"] * 40 + ["event"] * 100 + ["ok"] * 10
    rows = [
        Row(str(number), b"", 0, 0, "c", status, b"{}")  # type: ignore[arg-type]
        for number, status in enumerate(statuses)
    ]
    store.add(rows)
    assert store.prune(after=0, upto=150, keep=80) == (70, 0, 0)
    with closing(JournalReader(store.path)) as reader:
        left = [entry.status for entry in reader.pending(0, 1_000)]
    assert left == ["ok"] * 30 + ["event"] * 40 + ["ok"] * 10


def test_of_lines_of_a_kind_a_minute_has_few_and_says_how_many_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A camera costs its uploader two pictures, and so would a line."""
    few, said = FewOfAKind(), list[str]()

    def say(text: str, *names: object) -> None:
        record = logging.LogRecord("dropsight", logging.WARNING, "", 1, text, names, None)
        if few.filter(record):
            said.append(record.getMessage())

    for number in range(MOST_LINES + 40):
        say("camera %s is %s", number, "black 100%s")
        say("%s", f"trouble {number}")
    cameras = [line for line in said if line.startswith("camera")]
    assert len(said) == len(cameras) + MOST_LINES + 40
    assert len(cameras) == MOST_LINES
    assert cameras[-1].endswith("black 100%s (further lines like this one are left out for up to a minute)")
    monkeypatch.setattr(logs, "MINUTE_SECONDS", 0.0)
    say("camera %s is %s", "front", "black")
    assert said[-1] == "camera front is black (before it, 40 lines like this one were left out)"


@pytest.mark.parametrize("silence", [None, 3600.0])
def test_very_many_cameras_that_are_named_after_files_are_forgotten_unless_they_are_missed(
    tmp_path: Path, silence: float | None
) -> None:
    """Once there are as many as are remembered, no newcomer is, and no folder goes that would make room."""
    today = int(time.time() // SECONDS_A_DAY)
    days = [{"number": today - number, "longest": 3600, "total": 86_400, "gaps": 24} for number in range(9)]
    unseen = {"folder": os.fspath(tmp_path), "silent_seconds": 2.0 * SECONDS_A_DAY}
    known = dict.fromkeys((f"made up {number}" for number in range(LONGEST_LIST + 1)), unseen)
    others = {
        "porch": unseen | {"rhythm": {"days": days}},
        "new": unseen | {"silent_seconds": 60.0},
        "elsewhere": unseen | {"folder": "/elsewhere"},
    }
    (tmp_path / camera_keeper.NAME).write_text(json.dumps(known | others))
    folder = DropFolder.open(Watch(path=tmp_path, camera="(?P<camera>.+)_.*", silence=silence))
    journal, changes = tmp_path / "journal.db", Changes()
    watch = camera_keeper.open_watch(Cameras(), [folder], journal, changed=changes)
    keeper = camera_keeper.CameraKeeper(watch, changes, [folder], journal, Backlog())
    keeper.look()
    assert watch.names == (others.keys() | known.keys() if silence else others.keys())


def test_however_many_events_go_on_the_look_for_the_next_end_leaves_time_for_records(
    tmp_path: Path, store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 cameras with 20 rules it took a tenth of a second, after each group of records."""
    rule, clock, looks = Rule("any", ("*",), confirm=(1, 1), end_after=120.0), [100.0], list[float]()
    with closing(EventReader(store.path)) as reader:
        keeper = event_keeping.EventKeeper([rule], reader, device="d", contained=lambda _: nullcontext())
    real = event_keeping._open  # noqa: SLF001 - what looks at all that goes on

    def slowly(state: State) -> list[tuple[str, Spell]]:
        looks.append(clock[0])
        clock[0] += 1.0
        return real(state)

    monkeypatch.setattr(event_keeping, "_open", slowly)
    monkeypatch.setattr(event_keeping, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    keeper.over(time.time())
    keeper.kept_ends()
    assert keeper.seconds_to_next is None
    clock[0] += 30.0
    record = msgspec.structs.replace(
        result("x.jpg", tmp_path.stat()),
        time=timestamp(time.time()),
        predictions=[Prediction(1, "cat", 0.9)],
    )
    looks.clear()
    for number in range(50):
        assert keeper.weigh(msgspec.structs.replace(record, camera=f"{number}"), arrived=0.0)
        keeper.keep()
        clock[0] += 0.1
        due = keeper.seconds_to_next
        assert due is not None
        assert due > 0.0
    assert len(looks) == 1
    clock[0] += 30.0
    assert keeper.seconds_to_next is not None
    assert len(looks) == 2
