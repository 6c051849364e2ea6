"""Images that their uploaders rename once they are whole: one record each, by either name."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Literal, TypeAlias

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from brokers import wait_until
from disks import small_disk
from dropsight.intake.candidate import Candidate, digest_of
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal.copying import Copying
from dropsight.journal.filing import file_away
from dropsight.journal.kept_files import KeptReader
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import Finished, row_of
from dropsight.records import drop_id, encode
from records import result
from shares import OneFileShare, without_time_of_change
from test_filing import Shelf
from test_recorder import Desk

After: TypeAlias = Literal["move", "delete", "keep"]
AFTER = ("move", "delete", "keep")
# As FTP's MFMT sets them, and as FAT keeps them.
WHOLE_SECOND = (1_700_000_000, 1_700_000_000)


def found(desk: Desk, path: Path) -> Candidate:
    """In the hand of a worker."""
    desk.backlog.hint(desk.folder, str(path), closed=True)
    candidate = desk.backlog.take()
    assert candidate
    assert candidate.path == str(path)
    return candidate


def read(desk: Desk, path: Path) -> Finished:
    """An image in the hand of a worker, its record made."""
    return read_by(found(desk, path))


def read_by(candidate: Candidate) -> Finished:
    path = Path(candidate.path)
    stat = path.stat()
    candidate.digest = digest_of(path.read_bytes())
    name = candidate.relative
    record_id = drop_id("d", os.fsencode(name), stat.st_size, stat.st_mtime_ns)
    return Finished(candidate, stat, msgspec.structs.replace(result(name, stat), id=record_id))


def upload(desk: Desk, name: str, content: bytes, *, times: tuple[int, int] | None = None) -> Finished:
    """A file that is written under this name, and read there at once."""
    path = desk.inbox / name
    path.write_bytes(content)
    if times:
        os.utime(path, times)
    return read(desk, path)


def rename(desk: Desk, name: str, new: str) -> Path:
    return (desk.inbox / name).rename(desk.inbox / new)


@contextmanager
def begun_anew(root: Path, after: After) -> Iterator[Desk]:
    """Another life."""
    with closing(Desk(root, after=after)) as desk:
        desk.recorder.recover([desk.folder])
        with desk.running():
            yield desk


def record(desk: Desk, *images: Finished) -> None:
    """Have them recorded, and wait until all is done with them.

    What is another file by then is in line again; here it is read whenever a test does so.
    """
    left = in_hand(desk) - len(images)
    for image in images:
        desk.recorder.put(image)
    wait_until(lambda: is_done(desk, left=left))
    while desk.backlog.counters().queued and (again := desk.backlog.take()):
        desk.backlog.drop(again)


def in_hand(desk: Desk) -> int:
    counters = desk.backlog.counters()
    return counters.waiting - counters.queued - counters.postponed


def is_done(desk: Desk, *, left: int = 0) -> bool:
    is_visible = desk.recorder.visible == desk.recorder.newest
    return is_visible and in_hand(desk) <= left


def digests_on_record(desk: Desk) -> list[bytes]:
    with closing(JournalReader(desk.store.path)) as reader:
        return [row.digest or b"" for row in reader.since(0)]


def is_kept(desk: Desk, path: Path) -> bool:
    with closing(KeptReader(desk.store.path)) as kept:
        known = kept.at(str(path))
        if known is None or known.untouched(path.stat()):
            return known is not None
        return known.may_have_its_time_set(path.stat()) and known.digest == digest_of(path.read_bytes())


def lies_where_it_belongs(desk: Desk, after: After, name: str, content: bytes) -> bool:
    place = {"move": desk.root / "processed", "delete": None, "keep": desk.inbox}[after]
    is_there = place is None or (place / name).read_bytes() == content
    return is_there and (after == "keep" or not any(desk.inbox.iterdir()))


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("is_dated", [False, True])
@pytest.mark.parametrize("way", ["at once", "one after the other", "its new name first", "killed", "stopped"])
def test_an_image_that_is_renamed_once_it_is_whole_has_one_record(
    tmp_path: Path, after: After, way: str, *, is_dated: bool
) -> None:
    """It had two, by both names: 44 of 60 by ProFTPD; 12 of 25 where its time is set as well (MFMT)."""
    desk = Desk(tmp_path, after=after)
    first = upload(desk, "tmp.jpg", b"image")
    if way == "killed":  # before it was found gone
        desk.store.add([row_of(first, encode(first.record))])
    path = rename(desk, "tmp.jpg", "1.jpg")
    if is_dated:
        os.utime(path, WHOLE_SECOND)
    if way == "stopped":
        with desk.running():
            record(desk, first)
    if way in {"killed", "stopped"}:
        desk.close()
        desk = Desk(tmp_path, after=after)
        desk.recorder.recover([desk.folder])
    if way == "at once":
        desk.recorder.put(first)
        desk.recorder.put(read(desk, path))
    with desk.running():
        if way == "one after the other":
            record(desk, first)
        if way != "at once":
            record(desk, read(desk, path))
        if way == "its new name first":
            record(desk, first)
        wait_until(lambda: is_done(desk))
    assert len(desk.lines()) == len(digests_on_record(desk)) == 1
    assert lies_where_it_belongs(desk, after, "1.jpg", b"image")
    desk.close()


@pytest.mark.parametrize("after", ["move", "delete"])
@pytest.mark.parametrize("is_another", [False, True])
def test_what_waits_to_be_filed_has_one_record_though_its_time_is_set_before_a_start(
    tmp_path: Path, after: After, *, is_another: bool
) -> None:
    """As where `processed` is full while FTP uploads and sets the time (MFMT): it had two."""
    with closing(Desk(tmp_path, after=after)) as desk:
        image = upload(desk, "1.jpg", b"image")
        desk.store.add([row_of(image, encode(image.record))])
        path = desk.inbox / "1.jpg"
        if is_another:
            path.write_bytes(b"other")
        os.utime(path, WHOLE_SECOND)
    with begun_anew(tmp_path, after) as desk:
        wait_until(lambda: is_done(desk))
        if path.exists():
            record(desk, read(desk, path))
        assert desk.lines() == ["1.jpg"] * (2 if is_another else 1)
        assert lies_where_it_belongs(desk, after, "1.jpg", b"other" if is_another else b"image")


@pytest.mark.parametrize("ok", [True, False])
def test_an_image_that_is_renamed_as_it_is_copied_to_another_disk_is_not_taken_for_filed(
    tmp_path: Path, *, ok: bool
) -> None:
    """It had two records: 8 of 40 of 6 MB, where `processed` was on another disk."""
    shelf = Shelf(tmp_path)
    path = shelf.put("tmp.jpg")
    new = path.with_name("1.jpg")

    def rename_once() -> None:
        if path.exists():
            path.rename(new)

    with small_disk(shelf.processed) as processed, small_disk(shelf.failed) as failed:
        copying = Copying(gets_on=rename_once)
        filing = msgspec.structs.replace(shelf.filing("tmp.jpg", ok=ok), copying=copying)
        assert file_away(filing) == "gone"
        assert not [*processed.iterdir(), *failed.iterdir()]
        assert new.read_bytes() == b"image"


def test_a_kept_image_is_known_by_its_new_name_as_well(tmp_path: Path) -> None:
    with begun_anew(tmp_path, "keep") as desk:
        record(desk, upload(desk, "tmp.jpg", b"image"))
        path = rename(desk, "tmp.jpg", "1.jpg")
        record(desk, read(desk, path))
        assert desk.lines() == ["tmp.jpg"]
        wait_until(lambda: is_kept(desk, path))


def test_a_kept_image_is_known_by_its_new_name_and_time_where_no_time_of_change_is_kept(
    tmp_path: Path,
) -> None:
    """On exFAT by FUSE it had two records where it was read by both names: 3 of 21."""
    with begun_anew(tmp_path, "keep") as desk:
        first = upload(desk, "tmp.jpg", b"image")
        record(desk, msgspec.structs.replace(first, stat=without_time_of_change(first.stat)))
        path = rename(desk, "tmp.jpg", "1.jpg")
        os.utime(path, WHOLE_SECOND)
        again = read(desk, path)
        record(desk, msgspec.structs.replace(again, stat=without_time_of_change(again.stat)))
        assert desk.lines() == ["tmp.jpg"]


@pytest.mark.parametrize("way", ["written over", "deleted"])
def test_the_same_picture_written_anew_into_the_inode_of_one_that_is_kept_has_a_record_of_its_own(
    tmp_path: Path, way: str
) -> None:
    """As of who tries it with one photo, or a camera that shows the same: of five, one was recorded."""
    with closing(Desk(tmp_path, after="keep")) as desk, desk.running():
        for number in range(3):
            record(desk, upload(desk, f"{number}.jpg", b"image"))
            path = desk.inbox / f"{number}.jpg"
            if way == "deleted":  # its inode is the next one's, on ext4
                path.unlink()
            elif number < 2:
                path.write_bytes(b"image")
                record(desk, read(desk, path.rename(desk.inbox / f"{number}b.jpg")))
        assert len(digests_on_record(desk)) == (3 if way == "deleted" else 5)


@pytest.mark.parametrize("after", AFTER)
def test_a_name_that_is_used_again_and_again_for_images_that_are_renamed_costs_none_of_them(
    tmp_path: Path, after: After
) -> None:
    """All of one size, and within one whole second: inodes are used again as well."""
    with begun_anew(tmp_path, after) as desk:
        for number in range(9):
            first = upload(desk, "tmp.jpg", b"image %d" % number, times=WHOLE_SECOND)
            path = rename(desk, "tmp.jpg", f"{number}.jpg")
            images = [first, read(desk, path)]
            record(desk, *(images if number % 2 else reversed(images)))
        assert digests_on_record(desk) == [digest_of(b"image %d" % number) for number in range(9)]


def of_inode(inode: int, path: Path, content: bytes) -> Path:
    """Have one of a file that is gone, and of that time."""
    for _ in range(999):
        with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(content)
        if (made := Path(file.name)).stat().st_ino == inode:
            os.utime(made, WHOLE_SECOND)
            return made.rename(path)
    pytest.skip("this file system gives no inode to another file so soon")


def test_an_image_that_was_read_by_its_former_name_has_one_record_though_another_has_its_inode_by_then(
    tmp_path: Path,
) -> None:
    """All of one size and whole second, and what was read first is the last to be recorded."""
    with begun_anew(tmp_path, "delete") as desk:
        first = upload(desk, "tmp.jpg", b"image 1", times=WHOLE_SECOND)
        record(desk, read(desk, rename(desk, "tmp.jpg", "1.jpg")))
        path = of_inode(first.stat.st_ino, desk.inbox / "2.jpg", b"image 2")
        record(desk, read(desk, path))
        record(desk, first)
        assert digests_on_record(desk) == [digest_of(b"image 1"), digest_of(b"image 2")]


@pytest.mark.parametrize("after", ["move", "delete"])
@pytest.mark.parametrize("starts_anew", [False, True])
def test_the_same_file_dropped_again_under_another_name_is_a_record_of_its_own(
    tmp_path: Path, after: After, *, starts_anew: bool
) -> None:
    """Even by the inode, which is free once the first is deleted or moved to another disk."""
    desk = Desk(tmp_path, after=after)
    with desk.running():
        record(desk, upload(desk, "a.jpg", b"image", times=WHOLE_SECOND))
        if not starts_anew:
            record(desk, upload(desk, "b.jpg", b"image", times=WHOLE_SECOND))
    desk.close()
    if starts_anew:
        with begun_anew(tmp_path, after) as desk:
            record(desk, upload(desk, "b.jpg", b"image", times=WHOLE_SECOND))
    assert desk.lines() == ["a.jpg", "b.jpg"]


def test_an_image_that_is_brought_back_is_a_record_of_its_own_without_a_time_of_change(
    tmp_path: Path,
) -> None:
    """On sshfs, and on exFAT by FUSE, a file that was filed and renamed has the times that it had."""
    with begun_anew(tmp_path, "move") as desk:
        first = upload(desk, "a.jpg", b"image")
        record(desk, first)
        path = (tmp_path / "processed" / "a.jpg").rename(desk.inbox / "b.jpg")
        record(desk, msgspec.structs.replace(read(desk, path), stat=first.stat))
        assert desk.lines() == ["a.jpg", "b.jpg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("before", ["move", "keep"])
def test_after_a_start_too_only_what_was_filed_and_brought_back_is_recorded_without_a_time_of_change(
    tmp_path: Path, before: Literal["move", "keep"]
) -> None:
    """By the same name: on sshfs, and on exFAT by FUSE, it had no record, and was filed once more."""
    with begun_anew(tmp_path, before) as desk:
        (desk.inbox / "share").mkdir()
        first = upload(desk, "a.jpg", b"image")
        record(desk, first)
    with OneFileShare(desk.inbox / "share", "x.txt", b"text", reads=9), begun_anew(tmp_path, "move") as desk:
        if before == "move":
            (tmp_path / "processed" / "a.jpg").rename(desk.inbox / "a.jpg")
        again = read(desk, desk.inbox / "a.jpg")
        record(desk, msgspec.structs.replace(again, stat=first.stat))
        assert desk.lines() == ["a.jpg"] * (2 if before == "move" else 1)
        assert (tmp_path / "processed" / "a.jpg").read_bytes() == b"image"


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg"])
def test_an_image_that_is_brought_back_after_a_kill_is_a_record_of_its_own(tmp_path: Path, name: str) -> None:
    """The kill came before the journal knew it as filed: by its new name it had none."""
    with closing(Desk(tmp_path)) as desk:
        first = upload(desk, "a.jpg", b"image")
        desk.store.add([row_of(first, encode(first.record))])
        (tmp_path / "processed").mkdir(exist_ok=True)
        (desk.inbox / "a.jpg").rename(tmp_path / "processed" / "a.jpg")
    with begun_anew(tmp_path, "move") as desk:
        path = (tmp_path / "processed" / "a.jpg").rename(desk.inbox / name)
        record(desk, read(desk, path))
        assert desk.lines() == ["a.jpg", name]


def test_an_image_that_is_renamed_to_the_name_of_another_before_a_kill_has_one_record(tmp_path: Path) -> None:
    """Of one size and whole second, it was taken for that, found to be another, and recorded anew."""
    with closing(Desk(tmp_path)) as desk:
        images = [upload(desk, name, name.encode(), times=WHOLE_SECOND) for name in ("a.jpg", "b.jpg")]
        desk.store.add([row_of(image, encode(image.record)) for image in images])
        (desk.inbox / "b.jpg").rename(tmp_path / "b.jpg")
        path = rename(desk, "a.jpg", "b.jpg")
    with begun_anew(tmp_path, "move") as desk:
        record(desk, read(desk, path))
        assert desk.lines() == ["a.jpg", "b.jpg"]
        assert (tmp_path / "processed" / "b.jpg").read_bytes() == b"a.jpg"


@pytest.mark.parametrize("after", AFTER)
def test_an_image_that_was_renamed_before_a_start_has_one_record_though_one_just_like_it_was_filed(
    tmp_path: Path, after: After
) -> None:
    """What had been filed by its former name, of one size and whole second, was taken for it."""
    with begun_anew(tmp_path, after) as desk:
        record(desk, upload(desk, "tmp.jpg", b"first", times=WHOLE_SECOND))
        again = upload(desk, "tmp.jpg", b"again", times=WHOLE_SECOND)
        path = rename(desk, "tmp.jpg", "1.jpg")
        record(desk, again)
    with begun_anew(tmp_path, after) as desk:
        record(desk, read(desk, path))
        assert desk.lines() == ["tmp.jpg", "tmp.jpg"]
        assert lies_where_it_belongs(desk, after, "1.jpg", b"again")


@pytest.mark.parametrize("after", ["move", "delete"])
def test_an_image_that_is_renamed_again_and_again_has_one_record(tmp_path: Path, after: After) -> None:
    """Read by each of its names, and recorded by the last before the one in between."""
    with begun_anew(tmp_path, after) as desk:
        first = upload(desk, "tmp.jpg", b"image")
        second = read(desk, rename(desk, "tmp.jpg", "tmp2.jpg"))
        third = read(desk, rename(desk, "tmp2.jpg", "1.jpg"))
        for image in (first, third, second):
            record(desk, image)
        assert desk.lines() == ["tmp.jpg"]
        assert lies_where_it_belongs(desk, after, "1.jpg", b"image")


@pytest.mark.parametrize("after", AFTER)
def test_a_hard_link_or_a_copy_is_an_image_of_its_own(tmp_path: Path, after: After) -> None:
    with begun_anew(tmp_path, after) as desk:
        first = upload(desk, "a.jpg", b"image")
        (desk.inbox / "b.jpg").hardlink_to(desk.inbox / "a.jpg")
        shutil.copy2(desk.inbox / "a.jpg", desk.inbox / "c.jpg")
        record(desk, first, read(desk, desk.inbox / "b.jpg"), read(desk, desk.inbox / "c.jpg"))
        assert desk.lines() == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("after", ["move", "delete"])
@pytest.mark.parametrize("is_near", [False, True])
def test_what_is_sent_again_is_an_image_of_its_own_though_a_kill_hid_that_the_first_was_filed(
    tmp_path: Path, after: After, *, is_near: bool
) -> None:
    """It was taken for a copy of what still waits to be filed, by its path, time and content."""
    with closing(Desk(tmp_path, after=after)) as desk, desk.running():
        record(desk, upload(desk, "a.jpg", b"image", times=WHOLE_SECOND))
    with closing(sqlite3.connect(desk.store.path)) as db, db:
        db.executescript("UPDATE record SET filed = 0; DELETE FROM shelf")
    (desk.inbox / "other.txt").touch()
    slow = None if is_near else SlowInboxes(Path("/proc"))
    with closing(Desk(tmp_path, after=after, slow=slow)) as desk:
        desk.recorder.recover([desk.folder])
        with desk.running():
            wait_until(lambda: is_done(desk))
            record(desk, upload(desk, "a.jpg", b"image", times=WHOLE_SECOND))
        assert desk.lines() == ["a.jpg", "a.jpg"]


def copy_cut(source: Path, target: Path, grain_ns: int) -> None:
    """As tar does, or a disk that keeps no finer times."""
    shutil.copytree(source, target)
    for path in filter(Path.is_file, target.rglob("*")):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - stat.st_mtime_ns % grain_ns))


@pytest.mark.parametrize("grain_ns", [10**7, 10**9, 2 * 10**9])
@pytest.mark.parametrize("starts_without", [0, 1])
@pytest.mark.parametrize("is_back", [False, True])
def test_what_waits_to_be_filed_has_one_record_where_all_is_copied_to_where_times_are_cut(
    tmp_path: Path, grain_ns: int, starts_without: int, *, is_back: bool
) -> None:
    """As to a larger disk of FAT or by tar, once `processed` was full, or there and back."""
    desk = Desk(tmp_path / "small")
    images = [upload(desk, name, name.encode()) for name in ("a.jpg", "b.jpg")]
    desk.store.add([row_of(image, encode(image.record)) for image in images])
    desk.close()
    copy_cut(tmp_path / "small", tmp_path / "large", grain_ns)
    root = tmp_path / "large"
    if is_back:
        shutil.rmtree(tmp_path / "small")
        root = root.rename(tmp_path / "small")
    for _ in range(starts_without):
        with closing(Desk(root)) as desk:
            desk.recorder.recover([])
    desk = Desk(root)
    stat = (desk.inbox / "b.jpg").stat()
    (desk.inbox / "b.jpg").write_bytes(b"c.jpg")
    os.utime(desk.inbox / "b.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    desk.recorder.recover([desk.folder])
    with desk.running():
        record(desk, *[read(desk, desk.inbox / name) for name in ("a.jpg", "b.jpg")])
    assert desk.lines() == ["a.jpg", "b.jpg", "b.jpg"]  # in whose place another picture was put
    assert sorted(path.name for path in (root / "processed").iterdir()) == ["a.jpg", "b.jpg"]
    desk.close()


def test_what_waits_to_be_filed_has_one_record_where_all_is_copied_to_a_machine_of_another_name(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path / "old")
    image = upload(desk, "a.jpg", b"a")
    desk.store.add([row_of(image, encode(image.record))])
    desk.close()
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    desk = Desk(tmp_path / "new")
    desk.recorder.recover([desk.folder])
    with desk.running():
        again = read(desk, desk.inbox / "a.jpg")
        its_record = msgspec.structs.replace(again.record, id="0" * 32)
        record(desk, msgspec.structs.replace(again, record=its_record))
    assert desk.lines() == ["a.jpg"]
    assert (tmp_path / "new" / "processed" / "a.jpg").exists()
    desk.close()


class Uploads(RuleBasedStateMachine):
    """A camera's names, over and over: written, renamed, read at any instant, with starts in between."""

    after: After = "move"

    def __init__(self) -> None:
        super().__init__()
        self._root = TemporaryDirectory()
        self._count = 0
        self._read: list[Finished] = []
        self._begin()

    def _begin(self) -> None:
        self._desk = Desk(Path(self._root.name), after=self.after)
        self._desk.recorder.recover([self._desk.folder])
        self._running = self._desk.running()
        self._running.__enter__()

    def _end(self) -> None:
        self._running.__exit__(None, None, None)
        self._desk.close()
        self._read = []

    def _names(self) -> list[str]:
        return sorted(path.name for path in self._desk.inbox.iterdir())

    def _take(self, name: str) -> None:
        path = self._desk.inbox / name
        if str(path) not in [image.path for image in self._read]:
            self._read.append(read(self._desk, path))

    @precondition(lambda self: "tmp.jpg" not in self._names())
    @rule(is_coarse=st.booleans(), is_read=st.booleans())
    def upload(self, *, is_coarse: bool, is_read: bool) -> None:
        self._count += 1
        path = self._desk.inbox / "tmp.jpg"
        path.write_bytes(b"image %3d" % self._count)
        if is_coarse:
            os.utime(path, WHOLE_SECOND)
        if is_read:
            self._take("tmp.jpg")

    @precondition(lambda self: "tmp.jpg" in self._names())
    @rule(is_read=st.booleans())
    def rename(self, *, is_read: bool) -> None:
        name = f"{self._count}.jpg"
        rename(self._desk, "tmp.jpg", name)
        if is_read:
            self._take(name)

    @precondition(lambda self: f"{self._count}.jpg" in self._names())
    @rule(is_read=st.booleans())
    def date(self, *, is_read: bool) -> None:
        name = f"{self._count}.jpg"
        os.utime(self._desk.inbox / name, (1_600_000_000, 1_600_000_000))
        if is_read and not is_kept(self._desk, self._desk.inbox / name):
            self._take(name)

    @precondition(lambda self: self._read)
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        image = data.draw(st.sampled_from(self._read))
        self._read.remove(image)
        record(self._desk, image)

    @rule()
    def start_anew(self) -> None:
        self._end()
        self._begin()

    def teardown(self) -> None:
        while self._read:
            record(self._desk, self._read.pop())
        for name in self._names():
            if not is_kept(self._desk, self._desk.inbox / name):
                record(self._desk, read(self._desk, self._desk.inbox / name))
        found = sorted(digests_on_record(self._desk))
        self._end()
        self._root.cleanup()
        assert found == sorted(digest_of(b"image %3d" % (number + 1)) for number in range(self._count))


class Deletions(Uploads):
    after = "delete"


class Keeping(Uploads):
    after = "keep"


@pytest.mark.parametrize("uploads", [Uploads, Deletions, Keeping])
def test_whatever_a_camera_renames_and_whenever_it_is_read_has_one_record(uploads: type[Uploads]) -> None:
    bounds = settings(max_examples=25, stateful_step_count=15, deadline=None)
    run_state_machine_as_test(uploads, settings=bounds)
