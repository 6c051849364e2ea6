"""What is told of events stands in the journal among the records, for those who ask for it."""

import logging
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import asdict, replace

from brokers import wait_until
from dropsight.errors import StoreError
from dropsight.journal.browsing import JournalBrowser
from dropsight.journal.event_messages import EventBest, EventMessage, encode_message, event_type, message_in
from dropsight.journal.event_table import MOST_EVENTS, CameraState, EventNews, EventReader
from dropsight.journal.feed import JournalOutbox
from dropsight.journal.marks import Mark
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import Durable, RecordedEvent
from dropsight.journal.rescue import rescue
from dropsight.journal.store import Journal
from dropsight.records import RECORDS, EventPhase, Status
from dropsight.sinks.feeder import Feeder, id_of
from dropsight.sinks.terminal import told_words
from dropsight.status.troubles import Troubles
from dropsight.web.event_cards import EventQuery, event_query_of, page_of
from dropsight.web.results import QueryError
from test_recorder import Desk


def message(phase: EventPhase = "start", *, count: int = 2, event_id: str = "e1") -> EventMessage:
    return EventMessage(
        event_type=event_type("fox", phase),
        id=event_id,
        phase=phase,
        name="fox",
        device="d",
        camera="garden",
        started="2026-11-28T06:00:00.000000Z",
        ended="2026-11-28T06:01:00.000000Z" if phase == "end" else None,
        count=count,
        best=EventBest("r1", 0.91, "red fox"),
        notify=["phone"] if phase == "start" else [],
        time="2026-11-28T06:00:05.000000Z",
    )


class Taking:
    """A receiver."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    def take(self, group: Sequence[Delivery]) -> None:
        self.taken += group

    def close(self) -> None:
        pass


def delivered(desk: Desk, mark: Mark, statuses: Collection[Status]) -> list[Delivery]:
    receiver = Taking()
    outbox = JournalOutbox(JournalReader(desk.store.path), desk.recorder, mark)
    troubles = Troubles(logging.getLogger())
    feeder = Feeder(mark.name, lambda: receiver, outbox, troubles, to="x", statuses=statuses)
    feeder.stop(drain_seconds=60)
    feeder.run()
    return receiver.taken


def test_who_follows_the_journal_gets_messages_of_events_in_their_place_if_he_asks(tmp_path: Path) -> None:
    heard: list[Durable] = []
    marks = (Mark("records", 100, who="a", bound="b"), Mark("events", 100, who="a", bound="b"))
    desk = Desk(tmp_path, hear=heard.extend, marks=marks)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg"))
        wait_until(lambda: desk.recorder.visible == 1)
        desk.recorder.occurrences.put(message())
        wait_until(lambda: desk.recorder.visible == 2)
        desk.recorder.put(desk.arrival("b.jpg"))
        wait_until(lambda: desk.recorder.visible == 3)
        of_records, of_events = (
            delivered(desk, mark, statuses)
            for mark, statuses in zip(marks, (RECORDS, ("event",)), strict=True)
        )
    assert [each.seq for each in of_records] == [1, 3]
    (told,) = of_events
    assert (told.seq, told.camera, message_in(told.line)) == (2, "garden", message())
    assert [entry.message.phase for entry in heard if isinstance(entry, RecordedEvent)] == ["start"]
    assert desk.lines() == ["a.jpg", "b.jpg"]
    with closing(JournalBrowser(desk.store.path)) as browser:
        assert [each.seq for each in browser.before(9, 9)] == [3, 1]
    desk.close()


def test_after_a_crash_the_log_gets_no_line_of_an_event(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.occurrences.put(message())
        wait_until(lambda: desk.recorder.visible == 1)
    desk.close()
    again = Desk(tmp_path)
    again.recorder.recover([again.folder])
    assert (again.recorder.visible, again.lines()) == (1, [])
    again.close()


def test_a_message_that_a_full_disk_does_not_take_is_told_later_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    add, tries = desk.store.add, []

    def full(rows: Sequence[object], events: EventNews | None = None) -> list[int | None]:
        tries.append(rows)
        if len(tries) < 2:
            raise StoreError("no space left on device")
        return add(rows, events)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.store, "add", full)
    with desk.running():
        desk.recorder.occurrences.put(message())
        wait_until(lambda: desk.recorder.visible == 1)
    assert len(tries) == 2
    desk.close()


def test_an_event_is_one_row_with_what_was_told_of_it_last(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    for each in (message(), message("end", count=5), message("update", count=6)):
        store.add([], EventNews([each], [CameraState("garden", b"{}")]))
    with closing(EventReader(store.path)) as reader:
        # More of it came than its end: it goes on.
        assert [(each.phase, each.count) for each in reader.going_on()] == [("update", 6)]
        assert reader.states() == {"garden": b"{}"}
    store.add([], EventNews([message("end", count=6)]))
    with closing(EventReader(store.path)) as reader:
        assert not reader.going_on()
    store.close()


def test_of_ended_events_the_newest_are_kept_and_open_ones_all(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    with closing(sqlite3.connect(store.path)) as db, db:
        known = [(f"{number}", None if number == 3 else "e") for number in range(1, MOST_EVENTS + 6)]
        columns = "id, name, camera, started, ended, count, line"
        db.executemany(f"INSERT INTO event ({columns}) VALUES (?, 'n', 'c', 's', ?, 1, x'')", known)  # noqa: S608
    store.add([], EventNews([message()]))
    with closing(sqlite3.connect(store.path)) as db:
        ids = [found for (found,) in db.execute("SELECT id FROM event ORDER BY n LIMIT 2")]
        assert ids == ["3", "7"]
    store.close()


def test_events_are_paged_from_the_newest_on_as_they_began(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    began = [msgspec.structs.replace(message(), id=f"e{n}", camera=f"c{n % 2}") for n in range(5)]
    store.add([], EventNews(began))
    found = list[list[str]]()
    query: EventQuery | None = event_query_of({"limit": "2", "camera": "c0"})
    with closing(JournalBrowser(store.path)) as browser:
        while query:
            page = msgspec.json.decode(page_of(browser.events(**asdict(query)), query))
            found.append([each["id"] for each in page["events"]])
            query = replace(query, before=page["before"]) if page["before"] else None
    assert found == [["e4", "e2"], ["e0"]]
    store.close()


@pytest.mark.parametrize("params", [{"who": "x"}, {"limit": "501"}, {"since": "yesterday"}, {"before": "-1"}])
def test_a_query_for_events_that_makes_no_sense_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(QueryError, match=next(iter(params))):
        event_query_of(params)


def test_a_rescue_saves_events_and_what_their_rules_go_on_from(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Journal(path)
    store.add([], EventNews([message()], [CameraState("b", b"1"), CameraState("a", b"2")]))
    store.close()
    rescue(path)
    Journal(path).close()
    with closing(EventReader(path)) as reader:
        assert reader.going_on() == [message()]
        assert reader.states() == {"b": b"1", "a": b"2"}


def test_messages_of_one_event_are_told_apart_and_repeats_of_one_are_not() -> None:
    lines = [encode_message(each) for each in (message(), message("end", count=5), message())]
    ids = [id_of(Delivery(1, "garden", "event", line)) for line in lines]
    assert ids == ["e1-start-2", "e1-end-5", "e1-start-2"]


def test_a_terminal_says_in_a_line_what_an_event_does() -> None:
    assert told_words(message()) == "garden: fox begins (red fox 91%, 2 answers)"
    assert told_words(message(count=1)).endswith("(red fox 91%, 1 answer)")
    assert told_words(message("end", count=5)) == "garden: fox is over (red fox 91%, 5 answers)"
