"""Group commit and its consequences, with a real journal, a real log and real files."""

import errno
import itertools
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from brokers import wait_until
from dropsight import crashpoints
from dropsight.config import Watch
from dropsight.errors import DamagedError, ErrorCode, UnsyncedError
from dropsight.events.rule import Rule
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import digest_of
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal import durability, pacing
from dropsight.journal.event_keeping import EventKeeper
from dropsight.journal.event_table import EventReader
from dropsight.journal.kept_files import KeptChanges
from dropsight.journal.loglines import LogLines
from dropsight.journal.marks import History, Mark
from dropsight.journal.pacing import GROUP_RECORDS, GROUP_SECONDS, company_seconds
from dropsight.journal.reader import JournalReader
from dropsight.journal.recorder import Recorder
from dropsight.journal.recorder_parts import RecorderContext
from dropsight.journal.recording import Durable, FilingRules, Finished, repeated, row_of
from dropsight.journal.rescue import needs_rescue
from dropsight.journal.resultlog import ResultLog
from dropsight.journal.store import Journal, Row
from dropsight.records import encode
from dropsight.status.stats import Stats
from dropsight.status.supervision import FIRST_PAUSE_SECONDS, Supervision
from dropsight.status.troubles import Troubles
from records import failure, result
from torture import log_lines


@dataclass(frozen=True)
class Hearing:
    """A listener."""

    hear: Callable[[Sequence[Durable]], None]


class Desk:
    """A recorder with all that it needs, in one folder."""

    def __init__(
        self,
        root: Path,
        *,
        hear: Callable[[Sequence[Durable]], None] = lambda _: None,
        log_bytes: int = 10**6,
        marks: tuple[Mark, ...] = (),
        pause_seconds: float = FIRST_PAUSE_SECONDS,
        rules: Sequence[Rule] = (),
        slow: SlowInboxes | None = None,
        after: Literal["move", "delete", "keep"] = "move",
    ) -> None:
        self.root, self.inbox = root, root / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        settings = Watch(path=self.inbox, processed=root / "processed", failed=root / "failed", after=after)
        self.folder = DropFolder.open(settings)
        self.backlog = Backlog(slow=slow)
        self.store = Journal(root / "state" / "journal.db")
        self.log = ResultLog(root / "r.jsonl", max_bytes=log_bytes, backups=9, compress=False)
        self._in_hand = InHand(root / "state" / "in-hand")
        supervision = Supervision(
            troubles := Troubles(logging.getLogger()), first_pause_seconds=pause_seconds
        )
        self.events = EventReader(self.store.path)
        keeper = EventKeeper(rules, self.events, device="d", contained=supervision.contained)
        context = RecorderContext(
            self.store,
            self.log,
            self.backlog,
            Stats(window_seconds=60),
            history=History(1000, marks),
            in_hand=self._in_hand,
            troubles=troubles,
            supervision=supervision,
            rules=FilingRules(durable=True, max_copy_bytes=10**6),
            audience=Hearing(hear),
            events=keeper if rules else None,
        )
        self.recorder = Recorder(context)

    def arrival(
        self,
        name: str,
        *,
        error: ErrorCode | None = None,
        data: bytes = b"image",
        times: tuple[int, int] | None = None,
    ) -> Finished:
        """A file in the inbox, taken by a worker, its record made."""
        path = self.inbox / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        if times:
            os.utime(path, times)
        self.backlog.hint(self.folder, str(path), closed=True)
        candidate = self.backlog.take()
        assert candidate
        stat = path.stat()
        return Finished(candidate, stat, failure(name, stat, error) if error else result(name, stat))

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        thread = threading.Thread(target=self.recorder.run)
        thread.start()
        try:
            yield thread
        finally:
            self.recorder.stop()
            thread.join(30)

    def close(self) -> None:
        self._in_hand.close()
        self.log.close()
        self.events.close()
        self.store.close()

    def lines(self, *, rolled: bool = False) -> list[str]:
        """What images the log names; with `rolled` its older files, too."""
        found = []
        for path in self.root.glob("r.jsonl*" if rolled else "r.jsonl"):
            # Of a group that is being written just now, the end may not be there yet.
            whole, _, _ = path.read_text().rpartition("\n")
            found += [json.loads(line)["image_path"] for line in whole.splitlines()]
        return found


def test_a_finished_image_gets_one_line_and_is_moved(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("cam/a.jpg"))
        wait_until(lambda: desk.backlog.counters().done == 1)
    assert desk.lines() == ["cam/a.jpg"]
    assert (tmp_path / "processed" / "cam" / "a.jpg").exists()
    assert not any(desk.store.unfiled())
    desk.close()


def test_a_failed_image_lies_beside_its_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg", error="truncated"))
        wait_until(lambda: desk.backlog.counters().failed == 1)
    reason = json.loads((tmp_path / "failed" / "a.jpg.reason.json").read_text())
    assert reason["error"]["code"] == "truncated"
    assert (tmp_path / "failed" / "a.jpg").exists()
    desk.close()


def test_a_crash_after_the_commit_is_mended_at_the_next_start_exactly_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    crashed = desk.arrival("a.jpg")
    desk.store.add([row_of(crashed, encode(crashed.record))])
    desk.close()
    for _ in range(2):
        desk = Desk(tmp_path)
        desk.recorder.recover([desk.folder])
        # What an earlier life did is not counted as done since this start.
        assert (desk.backlog.counters().seen, desk.backlog.counters().done) == (0, 0)
        desk.close()
    assert desk.lines() == ["a.jpg"]
    assert (tmp_path / "processed" / "a.jpg").exists()


def test_a_crash_after_the_line_adds_no_second_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    crashed = desk.arrival("a.jpg")
    line = encode(crashed.record)
    desk.store.add([row_of(crashed, line)])
    desk.log.append([line])
    desk.close()
    desk = Desk(tmp_path)
    desk.recorder.recover([desk.folder])
    desk.close()
    assert desk.lines() == ["a.jpg"]


def test_a_file_that_changed_since_it_was_read_stays(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    finished = desk.arrival("a.jpg")
    (desk.inbox / "a.jpg").write_bytes(b"another image altogether")
    with desk.running():
        desk.recorder.put(finished)
        wait_until(lambda: desk.backlog.counters().done == 1)
    assert (desk.inbox / "a.jpg").exists()
    desk.close()


def test_a_later_image_of_the_same_name_does_not_replace_the_earlier(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        for number, data in enumerate((b"first", b"second one"), start=1):
            desk.recorder.put(desk.arrival("a.jpg", data=data))
            wait_until(lambda number=number: desk.backlog.counters().done == number)  # type: ignore[misc]
    kept = sorted(path.read_bytes() for path in (tmp_path / "processed").iterdir())
    assert kept == [b"first", b"second one"]
    desk.close()


def test_the_very_same_file_dropped_again_is_a_record_of_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        first = desk.arrival("a.jpg")
        desk.recorder.put(first)
        wait_until(lambda: desk.backlog.counters().done == 1)
        moved = tmp_path / "processed" / "a.jpg"
        moved.rename(desk.inbox / "a.jpg")
        desk.backlog.hint(desk.folder, str(desk.inbox / "a.jpg"), closed=True)
        candidate = desk.backlog.take()
        assert candidate
        desk.recorder.put(Finished(candidate, first.stat, first.record))
        wait_until(lambda: desk.backlog.counters().done == 2)
    ids = [json.loads(line)["id"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(set(ids)) == 2
    desk.close()


def test_the_thousandth_drop_of_the_very_same_file_costs_two_commits(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    finished = desk.arrival("a.jpg")
    rows = [finished, *(repeated(finished, number) for number in range(1, 1_000))]
    desk.store.add([row_of(each, encode(each.record)) for each in rows])
    desk.store.settle(totals=[], filed=range(1, 1_001), cursors={"log": 1_000})
    statements: list[str] = []
    desk.store._db.set_trace_callback(statements.append)  # noqa: SLF001 - what SQLite is asked for
    with desk.running():
        desk.recorder.put(finished)
        wait_until(lambda: desk.backlog.counters().done == 1)
    assert sum(statement.startswith("PRAGMA synchronous = FULL") for statement in statements) == 2
    desk.close()


def test_drain_returns_when_everything_is_durable(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        for number in range(100):
            desk.recorder.put(desk.arrival(f"{number}.jpg"))
        assert desk.recorder.drain(seconds=30)
        assert desk.recorder.visible == 100
    assert len(desk.lines()) == 100
    desk.close()


def test_a_recorder_that_has_ended_is_at_no_work(tmp_path: Path) -> None:
    """Where explanations took 15 s more, a run called it slow, and ended with 1 though all was done."""
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg"))
    assert not desk.recorder.heartbeats.any()
    desk.close()


def test_slow_disks_and_waiting_images_get_long_groups_and_fast_disks_keep_nobody_waiting() -> None:
    """An SD card wears out by commits; a record that images queue behind gains nothing by haste."""
    assert company_seconds(commit_seconds=0.02, waiting=0) == GROUP_SECONDS
    assert company_seconds(commit_seconds=0.0001, waiting=1) == GROUP_SECONDS
    assert company_seconds(commit_seconds=0.0001, waiting=GROUP_RECORDS) > GROUP_SECONDS
    assert 0 < company_seconds(commit_seconds=0.0003, waiting=0) < GROUP_SECONDS / 10


@pytest.mark.skipif(os.geteuid() != 0, reason="making a file immutable needs root")
def test_an_image_that_cannot_be_moved_holds_up_no_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    stuck = desk.arrival("a.jpg")
    if subprocess.run(["chattr", "+i", stuck.candidate.path], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        with desk.running():
            for finished in (stuck, desk.arrival("b.jpg"), desk.arrival("c.jpg")):
                desk.recorder.put(finished)
            wait_until(lambda: desk.backlog.counters().done == 2)
            assert "a.jpg: Operation not permitted" in desk.recorder.troubles.current()["filing"]
    finally:
        subprocess.run(["chattr", "-i", stuck.candidate.path], check=True)
    desk.close()


def test_a_stop_with_a_journal_that_takes_nothing_lets_go_of_what_does_not_fit(tmp_path: Path) -> None:
    """More is finished than the recorder's queue holds, and nobody empties it."""
    desk = Desk(tmp_path)
    desk.recorder.end_within(seconds=0.0)
    for number in range(200):
        desk.recorder.put(desk.arrival(f"{number}.jpg"))
    assert desk.recorder.depth() < 200
    desk.close()


def damage(journal: Path) -> None:
    """Noise over all records but the first page; the file's end stays as it is."""
    with sqlite3.connect(journal) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (journal.stat().st_size - 4096))


STEPS = (
    *("in_noting", "in_syncing", "before_commit", "in_commit", "after_commit", "in_line", "in_rotation"),
    *("after_line", "in_filing", "in_placing", "after_filing", "in_settling", "after_settle", "in_telling"),
    *("in_looking", "before_puback_commit", "before_pruning", "in_flushing"),
)


# Has any inbox lie on another disk than the journal.
ELSEWHERE = SlowInboxes(Path("/proc"))


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("slow", "point"),
    [(None, point) for point in STEPS] + [(ELSEWHERE, point) for point in (*STEPS, "in_syncing_apart")],
)
def test_a_bug_at_any_step_of_the_recorder_ends_nothing_and_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, times: int, slow: SlowInboxes | None
) -> None:
    """It used to end the process. Before the commit it is one image's failure, after it nobody's."""
    reaches = itertools.count(1)
    for name, value in (
        ("_variable", crashpoints.RAISE_VARIABLE),
        ("_name", point),
        ("_count", str(times)),
        ("_times", reaches),
    ):
        monkeypatch.setattr(crashpoints, name, value)
    told: list[int] = []

    def listen(recorded: Sequence[Durable]) -> None:
        told.extend(entry.seq for entry in recorded)
        desk.recorder.acknowledge(mark, told[-1])

    mark = Mark("mqtt", 1000, who="the broker", bound="mqtt.max_backlog")
    desk = Desk(tmp_path, hear=listen, log_bytes=1_500, marks=(mark,), slow=slow)
    names = [f"{number}.jpg" for number in range(8)]
    arrivals = [desk.arrival(name) for name in names]
    with desk.running():
        desk.recorder.put(arrivals[0])
        wait_until(lambda: desk.recorder.visible == 1)
        for arrival in arrivals[1:]:
            desk.recorder.put(arrival)
        assert desk.recorder.drain(seconds=60)
        wait_until(lambda: not desk.backlog.counters().waiting)
        desk.recorder.put(desk.arrival("last.jpg"))
        wait_until(lambda: not desk.backlog.counters().waiting)
        if next(reaches) > times:
            wait_until(lambda: bool({"threads", "internal"} & desk.recorder.troubles.current().keys()))
        else:
            assert times > 1
    assert not any(desk.store.unfiled())
    assert sorted(desk.lines(rolled=True)) == [*names, "last.jpg"]
    failed = list((tmp_path / "failed").glob("*.jpg"))
    assert len(failed) <= (point in {"before_commit", "in_commit"})
    assert len(list((tmp_path / "processed").glob("*.jpg"))) == len(names) + 1 - len(failed)
    if point != "in_telling":
        assert told == list(range(1, len(names) + 2))
    desk.close()


def test_damage_found_while_noting_what_was_filed_needs_rescue_and_ends_the_recorder(tmp_path: Path) -> None:
    """Else the flags would pile up in memory for ever, and no record be published."""
    desk = Desk(tmp_path)
    desk.store.add([row_of(finished, encode(finished.record)) for finished in [desk.arrival("a.jpg")]])
    desk.recorder.note_kept(KeptChanges(gone=[b"/in/1.jpg"]))
    damage(desk.store.path)
    with pytest.raises(DamagedError):
        desk.recorder.run()
    assert needs_rescue(desk.store.path)
    desk.close()


def unlogged(store: Journal, count: int) -> None:
    """So many records that the log has missed."""
    stat = Path("/").stat()
    records = [result(f"{number}.jpg", stat) for number in range(count)]
    rows = [Row(each.id, b"/gone", 0, 0, "c", "ok", encode(each)) for each in records]
    store.add(rows)


def test_who_listens_hears_of_records_once_they_are_visible_though_the_journal_was_in_trouble(
    tmp_path: Path,
) -> None:
    """A publisher that was woken for nothing would sleep until its next stats are due."""
    heard: list[tuple[int, int]] = []
    desk = Desk(
        tmp_path,
        hear=lambda recorded: heard.extend((entry.seq, desk.recorder.visible) for entry in recorded),
    )
    with sqlite3.connect(desk.store.path) as db:
        db.execute("CREATE TRIGGER refuse BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with desk.running():
            desk.recorder.put(desk.arrival("a.jpg"))
            wait_until(lambda: "journal" in desk.recorder.troubles.current())
            assert heard == []
            db.execute("DROP TRIGGER refuse")
            wait_until(lambda: bool(heard))
    db.close()
    assert heard == [(1, 1)]
    desk.close()


def test_a_long_catch_up_of_the_log_goes_on_in_pieces_beside_new_records(tmp_path: Path) -> None:
    """Killed in the middle of it, no more than a piece has to be found again in the log."""
    desk = Desk(tmp_path)
    unlogged(desk.store, 1500)
    desk.close()
    desk = Desk(tmp_path)
    desk.recorder.recover([])
    assert 0 < len(desk.lines()) < 1500
    assert desk.store.cursor("log") == len(desk.lines())
    with desk.running():
        wait_until(lambda: len(desk.lines()) == 1500)
    assert desk.store.cursor("log") == 1500
    assert desk.lines() == [f"{number}.jpg" for number in range(1500)]
    desk.close()


def test_killed_in_a_piece_of_a_catch_up_over_many_rotations_no_line_is_doubled(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    unlogged(store, 250)
    for _ in range(3):
        log = ResultLog(tmp_path / "logs" / "r.jsonl", max_bytes=5_000, backups=100, compress=True)
        lines = LogLines(log, JournalReader(store.path), Troubles(logging.getLogger()), synced=0)
        lines.recover(upto=250)  # and killed before the cursor is noted
        log.close()
    ids = [json.loads(line)["id"] for line in log_lines(tmp_path / "logs")]
    assert len(ids) == len(set(ids)) == 250
    store.close()


class Unsyncing(ResultLog):
    """On a disk that takes what is written, and whose syncs fail while it is told so."""

    fails = True

    def sync(self) -> None:
        super().sync()
        if self.fails:
            raise UnsyncedError("log.path: no sync")


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_log_whose_disk_syncs_nothing_goes_on_and_is_looked_through_once_it_syncs_again(
    tmp_path: Path, *, is_lost: bool
) -> None:
    """It stopped some hundred lines on, for as long as that was so."""
    store, path = Journal(tmp_path / "journal.db"), tmp_path / "r.jsonl"
    unlogged(store, 900)
    log = Unsyncing(path, max_bytes=10**7, backups=3, compress=False)
    lines = LogLines(log, JournalReader(store.path), Troubles(logging.getLogger()), synced=0)
    lines.recover(upto=900)
    for _ in range(4):
        lines.sync()
    assert (len(path.read_bytes().splitlines()), lines.synced) == (900, 0)
    lines.append([b'{"id":"x"}'], newest=901)
    lines.sync()
    assert len(path.read_bytes().splitlines()) == 901, "new records have theirs at once"
    if is_lost:  # what a disk that was full, or away, may do
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:300]))
    log.fails = False
    while not lines.at_rest:
        lines.sync()
    found = [json.loads(line)["id"] for line in path.read_bytes().splitlines()]
    assert len(found) == len(set(found)) == (900 if is_lost else 901)
    assert lines.synced == lines.logged
    log.close()
    store.close()


def test_in_a_catch_up_groups_wait_to_fill_up_and_a_full_one_waits_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "CATCH_UP_SECONDS", 3600.0)
    desk = Desk(tmp_path)
    arrivals = [desk.arrival(f"{number}.jpg") for number in range(1 + 2 * GROUP_RECORDS)]
    for number in range(GROUP_RECORDS):
        desk.backlog.hint(desk.folder, str(desk.inbox / f"waiting-{number}.jpg"), closed=True)
    with desk.running():
        desk.recorder.put(arrivals[0])
        wait_until(lambda: desk.recorder.visible == 1)
        for finished in arrivals[1:]:
            desk.recorder.put(finished)
        wait_until(lambda: desk.recorder.visible == len(arrivals))
        desk.recorder.put(desk.arrival("one-more.jpg"))
        assert desk.recorder.drain(seconds=30)
    assert len(desk.lines()) == len(arrivals) + 1
    desk.close()


def test_a_start_has_only_some_of_what_is_to_be_filed_in_memory_at_once(tmp_path: Path) -> None:
    """50,000 records took 193 MB of a start that had 88 before."""
    desk = Desk(tmp_path)
    for number in range(1500):
        each = msgspec.structs.replace(result(f"{number}.jpg", Path("/").stat()), label="x" * 10_000)
        desk.store.add([Row(each.id, b"%s/%d" % (bytes(desk.inbox), number), 0, 0, "c", "ok", encode(each))])
    desk.store.settle(totals=[], filed=[], cursors={"log": 1500})
    desk.close()
    desk = Desk(tmp_path)
    tracemalloc.start()
    try:
        desk.recorder.recover([desk.folder])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1500 * 10_000 / 2
    desk.close()


def brought_back(desk: Desk, finished: Finished) -> Finished:
    """The image is taken once more: as it was, after a rename that a loss of power undid."""
    desk.backlog.hint(desk.folder, finished.path, closed=True)
    candidate = desk.backlog.take()
    assert candidate
    return Finished(candidate, Path(finished.path).stat(), finished.record)


def test_an_image_that_a_loss_of_power_brought_back_is_filed_again_without_a_second_record(
    tmp_path: Path,
) -> None:
    """The journal's disk kept `filed`, the inbox's disk forgot the rename."""
    desk = Desk(tmp_path)
    finished = desk.arrival("a.jpg")
    (seq,) = desk.store.add([row_of(finished, encode(finished.record))])
    desk.store.settle(totals=[], filed=[seq or 0], cursors={"log": 0})
    desk.close()
    desk = Desk(tmp_path)
    desk.recorder.recover([desk.folder])
    with desk.running():
        desk.recorder.put(brought_back(desk, finished))
        wait_until((tmp_path / "processed" / "a.jpg").exists)
    assert desk.lines() == ["a.jpg"]
    assert (desk.backlog.counters().seen, desk.recorder.newest) == (0, 1)
    desk.close()


def test_what_is_to_be_filed_in_an_inbox_that_is_away_is_filed_at_the_start_at_which_it_is_there(
    tmp_path: Path,
) -> None:
    """Else it counted as filed, and had a second record as soon as it was there."""
    desk = Desk(tmp_path)
    finished = desk.arrival("a.jpg")
    desk.store.add([row_of(finished, encode(finished.record))])
    desk.close()
    for is_away in (True, False):
        desk = Desk(tmp_path)
        away = [os.fsencode(finished.candidate.path)] if is_away else []
        desk.recorder.recover([] if is_away else [desk.folder], is_away=away.__contains__)
        desk.close()
        assert (tmp_path / "processed" / "a.jpg").exists() is not is_away
    assert desk.lines() == ["a.jpg"]


@pytest.mark.parametrize("starts_without", [0, 1])
def test_what_is_to_be_filed_has_no_second_record_where_all_was_copied_to_another_place(
    tmp_path: Path, starts_without: int
) -> None:
    """As to a larger disk, once `processed` was full; or its inbox was out of the config meanwhile."""
    desk = Desk(tmp_path / "small")
    finished = desk.arrival("a.jpg")
    desk.store.add([row_of(finished, encode(finished.record))])
    desk.close()
    shutil.copytree(tmp_path / "small", tmp_path / "large")
    for _ in range(starts_without):
        desk = Desk(tmp_path / "large")
        desk.recorder.recover([])
        desk.close()
    desk = Desk(tmp_path / "large")
    desk.recorder.recover([desk.folder])
    desk.backlog.hint(desk.folder, str(desk.inbox / "a.jpg"), closed=True)
    candidate = desk.backlog.take()
    assert candidate
    with desk.running():
        desk.recorder.put(Finished(candidate, (desk.inbox / "a.jpg").stat(), finished.record))
        wait_until((tmp_path / "large" / "processed" / "a.jpg").exists)
    assert desk.lines() == ["a.jpg"]
    assert desk.recorder.newest == 1
    desk.close()


def taken(desk: Desk, path: Path, finished: Finished) -> Finished:
    """The image at this path, read by a worker; its record is as of another, but for the id."""
    desk.backlog.hint(desk.folder, str(path), closed=True)
    candidate = desk.backlog.take()
    assert candidate
    record = msgspec.structs.replace(finished.record, id=path.name.ljust(32, "0"))
    return Finished(candidate, path.stat(), record)


@pytest.mark.parametrize("way", ["while it waits", "at once", "while nothing runs", "in an earlier life"])
def test_an_image_to_be_filed_has_one_record_though_its_folder_gets_another_name(
    tmp_path: Path, way: str
) -> None:
    """A camera that is renamed while `processed` takes nothing had all that waited recorded once more."""
    desk = Desk(tmp_path)
    finished = desk.arrival("cam/a.jpg")
    if way == "while nothing runs":
        desk.store.add([row_of(finished, encode(finished.record))])
        desk.close()
        desk = Desk(tmp_path)
    (desk.inbox / "cam").rename(desk.inbox / "gate")
    if way == "in an earlier life":  # which has found it gone, and ends before it is filed by its new name
        with desk.running():
            desk.recorder.put(finished)
            wait_until(lambda: desk.recorder.visible == 1)
        desk.close()
        desk = Desk(tmp_path)
    desk.recorder.recover([desk.folder])
    renamed = taken(desk, desk.inbox / "gate" / "a.jpg", finished)
    if way == "at once":
        desk.recorder.put(finished)
        desk.recorder.put(renamed)
    with desk.running():
        if way == "while it waits":
            desk.recorder.put(finished)
            wait_until(lambda: desk.recorder.visible == 1)
        if way != "at once":
            desk.recorder.put(renamed)
        wait_until((tmp_path / "processed" / "gate" / "a.jpg").exists)
    assert desk.lines() == ["cam/a.jpg"]
    assert desk.recorder.newest == 1
    desk.close()


@pytest.mark.parametrize("is_filed_by_the_restart", [False, True])
def test_a_file_that_was_copied_back_after_a_restart_is_a_drop_of_its_own(
    tmp_path: Path, *, is_filed_by_the_restart: bool
) -> None:
    desk = Desk(tmp_path)
    first = desk.arrival("a.jpg")
    if is_filed_by_the_restart:
        desk.store.add([row_of(first, encode(first.record))])
    else:
        with desk.running():
            desk.recorder.put(first)
            wait_until(lambda: desk.backlog.counters().done == 1)
    desk.close()
    desk = Desk(tmp_path)
    desk.recorder.recover([desk.folder])
    shutil.copy2(tmp_path / "processed" / "a.jpg", desk.inbox / "a.jpg")
    with desk.running():
        desk.recorder.put(brought_back(desk, first))
        wait_until(lambda: not (desk.inbox / "a.jpg").exists())
    assert desk.lines() == ["a.jpg", "a.jpg"]
    desk.close()


def test_images_are_on_disk_before_their_record_and_their_new_places_before_it_counts_as_filed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def synced(folder: str) -> None:
        moved = "moved" if (tmp_path / "processed" / "a.jpg").exists() else "waiting"
        unfiled = [entry.seq for entry in itertools.chain.from_iterable(desk.store.unfiled())]
        steps.append(f"{folder}: {moved}, {desk.recorder.newest} recorded, {unfiled} unfiled")

    monkeypatch.setattr(durability, "sync_file", synced)
    monkeypatch.setattr(durability, "sync_file_system", synced)
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg"))
        wait_until(lambda: desk.backlog.counters().done == 1)
        wait_until(lambda: len(steps) == 2)
    assert steps[0] == f"{desk.inbox / 'a.jpg'}: waiting, 0 recorded, [] unfiled"
    assert steps[1].endswith(": moved, 1 recorded, [1] unfiled")
    assert not any(desk.store.unfiled())
    desk.close()


@pytest.mark.parametrize("slow", [None, ELSEWHERE], ids=["own disk", "another disk"])
@pytest.mark.parametrize("after", ["move", "delete"])
def test_what_is_written_over_an_image_within_the_same_second_is_not_filed_as_that_but_recorded(
    tmp_path: Path, after: Literal["move", "delete"], slow: SlowInboxes | None
) -> None:
    """As on FAT, or by FTP with MFMT: 41 of 190 pictures went along with the record of another."""
    desk = Desk(tmp_path, slow=slow, after=after)
    seconds = (1_760_000_000, 1_760_000_000)
    with desk.running():
        for data in (b"first", b"other"):
            arrival = desk.arrival("a.jpg", data=data, times=seconds)
            arrival.candidate.digest = digest_of(data)
            if data == b"first":
                (desk.inbox / "a.jpg").write_bytes(b"other")
                os.utime(desk.inbox / "a.jpg", seconds)
            desk.recorder.put(arrival)
            wait_until(lambda: not desk.backlog.counters().waiting)
            assert (desk.inbox / "a.jpg").exists() is (data == b"first")
        wait_until(lambda: not any(desk.store.unfiled()))
    assert desk.lines() == ["a.jpg", "a.jpg"]
    filed = [path.read_bytes() for path in (tmp_path / "processed").glob("*")]
    assert filed == ([b"other"] if after == "move" else [])
    desk.close()


@pytest.mark.parametrize("slow", [None, ELSEWHERE], ids=["own disk", "another disk"])
@pytest.mark.parametrize("after", ["move", "delete"])
def test_an_image_whose_time_is_set_once_it_was_read_is_filed_and_one_of_its_size_that_is_other_stays(
    tmp_path: Path, after: Literal["move", "delete"], slow: SlowInboxes | None
) -> None:
    """As by FTP's MFMT right after an upload: 43 of 61 stayed, and were recorded again at the next walk."""
    desk = Desk(tmp_path, slow=slow, after=after)
    with desk.running():
        for name, now in (("a.jpg", b"first"), ("b.jpg", b"other")):
            arrival = desk.arrival(name, data=b"first")
            arrival.candidate.digest = digest_of(b"first")
            (desk.inbox / name).write_bytes(now)
            os.utime(desk.inbox / name, (1_760_000_000.5, 1_760_000_000.5))
            desk.recorder.put(arrival)
        wait_until(lambda: not any(desk.store.unfiled()) and not desk.backlog.counters().waiting)
    assert [path.name for path in desk.inbox.glob("*")] == ["b.jpg"]
    filed = [path.name for path in (tmp_path / "processed").glob("*")]
    assert filed == (["a.jpg"] if after == "move" else [])
    desk.close()


def durability_of(troubles: Troubles, state: Path) -> durability.Durability:
    return durability.Durability(durability.Syncing(troubles, images=True), SlowInboxes(), state)


def test_many_images_are_synced_by_one_call_and_few_without_waiting_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(durability, "sync_file", calls.append)
    monkeypatch.setattr(durability, "sync_file_system", calls.append)
    kept = durability_of(Troubles(logging.getLogger()), tmp_path)
    images = [str(tmp_path / f"{number}.jpg") for number in range(64)]
    kept.sync(images[:2])
    assert calls == images[:2]
    calls.clear()
    kept.sync(images)
    assert calls == [str(tmp_path)]


def test_what_is_no_regular_file_is_synced_with_its_file_system(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    troubles = Troubles(logging.getLogger())
    kept = durability_of(troubles, tmp_path)
    kept.moved(1)
    kept.sync([str(tmp_path / "pipe.jpg")])
    assert kept.filed == [1]
    assert not troubles.any()


@pytest.mark.parametrize("put", [lambda place: place.symlink_to(place), Path.touch])
def test_what_comes_into_a_folder_s_place_after_its_image_was_filed_holds_up_no_record_for_good(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """None would count as filed, so none would leave the journal, for as long as it stood there."""
    (tmp_path / "other").mkdir()
    troubles = Troubles(logging.getLogger())
    syncing = durability.Syncing(troubles, images=True)
    put(tmp_path / "cam")
    assert syncing.names("an inbox", [str(tmp_path / "cam"), str(tmp_path / "other")])
    assert not troubles.any()


def test_a_disk_that_cannot_make_images_durable_is_told_of_and_stops_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: str) -> None:
        raise OSError(errno.EIO, "Input/output error", folder)

    monkeypatch.setattr(durability, "sync_file", fails)
    monkeypatch.setattr(durability, "sync_file_system", fails)
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg"))
        wait_until(lambda: desk.backlog.counters().done == 1)
        assert (
            "may be lost at a power failure: Input/output error"
            in desk.recorder.troubles.current()["syncing"]
        )
    assert desk.lines() == ["a.jpg"]
    assert [entry.seq for entry in itertools.chain.from_iterable(desk.store.unfiled())] == [1]
    desk.close()
