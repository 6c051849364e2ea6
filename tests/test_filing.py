"""Filing away what is awkward: long names, things that are no files, two file systems, rights and races."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from disks import small_disk
from dropsight.config import Watch
from dropsight.errors import StoreError
from dropsight.files.original import FiledAt, Original, identity, settle_private
from dropsight.intake.folder import DropFolder
from dropsight.journal.filing import Filing, PlaceError, file_away, put_as
from dropsight.journal.left_behind import clear_up
from records import failure, result


class Shelf:
    """A watched folder and where its images go."""

    def __init__(self, root: Path) -> None:
        self.inbox, self.processed, self.failed = root / "inbox", root / "processed", root / "failed"
        for folder in (self.inbox, self.processed, self.failed):
            folder.mkdir(exist_ok=True)
        self.folder = DropFolder.open(
            Watch(path=self.inbox, processed=self.processed, failed=self.failed, patterns=("*",))
        )

    def filing(self, name: str, *, ok: bool = True) -> Filing:
        path = self.inbox / name
        stat = path.lstat()
        record = result(name, stat) if ok else failure(name, stat)
        return Filing(self.folder, str(path), identity(stat), record, b'{"id":"x"}')

    def original(self, name: str) -> Original:
        """As it is now, whatever becomes of it."""
        fd = os.open(self.inbox, os.O_PATH)
        return Original(fd, name, (self.inbox / name).lstat(), "1" * 32, str(self.inbox))

    def put(self, name: str, data: bytes = b"image") -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def replace(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    other.rename(path)


LONGEST = "x" * 251 + ".jpg"


def test_a_failed_image_with_the_longest_of_names_lies_beside_its_reason(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(LONGEST)
    file_away(shelf.filing(LONGEST, ok=False))
    image, reason = files(shelf.failed)
    assert image.suffix == ".jpg"
    assert reason.name == f"{image.name}.reason.json"
    assert files(shelf.inbox) == []


def test_a_second_image_with_the_longest_of_names_has_a_place_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for data in (b"first", b"second one"):
        shelf.put(LONGEST, data)
        file_away(shelf.filing(LONGEST))
    assert sorted(path.read_bytes() for path in files(shelf.processed)) == [b"first", b"second one"]


def test_the_longest_of_names_goes_to_another_file_system(tmp_path: Path) -> None:
    with small_disk(tmp_path / "processed"):
        shelf = Shelf(tmp_path)
        shelf.put(LONGEST)
        file_away(shelf.filing(LONGEST))
        assert [path.name for path in files(shelf.processed)] == [LONGEST]


def test_an_image_in_a_folder_whose_name_is_taken_by_a_file_lies_at_the_top(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("cam.jpg/a.jpg")
    (shelf.processed / "cam.jpg").write_bytes(b"an earlier image")
    file_away(shelf.filing("cam.jpg/a.jpg"))
    assert [path.name[:2] for path in files(shelf.processed)] == ["a.", "ca"]
    assert files(shelf.inbox) == []


def test_a_path_that_is_too_long_below_processed_lies_at_the_top(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    deep = "/".join(["d" * 200] * ((4090 - len(str(shelf.inbox))) // 201)) + "/a.jpg"
    room = 4095 - len(str(shelf.inbox)) - 1 - len(deep)
    name = "e" * (room - 1) + "/" + deep if room > 1 else deep
    folder = os.open(shelf.inbox, os.O_DIRECTORY)
    for part in name.split("/")[:-1]:
        os.mkdir(part, dir_fd=folder)
        inner = os.open(part, os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    file_away(shelf.filing(name))
    (filed,) = files(shelf.processed)
    assert filed.parent == shelf.processed


@pytest.mark.parametrize("place", ["failed", "elsewhere"])
def test_what_is_no_file_leaves_only_its_reason(tmp_path: Path, place: str) -> None:
    """A device has no end to copy; a pipe would block, a socket cannot be opened, a link leads elsewhere."""
    with small_disk(tmp_path / place):
        shelf = Shelf(tmp_path)
        os.mkfifo(shelf.inbox / "pipe.jpg")
        os.mknod(shelf.inbox / "zero.jpg", 0o600 | 0o020000, os.makedev(1, 5))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(shelf.inbox / "socket.jpg"))
        (shelf.inbox / "link.jpg").symlink_to("/dev/zero")
        names = ["link.jpg", "pipe.jpg", "socket.jpg", "zero.jpg"]
        for name in names:
            file_away(shelf.filing(name, ok=False))
            assert json.loads((shelf.failed / f"{name}.reason.json").read_text()) == {"id": "x"}
        assert list(shelf.inbox.iterdir()) == []
        assert [path.name for path in files(shelf.failed)] == [f"{name}.reason.json" for name in names]


def test_another_picture_of_the_same_size_and_time_is_no_copy_of_the_first(tmp_path: Path) -> None:
    """A camera on a FAT disk, whose clock ticks every two seconds, writes two in one."""
    with small_disk(tmp_path / "processed"):
        shelf = Shelf(tmp_path)
        for data in (b"first", b"other"):
            os.utime(shelf.put("a.jpg", data), (1000, 1000))
            file_away(shelf.filing("a.jpg"))
        assert sorted(path.read_bytes() for path in files(shelf.processed)) == [b"first", b"other"]


@pytest.mark.parametrize("exchange", [Path.write_bytes, replace])
def test_a_file_that_became_another_in_the_last_instant_goes_back(
    tmp_path: Path, exchange: Callable[[Path, bytes], object]
) -> None:
    """Written into, or another file of the same size and time under its name."""
    shelf = Shelf(tmp_path)
    path = shelf.put("a.jpg")
    original = shelf.original("a.jpg")
    exchange(path, b"other")
    os.utime(path, ns=(0, original.stat.st_mtime_ns + (exchange is Path.write_bytes)))
    place = os.open(shelf.processed, os.O_PATH)
    assert not original.move(place, "a.jpg")
    assert not original.delete()
    assert path.read_bytes() == b"other"
    assert files(tmp_path) == [path]


@pytest.mark.parametrize("way", ["moved", "deleted"])
@pytest.mark.parametrize("is_another", [False, True])
def test_a_file_whose_time_changes_in_the_last_instant_goes_if_it_has_the_content_that_was_read(
    tmp_path: Path, way: str, *, is_another: bool
) -> None:
    """As of FTP's MFMT, or on a share that told the time of the picture before (rclone)."""
    shelf = Shelf(tmp_path)
    path = shelf.put("a.jpg", b"image")
    place = os.open(shelf.processed, os.O_PATH)

    def has_content(fd: int, name: str) -> bool:
        return Path(f"/proc/self/fd/{fd}/{name}").read_bytes() == b"image"

    original = msgspec.structs.replace(shelf.original("a.jpg"), has_content=has_content)
    path.write_bytes(b"other" if is_another else b"image")
    os.utime(path, (1, 1))
    is_gone = original.move(place, "a.jpg") is not None if way == "moved" else original.delete()
    assert is_gone is not is_another
    assert path.exists() is is_another


def test_a_file_that_got_a_second_name_in_the_last_instant_is_copied_after_all(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    path = shelf.put("a.jpg")
    original = shelf.original("a.jpg")
    os.link(path, tmp_path / "mine.jpg")
    put_as(original, os.open(shelf.processed, os.O_PATH), "a.jpg", reason=None, part="part")
    (tmp_path / "mine.jpg").write_bytes(b"another picture")
    (filed,) = files(shelf.processed)
    assert filed.read_bytes() == b"image"
    assert files(shelf.inbox) == []


def test_a_file_that_goes_back_replaces_no_third(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    path = shelf.put("a.jpg")
    original = shelf.original("a.jpg")
    replace(path, b"second")
    path.rename(shelf.inbox / f".{original.record_id}.dropsight-part")
    shelf.put("a.jpg", b"third")
    settle_private(original.fd, "a.jpg", original.record_id, lambda _: False)
    assert sorted(path.read_bytes() for path in files(shelf.inbox)) == [b"second", b"third"]


def test_nothing_that_lies_in_processed_is_ever_replaced(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("a.jpg")
    original = shelf.original("a.jpg")
    (shelf.processed / "a.jpg").write_bytes(b"earlier")
    with pytest.raises(FileExistsError):
        original.move(os.open(shelf.processed, os.O_PATH), "a.jpg")
    assert (shelf.processed / "a.jpg").read_bytes() == b"earlier"


def test_a_reason_goes_again_where_the_file_changed_while_it_was_copied(tmp_path: Path) -> None:
    with small_disk(tmp_path / "failed"):
        shelf = Shelf(tmp_path)
        shelf.put("a.jpg")
        original = shelf.original("a.jpg")
        shelf.put("a.jpg", b"another picture")
        put_as(original, os.open(shelf.failed, os.O_PATH), "a.jpg", reason=b"{}", part="part")
        assert files(shelf.failed) == []
        assert files(shelf.inbox) == [shelf.inbox / "a.jpg"]


def test_a_reason_waits_for_no_image_that_has_no_room_beside_it(tmp_path: Path) -> None:
    """The image may be another by the time that there is room."""
    with small_disk(tmp_path / "failed"):
        shelf = Shelf(tmp_path)
        shelf.put("a.jpg", b"x" * 3_000_000)
        with pytest.raises(PlaceError):
            file_away(shelf.filing("a.jpg", ok=False))
        assert files(shelf.failed) == []


@pytest.mark.parametrize("ok", [True, False])
def test_what_a_cut_short_filing_left_goes_once_its_image_is_another(tmp_path: Path, ok: bool) -> None:  # noqa: FBT001
    shelf = Shelf(tmp_path)
    shelf.put("cam/a.jpg")
    record = shelf.filing("cam/a.jpg", ok=ok).record
    place = shelf.processed if ok else shelf.failed
    (place / "cam").mkdir()
    (place / "cam" / f"{record.id}.dropsight-part").write_bytes(b"half")
    (place / "cam" / "a.jpg.reason.json").write_bytes(b'{"id": "%b"}' % record.id.encode())
    (place / "cam" / "b.jpg.dropsight-part").write_bytes(b"a stranger's")
    clear_up(shelf.folder, str(shelf.inbox / "cam/a.jpg"), record, is_of=lambda _: True)
    left = {path.name for path in files(place)}
    assert left == {"b.jpg.dropsight-part"} | ({"a.jpg.reason.json"} if ok else set())


def test_a_reason_beside_its_image_or_of_another_record_is_left(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    texts = {"a.jpg": "{}", "b.jpg": '{"id": "1"}', "c.jpg": "no JSON"}
    texts |= {"d.jpg": '{"id":"\udcff"}', "e.jpg": "[" * 100_000, "f.jpg": '{"a":' * 100_000}
    for name, text in texts.items():
        shelf.put(name)
        record = shelf.filing(name, ok=False).record
        (shelf.failed / f"{name}.reason.json").write_bytes(os.fsencode(text))
        if name == "a.jpg":
            (shelf.failed / name).write_bytes(b"filed")
        clear_up(shelf.folder, str(shelf.inbox / name), record, is_of=lambda _: True)
    assert len(files(shelf.failed)) == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="making a file immutable needs root")
def test_an_image_that_cannot_be_moved_speaks_for_itself_only(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    path = shelf.put("a.jpg")
    if subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        with pytest.raises(StoreError, match=r"cannot store .*a\.jpg: Operation not permitted") as told:
            file_away(shelf.filing("a.jpg"))
        assert not isinstance(told.value, PlaceError)
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


@pytest.mark.parametrize(
    ("name", "ok", "taken", "lies_at"),
    [
        ("a.jpg", True, "", "processed/a.jpg"),
        ("cam/a.jpg", True, "", "processed/cam/a.jpg"),
        ("cam/a.jpg", False, "", "failed/cam/a.jpg"),
        ("cam/a.jpg", True, "processed/cam/a.jpg", "processed/cam/a.*.jpg"),
        ("cam/a.jpg", True, "processed/cam", "processed/a.*.jpg"),
    ],
)
def test_filing_tells_where_it_has_put_an_image(
    tmp_path: Path, *, name: str, ok: bool, taken: str, lies_at: str
) -> None:
    """What is filed is noted by this, and looked for nowhere else."""
    shelf = Shelf(tmp_path)
    shelf.put(name, b"this one")
    if taken:
        (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / taken).write_bytes(b"an earlier one")
    filing = shelf.filing(name, ok=ok)
    told = file_away(filing)
    assert isinstance(told, FiledAt)
    assert Path(told.path).match(lies_at)
    assert Path(told.path).read_bytes() == b"this one"
    assert file_away(filing) == "gone"
