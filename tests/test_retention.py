"""Retention: of what dropsight filed, by age, by what the disk counts, and by number; of nothing else."""

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from disks import LoopDisk, why_no_disk
from dropsight.config import Retention
from dropsight.crashpoints import VARIABLE
from dropsight.errors import ErrorCode, StoreError
from dropsight.files.beneath import Top, open_folder
from dropsight.files.disk import BLOCK_BYTES
from dropsight.intake.clock import Clock
from dropsight.journal import filed
from dropsight.journal.filed import FiledImages
from dropsight.journal.ledger import Ledger
from dropsight.journal.retention import Sweeper
from dropsight.journal.schema import SHELVE, Shelved, mark_damaged
from dropsight.service.housekeeping import Housekeeper
from test_recorder import Desk

DAY = 86_400
NO_BOUND = Retention(days=None, max_bytes=None, max_files=None)
NOTHING = Retention(days=None, max_bytes=1, max_files=1)


class Cupboard:
    """A recorder that files what is put in, and a sweep over it."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk(root)
        self.processed, self.failed = root / "processed", root / "failed"
        self.shelf = FiledImages(self.desk.store.path)

    def put(self, *names: str, data: bytes = b"image", failed: str = "") -> None:
        """Once a cupboard; `failed` are the broken ones' first letters."""
        with self.desk.running():
            for name in names:
                error: ErrorCode | None = "truncated" if Path(name).name[0] in failed else None
                self.desk.recorder.put(self.desk.arrival(name, error=error, data=data))
            assert self.desk.recorder.drain(seconds=30)

    def sweep(self, retention: Retention, *, clock: Clock | None = None, remembered_from: int = 0) -> int:
        settings = msgspec.structs.replace(self.desk.folder.settings, retention=retention)
        folder = msgspec.structs.replace(self.desk.folder, settings=settings)
        return Sweeper(clock or Clock()).sweep(folder, self.shelf, remembered_from=remembered_from)

    def rows(self) -> list[Shelved]:
        return [row for place in (self.processed, self.failed) for row in self.shelf.rows(os.fsencode(place))]

    def left(self) -> list[str]:
        places = [place for place in (self.processed, self.failed) if place.exists()]
        return sorted(
            path.relative_to(self.desk.root).as_posix()
            for place in places
            for path in place.rglob("*")
            if not path.is_dir()
        )


@pytest.fixture
def cupboard(tmp_path: Path) -> Iterator[Cupboard]:
    made = Cupboard(tmp_path)
    yield made
    made.shelf.close()
    made.desk.store.close()
    made.desk.log.close()


def settings(**retention: object) -> dict[str, object]:
    return {"watch": [{"path": "inbox", "retention": {"days": None, "max_bytes": None, **retention}}]}


def drop(house: House, count: int) -> None:
    for number in range(count):
        shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")


def lived(house: House, count: int) -> None:
    """One life of the daemon, in which it files so many and a broken one."""
    drop(house, count)
    (house.inbox / "bad.jpg").write_bytes(b"no picture")
    house.start()
    house.until(lambda: len(house.records()) == count + 1 and not house.waiting())
    assert house.stop() == 0


def stems(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_what_dropsight_has_not_put_there_is_not_deleted_and_that_is_said(tmp_path: Path) -> None:
    house = House(tmp_path, settings(max_files=1))
    house.processed.mkdir()
    house.failed.mkdir()
    long_ago = tmp_path.stat().st_mtime - 1000
    for folder in (house.processed, house.failed):
        for name in ("thesis.docx", "wedding.jpg", "keys.kdbx"):
            (folder / name).write_bytes(b"mine" * 20_000)
            os.utime(folder / name, (long_ago, long_ago))
    try:
        lived(house, 4)
        house.start()
        wait_until(lambda: "beyond the retention" in house.daemon_log())
        wait_until(lambda: len(stems(house.processed)) == 4)
        wait_until(lambda: len(stems(house.failed)) == 3)
    finally:
        house.kill()
    assert set(stems(house.processed)) > {"keys.kdbx", "thesis.docx", "wedding.jpg"}
    assert stems(house.failed) == ["keys.kdbx", "thesis.docx", "wedding.jpg"]


def test_what_stands_there_unknown_is_said_once_with_its_number(
    cupboard: Cupboard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cupboard.put("a.jpg")
    (cupboard.processed / "mine.txt").write_text("mine")
    now = Clock().wall()
    sweeper = Sweeper(Clock(wall=lambda: now + 120))
    for _ in range(2):
        sweeper.sweep_place(cupboard.desk.folder.processed, NO_BOUND, cupboard.shelf, remembered_from=0)
    assert caplog.text.count("1 files were not put there by dropsight: retention leaves them") == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["an earlier version", "a damaged journal"])
def test_what_was_filed_before_is_found_by_the_records_that_there_are(tmp_path: Path, how: str) -> None:
    house = House(tmp_path, settings(max_files=2))
    journal = tmp_path / "state" / "journal.db"
    try:
        lived(house, 5)
        assert len(stems(house.processed)) == 5
        if how == "a damaged journal":
            mark_damaged(journal)
        else:
            with sqlite3.connect(journal) as db:
                db.execute("DROP TABLE shelf")
                db.execute("DELETE FROM cursor WHERE name = 'shelf'")
            db.close()
        (house.processed / "mine.jpg").write_bytes(b"mine")
        house.start()
        wait_until(lambda: len(stems(house.processed)) == 3)
        assert house.stop() == 0
    finally:
        house.kill()
    assert "mine.jpg" in stems(house.processed)
    assert stems(house.failed) == ["bad.jpg", "bad.jpg.reason.json"]


def test_what_an_earlier_version_filed_between_two_lives_of_this_one_is_found(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg", "b.jpg")
    with sqlite3.connect(cupboard.desk.store.path) as db:
        db.execute("DELETE FROM shelf")
        db.execute("INSERT OR REPLACE INTO cursor VALUES ('shelf', 1)")
    db.close()
    assert cupboard.shelf.adopt([cupboard.desk.folder], upto=2, stopped=lambda: False)
    assert [row.name for row in cupboard.rows()] == [b"b.jpg"]


@pytest.mark.slow
def test_what_was_filed_when_the_daemon_was_killed_is_known_in_its_next_life(tmp_path: Path) -> None:
    house = House(tmp_path, settings(max_files=1))
    drop(house, 1)
    try:
        house.spawn(**{VARIABLE: "after_filing"})
        assert house.ended() == -9
        assert len(stems(house.processed)) == 1
        house.start()
        assert house.stop() == 0
    finally:
        house.kill()
    shelf = FiledImages(tmp_path / "state" / "journal.db")
    assert [row.name for row in shelf.rows(os.fsencode(house.processed))] == [b"0.jpg"]
    shelf.close()


def test_it_goes_by_when_a_file_came_not_by_its_photo_s_date(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg", "b.jpg")
    for path in cupboard.processed.iterdir():
        os.utime(path, (0, 0))
    now = Clock().wall()
    fortnight = Retention(days=14, max_bytes=None)
    assert cupboard.sweep(fortnight) == 0
    assert cupboard.sweep(fortnight, clock=Clock(wall=lambda: now + 15 * DAY)) == 2
    assert cupboard.rows() == []


def test_a_reload_that_has_more_kept_ends_the_deleting_by_the_former_bounds_at_once(
    cupboard: Cupboard,
) -> None:
    """All the rest went: 45,900 of 60,000 pictures, after `reload` had said that another one is in force."""
    cupboard.put(*(f"{number}.jpg" for number in range(20)))
    desk, stopped = cupboard.desk, threading.Event()
    settings = msgspec.structs.replace(desk.folder.settings, retention=Retention(days=14))
    folder = msgspec.structs.replace(desk.folder, settings=settings)

    class ReloadedAmidTheSweep(Clock):
        def age_seconds(self, stamp: float) -> float:
            if len(cupboard.left()) <= 15:
                stopped.set()
            return super().age_seconds(stamp) + 15 * DAY

    clock = ReloadedAmidTheSweep()
    ledger = Ledger(desk.store.path, device="d", note=desk.recorder.note_kept)
    keeper = Housekeeper([folder], clock, ledger, desk.recorder, journal=desk.store.path, remembers=100)
    keeper.keep_house(stopped)
    assert 14 <= len(cupboard.left()) <= 15


@pytest.mark.parametrize("kept", [{"max_files": 1}, {"max_bytes": 1}])
def test_what_is_too_much_is_deleted_no_further_once_the_daemon_is_to_end(
    cupboard: Cupboard, kept: dict[str, int]
) -> None:
    cupboard.put(*(f"{number}.jpg" for number in range(20)))
    bounds, place = Retention(**{"days": None, "max_bytes": None, **kept}), cupboard.desk.folder.processed
    sweeper = Sweeper(Clock(), is_stopped=lambda: len(cupboard.left()) <= 15)
    assert sweeper.sweep_place(place, bounds, cupboard.shelf, remembered_from=0) == 5


def test_of_what_is_deleted_none_is_taken_for_a_stranger_s(
    cupboard: Cupboard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cupboard.put("a.jpg", "b.jpg")
    later = Clock().wall() + 15 * DAY
    assert cupboard.sweep(Retention(days=14, max_bytes=None), clock=Clock(wall=lambda: later)) == 2
    assert "not put there by dropsight" not in caplog.text


def test_an_uploader_s_second_name_for_a_picture_neither_keeps_it_nor_makes_it_younger(
    cupboard: Cupboard,
) -> None:
    """He can change its size and times, and its inode's."""
    cupboard.put("a.jpg", "b.jpg")
    second = cupboard.desk.root / "second"
    os.link(cupboard.processed / "a.jpg", second)
    with second.open("ab") as file:
        file.write(b"more")
    os.utime(second, (5, 5))
    cupboard.sweep(Retention(days=None, max_bytes=None, max_files=1))
    assert cupboard.left() == ["processed/b.jpg"]


def test_an_image_by_the_name_and_inode_of_one_that_was_taken_away_is_as_old_as_it_is_and_counts_once(
    cupboard: Cupboard,
) -> None:
    """A camera writes `latest.jpg` over and over, and somebody fetches what is processed."""
    desk, latest = cupboard.desk, cupboard.processed / "latest.jpg"
    with desk.running():
        for data in (b"first", b"second one"):
            desk.recorder.put(desk.arrival("latest.jpg", data=data))
            wait_until(latest.exists)
            if data == b"first":
                latest.rename(desk.inbox / "latest.jpg")  # its inode is the next one's
        assert desk.recorder.drain(seconds=30)
    assert cupboard.sweep(Retention(days=None, max_bytes=None, max_files=1)) == 0
    with sqlite3.connect(desk.store.path) as db:
        db.execute("UPDATE shelf SET filed_at = filed_at - ? WHERE seq = 1", (15 * DAY,))
    db.close()
    assert cupboard.sweep(Retention(days=14, max_bytes=None, max_files=None)) == 0
    assert latest.read_bytes() == b"second one"
    assert cupboard.sweep(Retention(days=None, max_bytes=1, max_files=None)) == 1


def test_an_overlay_goes_though_the_picture_was_taken_away_and_its_name_is_another_s(
    cupboard: Cupboard,
) -> None:
    cupboard.put("a.jpg")
    (row,) = cupboard.rows()
    left = msgspec.structs.replace(row, seq=row.seq - 1, beside=b"a.why.jpg")
    with sqlite3.connect(cupboard.desk.store.path) as db:
        db.execute(SHELVE, msgspec.structs.astuple(left))
    db.close()
    (cupboard.processed / "a.why.jpg").touch()
    assert cupboard.sweep(Retention(days=None, max_bytes=None, max_files=1)) == 1
    assert cupboard.left() == ["processed/a.jpg"]


def test_bytes_are_counted_as_the_disk_counts_them(cupboard: Cupboard) -> None:
    """A disk full of small files is full; a hole takes no room."""
    names = [f"{number:02}.jpg" for number in range(20)]
    cupboard.put(*names, data=b"x")
    blocks = (cupboard.processed / "00.jpg").stat().st_blocks * BLOCK_BYTES
    if blocks < 1000:
        pytest.skip("this file system keeps small files in their inodes")
    assert cupboard.sweep(Retention(days=None, max_bytes=8 * blocks)) == 12
    assert cupboard.left() == [f"processed/{name}" for name in names[12:]]
    os.truncate(cupboard.processed / "19.jpg", 10**9)
    assert cupboard.sweep(Retention(days=None, max_bytes=9 * blocks)) == 0


def test_files_are_bounded_in_number_the_reasons_among_them(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg", "b.jpg", "c.jpg", failed="abc")
    assert cupboard.sweep(Retention(days=None, max_bytes=None, max_files=4)) == 2
    assert cupboard.left() == [f"failed/{name}.jpg{end}" for name in "bc" for end in ("", ".reason.json")]


def test_a_file_of_one_s_own_in_a_picture_s_place_is_left(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg")
    mine = cupboard.desk.root / "mine"
    mine.write_bytes(b"my own picture")
    mine.rename(cupboard.processed / "a.jpg")
    assert cupboard.sweep(NOTHING) == 0
    assert cupboard.left() == ["processed/a.jpg"]


@pytest.mark.parametrize("inode_bytes", ["256", "128"])
def test_a_file_of_one_s_own_is_left_where_it_has_name_and_inode_of_a_picture_that_was_fetched(
    cupboard: Cupboard, inode_bytes: str
) -> None:
    """Edited, say, and put back: it has the inode that the picture has left.

    Small inodes have no room for when it was made; NFS does not say it either.
    """
    if why := why_no_disk(cupboard.desk.root, "ext4"):
        pytest.skip(why)
    disk = LoopDisk(cupboard.processed, "ext4", "-I", inode_bytes)
    disk.mount()
    try:
        cupboard.put("a.jpg", "b.jpg")
        mine = cupboard.processed / "a.jpg"
        mine.unlink()
        mine.write_bytes(b"my own picture")
        with sqlite3.connect(cupboard.desk.store.path) as db:
            db.execute("UPDATE shelf SET filed_at = filed_at - 1")
            db.execute("UPDATE shelf SET inode = ? WHERE name = ?", (mine.stat().st_ino, b"a.jpg"))
        db.close()
        cupboard.sweep(NOTHING)
        assert cupboard.left() == ["processed/a.jpg"]
    finally:
        disk.unmount()


def test_a_picture_that_is_away_is_forgotten_no_sooner_than_its_record(cupboard: Cupboard) -> None:
    """Its disk may not be mounted for now."""
    cupboard.put("a.jpg", "b.jpg", "c.jpg")
    cupboard.processed.rename(cupboard.desk.root / "away")
    cupboard.processed.mkdir()
    cupboard.sweep(NOTHING, remembered_from=2)
    assert [row.name for row in cupboard.rows()] == [b"b.jpg", b"c.jpg"]
    cupboard.processed.rmdir()
    cupboard.sweep(NOTHING, remembered_from=9)
    (cupboard.desk.root / "away").rename(cupboard.processed)
    cupboard.sweep(Retention(days=None, max_bytes=None, max_files=1))
    assert cupboard.left() == ["processed/a.jpg", "processed/c.jpg"]


def test_a_picture_outlives_its_record_in_the_journal_and_goes_all_the_same(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg")
    assert cupboard.desk.store.prune(after=0, upto=1, keep=0).all == 1
    assert cupboard.sweep(Retention(days=None, max_bytes=1)) == 1
    assert cupboard.left() == []


def test_the_reason_of_what_is_no_file_goes_too(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg", failed="a")
    (cupboard.failed / "a.jpg").unlink()
    assert cupboard.sweep(Retention(days=None, max_bytes=1)) == 1
    assert cupboard.left() == []


def test_nothing_is_deleted_behind_a_link_not_even_one_in_the_place_of_its_folder(cupboard: Cupboard) -> None:
    cupboard.put("cam/a.jpg", "cam/b.jpg", failed="b")
    for place in (cupboard.processed, cupboard.failed):
        behind = cupboard.desk.root / f"behind-{place.name}"
        place.rename(behind)
        place.symlink_to(behind)
    assert cupboard.sweep(NOTHING) == 0
    for place in (cupboard.processed, cupboard.failed):
        place.unlink()
        place.mkdir()
        (place / "cam").symlink_to(cupboard.desk.root / f"behind-{place.name}" / "cam")
    assert cupboard.sweep(NOTHING) == 0
    for place in (cupboard.processed, cupboard.failed):
        (place / "cam").unlink()
        place.rmdir()
        (cupboard.desk.root / f"behind-{place.name}").rename(place)
    assert cupboard.sweep(Retention(days=None, max_bytes=1)) == 3


def test_folders_nested_beyond_any_recursion_are_swept(cupboard: Cupboard) -> None:
    cupboard.put("a.jpg")
    deep = cupboard.processed.joinpath(*["d"] * 1_500)
    os.close(open_folder(str(deep), make=True))
    (cupboard.processed / "a.jpg").rename(deep / "a.jpg")
    with sqlite3.connect(cupboard.desk.store.path) as db:
        db.execute("UPDATE shelf SET name = ?", (b"d/" * 1_500 + b"a.jpg",))
    db.close()
    assert cupboard.sweep(Retention(days=None, max_bytes=1)) == 1
    while deep != cupboard.processed:  # pytest would remove it by recursion
        deep.rmdir()
        deep = deep.parent


def test_parts_of_copies_that_nobody_goes_on_with_go_without_any_retention(cupboard: Cupboard) -> None:
    """Only ours, and only once they have not grown for an hour."""
    cupboard.processed.mkdir()
    (cupboard.processed / f"{'0a' * 16}.dropsight-part").write_bytes(b"half")
    for name in ("photo.dropsight-part", f"{'0a' * 16}.part"):
        (cupboard.processed / name).write_bytes(b"a stranger's")
    now = Clock().wall()
    cupboard.sweep(NO_BOUND)
    assert len(cupboard.left()) == 3
    cupboard.sweep(NO_BOUND, clock=Clock(wall=lambda: now + 3_700))
    assert sorted(path.suffix for path in cupboard.processed.iterdir()) == [".dropsight-part", ".part"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_what_was_filed_before_everything_was_moved_to_another_path_is_known_there(
    tmp_path: Path, how: str
) -> None:
    """By its former path it was nobody's: it stayed for ever."""
    (former := tmp_path / "former").mkdir()
    house = House(former, settings(max_files=1000))
    try:
        lived(house, 4)
        (house.processed / "mine.jpg").write_bytes(b"mine")
        place = tmp_path / "place"
        if how == "moved":
            former.rename(place)
        else:
            subprocess.run(["cp", "-a", former, place], check=True)
        house = House(place, settings(max_files=1))
        house.start()
        wait_until(lambda: len(stems(house.processed)) == 2, what="all but the newest and mine")
        assert "mine.jpg" in stems(house.processed)
        assert f"{house.processed} was {former}/processed" in house.daemon_log()
        if how == "copied":
            assert len(stems(former / "processed")) == 5
    finally:
        house.kill()


def test_a_folder_that_the_config_names_is_no_other_one_that_was_moved(cupboard: Cupboard) -> None:
    """Two may have files of one name, size and time."""
    cupboard.put("a.jpg", "bad.jpg", "b.jpg", "c.jpg", failed="b")
    shutil.copytree(cupboard.failed, cupboard.processed, dirs_exist_ok=True)
    folder = cupboard.desk.folder
    in_use = frozenset({str(cupboard.processed), str(cupboard.failed)})
    before = cupboard.rows()
    Sweeper(Clock(), in_use).sweep_place(folder.processed, NO_BOUND, cupboard.shelf, remembered_from=0)
    assert cupboard.rows() == before
    Sweeper(Clock(), frozenset()).sweep_place(folder.processed, NO_BOUND, cupboard.shelf, remembered_from=0)
    assert cupboard.rows() == before, "as something was filed there before"


def test_a_folder_of_an_inbox_keeps_what_was_filed_there_though_some_of_it_was_moved(
    cupboard: Cupboard,
) -> None:
    """Known elsewhere, the rest of it would be new images."""
    cupboard.put("a.jpg", "b.jpg")
    (elsewhere := cupboard.desk.root / "elsewhere").mkdir()
    (cupboard.processed / "a.jpg").rename(elsewhere / "a.jpg")
    before, sweep = cupboard.rows(), (Top.at(elsewhere), NO_BOUND, cupboard.shelf)
    Sweeper(Clock(), frozenset(), lambda _: True).sweep_place(*sweep, remembered_from=0)
    assert cupboard.rows() == before
    Sweeper(Clock(), frozenset()).sweep_place(*sweep, remembered_from=0)
    assert not cupboard.rows()


class Cut(FiledImages):
    """Of a process that is killed once so many statements are through."""

    left = 2

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not self.left:
            raise StoreError("killed")
        self.left -= 1
        super()._write(statement, rows)


def sweep_moved(cupboard: Cupboard, shelf: FiledImages) -> list[int]:
    """Sweep it as the folder that another path has become; name by seq what is on its shelf."""
    top = cupboard.desk.folder.processed
    Sweeper(Clock(), frozenset()).sweep_place(top, NO_BOUND, shelf, remembered_from=0)
    return [row.seq for row in shelf.rows(os.fsencode(cupboard.processed))]


def test_a_kill_amid_taking_over_what_was_moved_leaves_none_of_it_for_ever(
    cupboard: Cupboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest was newer than what was there by then, and so another folder's."""
    cupboard.put("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    cupboard.shelf.move(os.fsencode(cupboard.processed), b"/former")
    monkeypatch.setattr(filed, "BATCH", 1)
    with closing(Cut(cupboard.desk.store.path)) as cut, pytest.raises(StoreError):
        sweep_moved(cupboard, cut)
    assert sweep_moved(cupboard, cupboard.shelf) == [1, 2, 3, 4]


def test_a_file_of_one_s_own_is_not_what_was_filed_by_another_path_for_its_name_and_inode(
    cupboard: Cupboard,
) -> None:
    """Each disk numbers its files by itself."""
    cupboard.put("a.jpg")
    cupboard.shelf.move(os.fsencode(cupboard.processed), b"/former")
    (cupboard.processed / "a.jpg").write_bytes(b"my own")
    assert sweep_moved(cupboard, cupboard.shelf) == []
