"""Which files of a folder whose files are kept are on record."""

import gzip
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running
from disks import LoopDisk, why_no_disk
from dropsight.classify.engine import open_engine
from dropsight.classify.trial import TrialProcess
from dropsight.classify.work import Engine, InForce
from dropsight.config import Config, Watch
from dropsight.errors import MachineError
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate, digest_of
from dropsight.intake.clip_examiner import ClipExaminer
from dropsight.intake.clock import Clock
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.examiner import Examined, ExaminerParts, ImageExaminer, OnRecord
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import CLIPS, InHand
from dropsight.intake.trying_alone import Suspects
from dropsight.journal import kept_files
from dropsight.journal import ledger as ledger_module
from dropsight.journal.kept_files import Kept, KeptChanges, KeptReader
from dropsight.journal.ledger import Ledger
from dropsight.journal.log_files import lines_of
from dropsight.journal.restored import note_logged
from dropsight.journal.store import Journal, Row
from dropsight.records import drop_id
from dropsight.service.housekeeping import Housekeeper
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.troubles import Troubles
from shares import without_time_of_change
from test_recorder import Desk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def examining(
    tmp_path: Path, backlog: Backlog, engine: Engine, ledger: OnRecord, heartbeats: Heartbeats
) -> ExaminerParts:
    return ExaminerParts(
        backlog=backlog,
        in_hand=InHand(tmp_path / "in-hand"),
        suspects=Suspects(TrialProcess(InForce(Config(), engine))),
        refusals=Refusals(tmp_path, Troubles(logging.getLogger(__name__))),
        ledger=ledger,
        heartbeats=heartbeats,
        age_of=lambda _: 1000.0,
        max_age=None,
        once=True,
    )


class Reading:
    """A ledger over a journal, and what it has to tell of."""

    def __init__(self, store: Journal, *, device: str = "d", max_bytes: int = 2**20) -> None:
        self.told = KeptChanges()
        self.ledger = Ledger(store.path, device=device, note=self._note, max_bytes=max_bytes)

    def holds(
        self,
        path: Path,
        *,
        as_clip: bool = False,
        closed: bool = True,
        gets_on: Callable[[], None] = lambda: None,
    ) -> bool:
        """Ask of a file in the hand of those who look after images, or clips."""
        candidate = Candidate(keeping(path.parent), str(path), closed=closed, ready_at=0.0)
        candidate.is_clip = as_clip
        return self.ledger.holds(candidate, path.stat(), gets_on=gets_on)

    def _note(self, news: KeptChanges) -> None:
        self.told = KeptChanges.merged([self.told, news])


def record(store: Journal, path: Path, content: bytes = b"x", *, time_ns: int | None = None) -> Path:
    """A file of ours that is on record."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if time_ns is not None:
        os.utime(path, ns=(time_ns, time_ns))
    stat = path.stat()
    record_id = drop_id("d", path.name.encode(), stat.st_size, stat.st_mtime_ns)
    line, row = b'{"latency_ms":{"total":0.0}}', Kept.of(str(path), stat, digest_of(content))
    store.add([Row(record_id, row.path, row.size, row.mtime_ns, "c", "ok", line, kept=row)])
    return path


def as_before(store: Journal, path: Path) -> str:
    """Have the journal know it as earlier versions did, its record long pruned."""
    stat = path.stat()
    record_id = drop_id("d", path.name.encode(), stat.st_size, stat.st_mtime_ns)
    with sqlite3.connect(store.path) as db:
        db.execute("DELETE FROM record")
        db.execute("DELETE FROM ledger")
        db.execute("INSERT INTO kept VALUES (?, ?)", (record_id, os.fsencode(path)))
    db.close()
    return record_id


def keeping(root: Path) -> DropFolder:
    return DropFolder.open(Watch(path=root, after="keep"))


def known(store: Journal) -> list[str]:
    """The names of what the ledger has."""
    return sorted(Path(os.fsdecode(kept.path)).name for kept in KeptReader(store.path).all())


def look(store: Journal, root: Path, *, days: float = 0) -> None:
    """Keep house by a clock that is so far ahead."""
    at = Clock().wall() + days * 86_400
    for news in Reading(store).ledger.news([keeping(root)], Clock(wall=lambda: at)):
        store.note_kept(news)


def test_what_is_gone_from_a_kept_folder_is_forgotten_after_a_month(tmp_path: Path, store: Journal) -> None:
    gone, _ = (record(store, tmp_path / "in" / name) for name in ("a.jpg", "b.jpg"))
    gone.unlink()
    for days, names in ((0, ["a.jpg", "b.jpg"]), (29, ["a.jpg", "b.jpg"]), (31, ["b.jpg"])):
        look(store, tmp_path / "in", days=days)
        assert known(store) == names
    assert not list(KeptReader(store.path).missed())


def test_files_on_a_disk_that_is_away_are_known_though_others_lie_in_its_inbox_or_where_it_was(
    tmp_path: Path, store: Journal
) -> None:
    """A camera goes on and writes to the bare place of the disk, or another has a disk in the same inbox."""
    inbox, away = tmp_path / "in", tmp_path / "away"
    (inbox / "cam").mkdir(parents=True)
    here = record(store, inbox / "cam" / "a.jpg")
    for days in (0, 20, 40, 60):
        (inbox / "cam").rename(away)
        record(store, inbox / "cam" / "stray.jpg").touch()
        look(store, inbox, days=days)
        shutil.rmtree(inbox / "cam")
        away.rename(inbox / "cam")
        record(store, inbox / "cam" / "b.jpg")
        look(store, inbox, days=days + 10)
    assert Reading(store).ledger.skips(keeping(inbox), str(here), here.lstat())


def test_of_more_that_is_gone_than_is_remembered_the_rest_is_forgotten_at_once(
    tmp_path: Path, store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_MISSED", 2)
    *gone, _ = (record(store, tmp_path / "in" / f"{number}.jpg") for number in range(6))
    for path in gone:
        path.unlink()
    look(store, tmp_path / "in")
    assert len(known(store)) == 3


def test_what_is_known_of_an_inbox_that_leaves_the_config_or_takes_other_names_stays(
    tmp_path: Path, store: Journal
) -> None:
    """It was forgotten at once: where the device had a new name by then, all came back as new images."""
    away, _ = record(store, tmp_path / "away" / "a.jpg"), record(store, tmp_path / "in" / "b.jpg")
    (tmp_path / "in" / "c.png").touch()
    others = DropFolder.open(Watch(path=tmp_path / "in", after="keep", patterns=("*.png",)))
    assert list(Reading(store).ledger.news([others], Clock())) == []
    shutil.rmtree(away.parent)
    assert list(Reading(store).ledger.news([others], Clock())) == []


def test_however_many_are_gone_the_journal_is_told_in_pieces(
    tmp_path: Path, store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "BATCH", 2)
    *gone, _ = (record(store, tmp_path / "in" / f"{number}.jpg") for number in range(6))
    for path in gone:
        path.unlink()
    pieces = [
        [path for path, _ in news.missed]
        for news in Reading(store).ledger.news([keeping(tmp_path / "in")], Clock())
    ]
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert {path for piece in pieces for path in piece} == set(map(os.fsencode, gone))


def test_a_new_name_of_the_device_makes_no_image_new(tmp_path: Path, store: Journal) -> None:
    path = record(store, tmp_path / "in" / "a.jpg")
    assert Reading(store, device="another").ledger.skips(keeping(tmp_path / "in"), str(path), path.lstat())


def test_a_file_of_the_same_name_size_and_time_in_another_folder_is_new(
    tmp_path: Path, store: Journal
) -> None:
    path = record(store, tmp_path / "in" / "a.jpg")
    other = tmp_path / "in2" / "a.jpg"
    other.parent.mkdir()
    shutil.copy2(path, other)
    assert not Reading(store).ledger.skips(keeping(tmp_path / "in2"), str(other), other.lstat())


def test_a_file_written_anew_with_its_size_and_time_as_before_is_new(tmp_path: Path, store: Journal) -> None:
    path = record(store, tmp_path / "in" / "a.jpg")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"y")
    os.utime(path, ns=times)
    assert not Reading(store).holds(path)


def test_a_file_with_other_permissions_or_on_another_disk_is_known_by_its_content_and_read_once(
    tmp_path: Path, store: Journal
) -> None:
    path, folder = record(store, tmp_path / "in" / "a.jpg"), keeping(tmp_path / "in")
    reading = Reading(store)
    assert reading.ledger.skips(folder, str(path), path.lstat())
    assert not reading.told
    path.chmod(0o600)
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert reading.holds(path)
    (known,) = reading.told.known
    assert known.untouched(path.stat())


def test_a_file_whose_time_is_set_just_after_it_was_recorded_is_known_by_its_content(
    tmp_path: Path, store: Journal
) -> None:
    """As FTP does (MFMT): it was recorded again at the next walk."""
    path = record(store, tmp_path / "in" / "a.jpg")
    os.utime(path, (1e9, 1e9))
    assert Reading(store).holds(path, closed=False)
    assert Reading(store).holds(path, closed=True)  # `touch -r` opens it: 5 of 88 were recorded again
    os.utime(path, (2e9, 2e9))
    assert Reading(store).holds(path, closed=False)
    assert not Reading(store).holds(path, closed=True)  # a frozen camera sends the same, dated, again
    path.write_bytes(b"y")
    os.utime(path, (1e9, 1e9))
    assert not Reading(store).holds(path, closed=False)
    path.write_bytes(b"x")
    assert not Reading(store).holds(path, closed=False)


def test_the_same_picture_sent_again_is_new_though_its_time_is_before_the_recorded_one(
    tmp_path: Path, store: Journal
) -> None:
    """As where a clock was set back meanwhile, or a camera's time is ahead."""
    path = record(store, tmp_path / "in" / "a.jpg", time_ns=2 * 10**18)
    path.write_bytes(b"x")
    stat = path.stat()
    assert stat.st_mtime_ns == stat.st_ctime_ns < 2 * 10**18
    assert not Reading(store).holds(path, closed=True)


@pytest.mark.parametrize("seconds", [-0.7, 1.4])
def test_a_fresh_image_whose_time_is_set_by_less_than_two_seconds_is_known_by_its_content(
    tmp_path: Path, store: Journal, seconds: float
) -> None:
    """As Syncthing dates what it has just renamed: 27 of 135 were recorded again at the next walk.

    Or as a camera does whose clock is a second ahead.
    """
    path = record(store, tmp_path / "in" / "a.jpg")
    set_ns = path.stat().st_mtime_ns + int(seconds * 10**9)
    os.utime(path, ns=(set_ns, set_ns))
    assert Reading(store).holds(path, closed=False)
    path.write_bytes(b"y")
    os.utime(path, ns=(set_ns, set_ns))
    assert not Reading(store).holds(path, closed=False)
    path.write_bytes(b"x")
    path.chmod(0o600)
    assert not Reading(store).holds(path, closed=False)


def test_where_no_time_of_change_is_kept_an_earlier_time_is_one_that_was_set(
    tmp_path: Path, store: Journal
) -> None:
    """On exFAT by FUSE what FTP dates (MFMT) was recorded again; who writes it anew gives it a later one."""
    path = record(store, tmp_path / "in" / "a.jpg")
    stat = without_time_of_change(path.stat())
    known = Kept.of(str(path), stat, digest_of(b"x"))
    for seconds, is_set in ((-3600, True), (1, False)):
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))
        assert known.may_have_its_time_set(without_time_of_change(path.stat())) == is_set


@pytest.mark.slow
def test_an_upload_that_stays_and_whose_time_is_set_once_it_is_on_record_has_one_record(
    tmp_path: Path,
) -> None:
    with running(tmp_path, watch=[{"path": "inbox", "after": "keep"}]) as house:
        for number, photo in enumerate(PHOTOS[:3]):
            image = house.inbox / f"{number}.jpg"
            shutil.copyfile(photo, image)
            house.until(lambda number=number: len(house.records()) == number + 1)  # type: ignore[misc]
            with image.open("ab"):  # as `touch -r` and exiftool do
                os.utime(image, (1_790_000_000 + number,) * 2)
        shutil.copyfile(PHOTOS[3], house.inbox / "next.jpg")
        house.until(lambda: house.records()[-1]["image_path"].endswith("next.jpg"))
        assert len(house.records()) == 4
        assert house.stop() == 0
        house.start()
        shutil.copyfile(PHOTOS[0], house.inbox / "last.jpg")
        house.until(lambda: house.records()[-1]["image_path"].endswith("last.jpg"))
        assert len(house.records()) == 5


@pytest.mark.parametrize("grain_ns", [100, 10**3, 10**7, 10**9, 2 * 10**9])
def test_a_copy_on_a_disk_that_cuts_times_is_known_by_its_content(
    tmp_path: Path, store: Journal, grain_ns: int
) -> None:
    """As tar, NTFS, exFAT and FAT do: an archive that was moved to such a disk was recorded once more."""
    time_ns = 10**18 + 1_999_999_999
    path = record(store, tmp_path / "in" / "a.jpg", time_ns=time_ns)
    cut = time_ns - time_ns % grain_ns

    def copied(content: bytes, time_ns: int) -> bool:
        (tmp_path / "copy").write_bytes(content)
        os.utime(tmp_path / "copy", ns=(time_ns, time_ns))
        (tmp_path / "copy").replace(path)
        return Reading(store).holds(path)

    assert not copied(b"y", cut)
    assert not copied(b"x", time_ns + 1)
    assert copied(b"x", cut)


def test_a_disk_of_local_times_is_known_by_its_content_in_another_time_zone(
    tmp_path: Path, store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT's are: with another time zone, a card was recorded once more."""
    hour_ns, time_ns = 3_600 * 10**9, 10**18
    path = record(store, tmp_path / "in" / "a.jpg", time_ns=time_ns)

    def is_known(content: bytes, time_ns: int, *, closed: bool = False) -> bool:
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))
        return Reading(store).holds(path, closed=closed)

    monkeypatch.setattr(kept_files, "YOUNG_SECONDS", 0)
    assert not is_known(b"y", time_ns - 5 * hour_ns)
    assert not is_known(b"x", time_ns - 5 * hour_ns + 2 * 10**9)
    assert not is_known(b"x", time_ns + hour_ns, closed=True)
    assert is_known(b"x", time_ns - 5 * hour_ns)
    assert is_known(b"x", time_ns + 23 * hour_ns // 4)


def test_what_is_written_over_within_the_second_in_which_it_was_read_is_recorded_at_the_next_walk(
    tmp_path: Path,
) -> None:
    """Where times are whole seconds, a change in the same one has size, times and inode as before."""
    if why := why_no_disk(tmp_path, "ext4"):
        pytest.skip(why)
    disk = LoopDisk(tmp_path / "inbox", "ext4", "-I", "128")  # inodes without room for fractions
    disk.mount()
    names = [f"{number}.jpg" for number in range(20)]
    photos = [PHOTOS[number].read_bytes() for number in (0, 1)]
    size = max(map(len, photos))
    try:
        with running(tmp_path, watch=[{"path": "inbox", "after": "keep"}]) as house:
            for name in names:
                path = house.inbox / name
                path.write_bytes(photos[0].ljust(size, b"\0"))
                house.until(partial(recorded, house, name))
                before = path.stat()
                path.write_bytes(photos[1].ljust(size, b"\0"))
                if path.stat().st_ctime_ns == before.st_ctime_ns:
                    break
            house.until(partial(recorded, house, name, times=2))
    finally:
        disk.unmount()
    classes = [each["predicted_class"] for each in house.records() if each["image_path"] == name]
    assert len(set(classes)) == len(classes) == 2


def recorded(house: House, name: str, *, times: int = 1) -> bool:
    house.ask("rescan")
    return [record["image_path"] for record in house.records()].count(name) == times


def test_a_walk_reads_no_file_to_know_it(tmp_path: Path, store: Journal) -> None:
    """Who changes the rights of what lies there, again and again, held up the folders of all cameras."""
    path, folder = record(store, tmp_path / "in" / "a.jpg"), keeping(tmp_path / "in")
    reading = Reading(store)
    assert reading.ledger.skips(folder, str(path), path.lstat())
    path.chmod(0o600)
    assert not reading.ledger.skips(folder, str(path), path.lstat())
    assert not reading.told


def test_what_is_too_large_for_an_image_is_read_as_a_clip_alone(tmp_path: Path, store: Journal) -> None:
    """Clips of gigabytes, named as images, held up all images, time and again."""
    path = record(store, tmp_path / "in" / "a.mp4", b"xy")
    path.chmod(0o600)
    reading = Reading(store, max_bytes=1)
    assert not reading.holds(path)
    pieces: list[None] = []
    assert reading.holds(path, as_clip=True, gets_on=lambda: pieces.append(None))
    assert len(pieces) == 1


class Stopping(Heartbeats):
    """Has the daemon asked to stop at the first beat."""

    def __init__(self, backlog: Backlog) -> None:
        super().__init__()
        self._backlog, self.beats = backlog, 0

    def beat(self, name: str, *, at: str = "") -> None:
        super().beat(name, at=at)
        self.beats += 1
        self._backlog.stop()


@pytest.mark.parametrize("known", [True, False])
def test_a_stop_waits_for_no_end_of_a_kept_clip_that_is_read_and_leaves_it_to_the_next_start(
    tmp_path: Path, store: Journal, *, known: bool
) -> None:
    """Up to 4 GiB were read, and systemd waited."""
    clip = bytes.fromhex("00000010 66747970 69736f6d 00000200") + bytes(4 * 2**20)
    path = tmp_path / "in" / "a.mp4"
    if known:
        record(store, path, clip).chmod(0o600)
    else:
        path.parent.mkdir()
        path.write_bytes(clip)
    backlog, folder = Backlog(), DropFolder.open(Watch(path=path.parent, after="keep"), clips=["*.mp4"])
    backlog.hint(folder, str(path), closed=True)
    candidate, heartbeats = backlog.take_clip(seconds=10), Stopping(backlog)
    assert candidate
    engine = open_engine(Config())
    parts = examining(tmp_path, backlog, engine, Reading(store).ledger, heartbeats)
    with pytest.raises(MachineError, match="stopped"):
        ClipExaminer(CLIPS, "clips", parts).examine(candidate, engine.plan)
    assert heartbeats.beats == 1


@pytest.mark.parametrize("after", ["move", "keep"])
def test_an_image_that_its_writer_goes_on_with_while_it_is_read_is_read_again(
    tmp_path: Path, after: Literal["move", "keep"]
) -> None:
    """All of it was recorded as if it had the size of its first part, and then once more."""
    (inbox := tmp_path / "in").mkdir()
    whole, path = PHOTOS[0].read_bytes(), inbox / "a.jpg"
    path.write_bytes(whole[:1000])

    class GoesOn:
        """An uploader that goes on between a look at the file and its reading."""

        def holds(self, *_: object, **__: object) -> bool:
            path.write_bytes(whole)
            os.utime(path, (1e9, 1e9))
            return False

        def knows_its_name(self, _candidate: Candidate) -> bool:
            return False

    backlog, folder = Backlog(), DropFolder.open(Watch(path=inbox, after=after))
    engine = open_engine(Config())
    backlog.hint(folder, str(path), closed=True)
    parts = examining(tmp_path, backlog, engine, GoesOn(), Heartbeats())
    examiner = ImageExaminer(0, "worker-0", parts)
    (candidate,) = backlog.take_group(1)
    assert examiner.examine(candidate, engine.plan) is None
    backlog.hint(folder, str(path), closed=True)
    (candidate,) = backlog.take_group(1)
    found = examiner.examine(candidate, engine.plan)
    assert isinstance(found, Examined)
    assert (found.drop.stat.st_size, found.data) == (len(whole), whole)


def test_the_content_of_what_comes_is_known_once_one_of_its_inbox_had_to_wait_to_be_filed(
    tmp_path: Path, store: Journal
) -> None:
    """What had its time set while it waited had two records; what was written over with that time, none."""
    (inbox := tmp_path / "in").mkdir()
    backlog, folder, engine = Backlog(), DropFolder.open(Watch(path=inbox)), open_engine(Config())
    parts = examining(tmp_path, backlog, engine, Reading(store).ledger, Heartbeats())
    examiner, known = ImageExaminer(0, "worker-0", parts), list[bool]()
    for name in ("a.jpg", "b.jpg"):
        path = Path(shutil.copy(PHOTOS[0], inbox / name))
        os.utime(path, (1.125, 1.125))
        backlog.hint(folder, str(path), closed=True)
        (candidate,) = backlog.take_group(1)
        assert examiner.examine(candidate, engine.plan)
        known.append(candidate.digest is not None)
        backlog.set_aside(candidate)
    assert known == [False, True]


def test_what_an_earlier_version_recorded_is_known_and_from_then_on_without_the_device_s_name(
    tmp_path: Path, store: Journal
) -> None:
    path, folder = record(store, tmp_path / "in" / "a.jpg"), keeping(tmp_path / "in")
    former = as_before(store, path)
    reading = Reading(store)
    assert reading.ledger.skips(folder, str(path), path.lstat())
    news = KeptChanges.merged(list(reading.ledger.news([folder], Clock())))
    assert news.former == [former]
    store.note_kept(news)
    assert Reading(store, device="another").ledger.skips(folder, str(path), path.lstat())


def test_records_of_an_earlier_version_tell_the_ledger_of_their_files_at_the_next_start(
    tmp_path: Path,
) -> None:
    store = Journal(tmp_path / "journal.db")
    path = record(store, tmp_path / "in" / "a.jpg")
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("INSERT INTO kept SELECT id, path FROM record")
        db.execute("DELETE FROM ledger")
        db.execute("UPDATE record SET inode = NULL, changed_ns = NULL")
    db.close()
    store = Journal(store.path)
    assert Reading(store, device="another").ledger.skips(keeping(tmp_path / "in"), str(path), path.lstat())
    store.close()


@pytest.mark.slow
def test_a_new_host_name_two_folders_alike_and_a_file_written_anew_at_the_running_daemon(
    tmp_path: Path,
) -> None:
    """The archive is not classified once more; what is new is, and with an id of its own."""
    watch = [{"path": name, "after": "keep"} for name in ("inbox", "second")]
    photos = [PHOTOS[0].read_bytes(), PHOTOS[1].read_bytes()]
    size = max(map(len, photos))
    same_size = [data.ljust(size, b"\0") for data in photos]

    def put(folder: str, data: bytes) -> None:
        target = tmp_path / folder / "cam" / "s.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(".part")
        part.write_bytes(data)
        os.utime(part, (1_790_000_000, 1_790_000_000))
        part.replace(target)

    put("inbox", same_size[0])
    put("second", same_size[1])
    for device in ("one", "two"):
        house = House(tmp_path, {"watch": watch, "device": device})
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        assert len(house.records()) == 2
    put("inbox", same_size[1])
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert len({each["id"] for each in house.records()}) == 3
    assert len({each["predicted_class"] for each in house.records()}) == 2


@pytest.mark.parametrize("alike", [False, True])  # in size and time
def test_cards_with_equal_names_that_take_turns_at_one_place_have_each_image_recorded_once(
    tmp_path: Path, *, alike: bool
) -> None:
    """Each exchange had all of them recorded once more."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": "keep"}]})
    cards = {"one": PHOTOS[:2], "two": PHOTOS[2:4]}
    size = max(len(photo.read_bytes()) for photo in PHOTOS[:4])
    for name, photos in cards.items():
        (tmp_path / name).mkdir()
        for number, photo in enumerate(photos):
            image = tmp_path / name / f"{number}.jpg"
            image.write_bytes(photo.read_bytes().ljust(size, b"\0") if alike else photo.read_bytes())
            os.utime(image, (10**9, 10**9) if alike else None)
    for name in ("one", "two", "one", "two", "one"):
        (tmp_path / name).rename(house.inbox / "cam")
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        (house.inbox / "cam").rename(tmp_path / name)
    assert len(house.records()) == sum(map(len, cards.values()))


def test_a_journal_that_cannot_be_read_is_a_trouble_until_it_can_and_ends_no_housekeeping(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    folder = DropFolder.open(Watch(path=desk.inbox, after="keep"))
    (desk.inbox / "a.jpg").touch()
    ledger = Ledger(desk.store.path, device="d", note=desk.recorder.note_kept)
    keeper = Housekeeper([folder], Clock(), ledger, desk.recorder, journal=desk.store.path, remembers=100_000)
    with sqlite3.connect(desk.store.path) as db:
        db.execute("ALTER TABLE kept RENAME TO away")
        keeper.keep_house(threading.Event())
        assert "no such table" in desk.recorder.troubles.current()["housekeeping"]
        db.execute("ALTER TABLE away RENAME TO kept")
    db.close()
    keeper.keep_house(threading.Event())
    assert not desk.recorder.troubles.any()
    desk.close()


def test_a_kept_folder_that_is_empty_all_at_once_is_not_forgotten(tmp_path: Path, store: Journal) -> None:
    """A share that is not mounted just now: with it back, each image would get a second line."""
    (tmp_path / "in").mkdir()
    folder = DropFolder.open(Watch(path=tmp_path / "in", after="keep"))
    record(store, tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "a.jpg").unlink()
    ledger = Reading(store).ledger
    assert not list(ledger.news([folder], Clock()))
    (tmp_path / "in").rmdir()
    assert not list(ledger.news([folder], Clock()))


@pytest.mark.slow
def test_after_a_restored_journal_what_the_log_has_of_kept_images_is_not_recorded_again(
    tmp_path: Path,
) -> None:
    """All that had come since the backup was recorded a second time."""
    settings = {"watch": [{"path": "inbox", "after": "keep"}], "log": {"max_bytes": 4_096, "compress": True}}
    with running(tmp_path, **settings) as house:

        def drop(*numbers: int) -> None:
            (house.inbox / "cam").mkdir(exist_ok=True)
            before = house.finished()
            for number in numbers:
                shutil.copyfile(PHOTOS[0], house.inbox / "cam" / f"{number:02}.jpg")
            wait_until(lambda: house.finished() >= before + len(numbers))
            assert house.stop() == 0

        drop(0, 1)
        shutil.copytree(tmp_path / "state", tmp_path / "backup", ignore=lambda *_: ["dropsight.sock"])
        house.start()
        drop(*range(10, 20))
        assert list((tmp_path / "logs").glob("results.jsonl.*")), "some of it lies in backups"
        (house.inbox / "cam" / "19.jpg").write_bytes(PHOTOS[1].read_bytes())
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "backup", tmp_path / "state")
        house.start()
        wait_until(lambda: house.finished() == 1, what="the one that is another by now")
        drop(20)
        house.start()
        drop(30)
    lines = [line for file in (tmp_path / "logs").iterdir() for line in lines_of(file)]
    assert len(lines) == 2 + 10 + 1 + 1 + 1
    assert "9 kept images are on record by the log" in house.daemon_log()


@pytest.mark.parametrize(
    "copies",
    [
        ["results.jsonl-20261129.gz", "results.jsonl-20261130"],
        ["results-20261129.jsonl", "results-20261130.jsonl.gz"],
        ["results.jsonl.2.gz", "results.jsonl.1"],
        ["results.jsonl-20261130", "results.jsonl.1.gz"],
    ],
)
def test_after_a_restored_journal_kept_images_are_known_by_lines_that_logrotate_took_away(
    tmp_path: Path, store: Journal, copies: Sequence[str]
) -> None:
    """The log was empty, and what `dateext` names was not looked at: all of it was recorded again."""

    def line_of(name: str, *, hour: int) -> bytes:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        record_id = drop_id("d", name.encode(), 1, path.stat().st_mtime_ns)
        time = f"2026-11-30T{hour:02}:00:00Z"
        return msgspec.json.encode({"id": record_id, "image_path": name, "time": time})

    in_backup = line_of("backup.jpg", hour=3)
    store.add([Row(msgspec.json.decode(in_backup)["id"], b"backup.jpg", 1, 1, "c", "ok", in_backup)])
    lines = [[in_backup, line_of("one.jpg", hour=4)], [line_of("two.jpg", hour=5)]]
    for number, (name, held) in enumerate(zip(copies, lines, strict=True)):
        content = b"".join(line + b"\n" for line in held)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        os.utime(tmp_path / name, (number, number))
    (tmp_path / "results.jsonl").touch()
    note_logged(store, tmp_path / "results.jsonl", [keeping(tmp_path / "in")], device="d")
    assert known(store) == ["one.jpg", "two.jpg"]


@pytest.mark.parametrize("failed_log", ["results.failed.jsonl", "results.failed.jsonl-20251130"])
def test_failed_images_of_long_ago_that_the_journal_has_forgotten_make_it_no_older_one(
    tmp_path: Path, store: Journal, caplog: pytest.LogCaptureFixture, failed_log: str
) -> None:
    """Their log was read at each start, and the journal called older than it."""

    def logged(record_id: str, name: str, *, year: int) -> bytes:
        return msgspec.json.encode({"id": record_id, "image_path": name, "time": f"{year}-11-30T10:00:00Z"})

    old = record(store, tmp_path / "in" / "old.jpg")
    failed = logged(as_before(store, old), "old.jpg", year=2025)
    (tmp_path / failed_log).write_bytes(failed + b"\n")
    newest = logged("a" * 32, "new.jpg", year=2026)
    (tmp_path / "results.jsonl").write_bytes(newest + b"\n")
    store.add([Row("a" * 32, b"new.jpg", 1, 1, "c", "ok", newest)])
    note_logged(store, tmp_path / "results.jsonl", [keeping(tmp_path / "in")], device="d")
    assert not caplog.messages


@pytest.mark.slow
def test_after_a_restored_journal_a_file_just_like_one_of_another_inbox_is_recorded(tmp_path: Path) -> None:
    """It was taken for the one whose line the log has, and never recorded."""
    other = tmp_path / "other"
    watch = [{"path": path, "after": "keep"} for path in ("inbox", "other")]
    with running(tmp_path, watch=watch) as house:
        shutil.copyfile(PHOTOS[0], house.inbox / "before.jpg")
        wait_until(lambda: len(house.records()) == 1)
        assert house.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "backup", ignore=lambda *_: ["dropsight.sock"])
        house.start()
        for name in ("both.jpg", "later.jpg"):
            shutil.copyfile(PHOTOS[0], house.inbox / name)
        shutil.copy2(house.inbox / "both.jpg", other)
        wait_until(lambda: len(house.records()) == 4)
        assert house.stop() == 0
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "backup", tmp_path / "state")
        shutil.copy2(house.inbox / "later.jpg", other)
        house.start()
        wait_until(lambda: len(house.records()) == 5)
        shutil.copyfile(PHOTOS[0], house.inbox / "end.jpg")
        wait_until(lambda: house.records()[-1]["image_path"] == "end.jpg")
    names = sorted(record["image_path"] for record in house.records())
    assert names == ["before.jpg", *2 * ["both.jpg"], "end.jpg", *2 * ["later.jpg"]]
