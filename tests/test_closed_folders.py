"""A folder in the inbox that is closed to the daemon: it says which and the way out, and all else goes on."""

import contextlib
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from disks import may_not_read
from dropsight.errors import DropsightError
from dropsight.files.reserve import Reserve
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import digest_of
from dropsight.intake.closed_folders import FolderError, Refusals, remedy
from dropsight.intake.in_hand import FILING, InHand
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal import filer as filer_module
from dropsight.journal.copying import Copying, LeftToBeReadError
from dropsight.journal.durability import Durability, Syncing
from dropsight.journal.filer import Filer
from dropsight.journal.filing import MOST_COMPARED_BYTES, Filing, file_away
from dropsight.journal.filing_recorded import RecordedFiling
from dropsight.journal.filing_threads import FilingThreads
from dropsight.journal.recording import Finished, Recorded, durable
from dropsight.names import as_shown
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles
from records import result
from test_filing import Shelf
from webs import ANY_PORT, address, ask

OTHERS = 12_345
# The user root without a right to what others own, as dropsight is on the machines that it is installed on.
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner,-chown")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")


@contextmanager
def house_of_somebody(root: Path) -> Iterator[House]:
    house = House(root, {"web": ANY_PORT})
    house.under = UNPRIVILEGED
    house.start()
    try:
        yield house
    finally:
        house.kill()


def move_in(house: House, name: str, *, mode: int, images: int = 1, data: bytes | None = None) -> Path:
    """As somebody else does who has made the folder elsewhere; old enough to be complete."""
    outside = house.root / "outside" / name
    outside.mkdir(parents=True)
    for number in range(images):
        path = outside / f"{number}.jpg"
        path.write_bytes(data if data is not None else PHOTOS[0].read_bytes())
        os.utime(path, (1, 1))
        os.chown(path, OTHERS, OTHERS)
    os.chown(outside, OTHERS, OTHERS)
    outside.chmod(mode)
    return Path(shutil.move(outside, house.inbox / name))


@contextmanager
def immutable(folder: Path) -> Iterator[None]:
    """Closed to everybody, root included."""
    if subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable folders")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(folder)], check=True)


def in_doubt(
    shelf: Shelf, name: str, *, size: int, read: list[int], here: bool = True, seconds: float = 1.0
) -> Filing:
    """An image of whose time only the second is known, to be filed; `read` grows with each piece of it."""
    path = shelf.put(name, b"0" * size)
    os.utime(path, (seconds, seconds))
    copying = Copying(here=here, gets_on=lambda: read.append(1))
    return msgspec.structs.replace(shelf.filing(name), digest=digest_of(b"0" * size), copying=copying)


def test_in_a_folder_that_is_closed_no_image_is_read_to_know_it_again(tmp_path: Path) -> None:
    """Each was, at each try and at the start, while nobody's records were made (97 s for those of others)."""
    shelf, read = Shelf(tmp_path), list[int]()
    filing = in_doubt(shelf, "cam/x.jpg", size=8 * 2**20, read=read)
    with immutable(shelf.inbox / "cam"), pytest.raises(FolderError):
        file_away(filing)
    assert not read
    assert file_away(filing)
    assert read


@pytest.mark.parametrize("seconds", [1.0, 1.125])
@pytest.mark.parametrize("is_dated", [False, True])
def test_what_was_written_over_in_a_folder_that_is_closed_is_looked_at_all_the_same(
    tmp_path: Path, *, seconds: float, is_dated: bool
) -> None:
    """It was never recorded where it had the size of the one before, or its time as well."""
    shelf = Shelf(tmp_path)
    filing = in_doubt(shelf, "cam/x.jpg", size=9, read=[], seconds=seconds)
    filing = msgspec.structs.replace(filing, renewed=True)
    path = shelf.put("cam/x.jpg", b"1" * 9)
    if is_dated:
        os.utime(path, (seconds, seconds))
    with immutable(shelf.inbox / "cam"):
        assert file_away(filing) == "changed"


def test_a_large_image_is_read_by_a_thread_of_its_inbox_to_know_it_again(tmp_path: Path) -> None:
    shelf, read = Shelf(tmp_path), list[int]()
    with pytest.raises(LeftToBeReadError):
        file_away(in_doubt(shelf, "large.jpg", size=MOST_COMPARED_BYTES + 1, read=read, here=False))
    assert not read
    assert file_away(in_doubt(shelf, "small.jpg", size=MOST_COMPARED_BYTES, read=read, here=False))


def test_a_small_one_that_waits_is_read_by_that_thread_too_as_it_is_tried_again_and_again(
    tmp_path: Path,
) -> None:
    """Others' records came 10 s late, 35 at most, with 3,000 of two names each before a full `processed`."""
    shelf, read = Shelf(tmp_path), list[int]()
    filing = in_doubt(shelf, "small.jpg", size=9, read=read, here=False)
    with pytest.raises(LeftToBeReadError):
        file_away(msgspec.structs.replace(filing, is_again=True))
    assert not read


def test_what_was_opened_for_writing_in_a_closed_folder_and_left_as_it_was_is_read_once(
    tmp_path: Path,
) -> None:
    shelf, backlog, read = Shelf(tmp_path), Backlog(), list[int]()
    entry = arrived(shelf, backlog, 0)
    candidate = entry.finished.candidate
    candidate.digest = digest_of(b"image")
    backlog.set_aside(candidate)
    filing = RecordedFiling(Troubles(logging.getLogger()), max_copy_bytes=10**6)
    with immutable(shelf.inbox / "trip"):
        for times_read in (1, 2):
            backlog.hint(shelf.folder, candidate.path, closed=True)
            assert isinstance(filing.without_copying(entry), LeftToBeReadError)
            for _ in range(2):
                assert isinstance(filing.whole(entry, lambda: read.append(1)), FolderError)
            assert len(read) == times_read


def arrived(shelf: Shelf, backlog: Backlog, number: int) -> Recorded:
    path = shelf.put(f"trip/{number}.jpg")
    backlog.hint(shelf.folder, str(path), closed=True)
    candidate = backlog.take()
    assert candidate
    return durable(number, Finished(candidate, path.stat(), result(f"trip/{number}.jpg", path.stat())), b"{}")


def not_durable(state: Path) -> Durability:
    return Durability(Syncing(Troubles(logging.getLogger()), images=False), SlowInboxes(), state)


def filer_of(root: Path, backlog: Backlog, durability: Durability, hand: InHand) -> Filer:
    (root / "state").mkdir()
    troubles = Troubles(logging.getLogger())
    filing = RecordedFiling(troubles, max_copy_bytes=10**6)
    threads = FilingThreads(
        filing,
        Syncing(troubles, images=False),
        Supervision(troubles),
        heartbeats=Heartbeats(),
        reserve=Reserve(),
        nudge=lambda: None,
    )
    return Filer(
        backlog,
        troubles,
        Refusals(root / "state", troubles),
        durability,
        filing,
        threads,
        in_hand=hand,
        heartbeats=Heartbeats(),
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def is_watched(house: House, folder: Path) -> bool:
    assert house.process
    found = ""
    for file in Path(f"/proc/{house.process.pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += file.read_text()
    return f"ino:{folder.stat().st_ino:x} " in found


def told(house: House) -> str:
    return str(house.status()["troubles"].get("folders", ""))


def do_as_told(house: House) -> None:
    _, _, way_out = told(house).partition(": sudo ")
    subprocess.run(["/bin/sh", "-c", way_out], check=True)


@pytest.mark.slow
def test_a_folder_that_was_moved_in_is_named_with_the_way_out_and_stops_nothing_else(tmp_path: Path) -> None:
    with house_of_somebody(tmp_path) as house:
        folder = move_in(house, "a trip", mode=0o755)
        wait_until(lambda: bool(told(house)))
        assert told(house) == str(FolderError(str(folder)))
        assert told(house).startswith(f"{folder} is not accessible to root: look at it first; ")
        assert told(house).endswith(f" - '{folder}' root")
        assert [record["camera"] for record in house.records()] == ["a trip"]
        assert (house.root / "state" / "closed-folders").read_text() == f"{folder}\n"
        ready = ask(address(house), "/readyz")
        assert (ready.status, ready.json()["reasons"]) == (200, [])
        shutil.copyfile(PHOTOS[0], house.inbox / "other.jpg")
        wait_until((house.processed / "other.jpg").exists)
        do_as_told(house)
        wait_until((house.processed / "a trip" / "0.jpg").exists)
        wait_until(lambda: not told(house))
        assert len(house.records()) == 2


@pytest.mark.parametrize("mode", [0o700, 0o744], ids=["not listed", "listed but not gone into"])
def test_a_folder_that_cannot_even_be_looked_into_is_named_too_and_watched_once_it_can(
    tmp_path: Path, mode: int
) -> None:
    with house_of_somebody(tmp_path) as house:
        folder = move_in(house, "secret", mode=mode)
        house.ask("rescan")
        wait_until(lambda: f"{folder} is not accessible to root" in told(house))
        do_as_told(house)
        house.ask("rescan")
        wait_until((house.processed / "secret" / "0.jpg").exists)
        wait_until(lambda: not told(house))
        assert is_watched(house, folder)


@pytest.mark.slow
def test_more_images_than_the_backlog_holds_may_wait_in_a_closed_folder(tmp_path: Path) -> None:
    with house_of_somebody(tmp_path) as house:
        images = Backlog().capacity + 50
        move_in(house, "many", mode=0o755, images=images, data=b"no picture")
        wait_until(lambda: len(house.records()) == images)
        shutil.copyfile(PHOTOS[0], house.inbox / "other.jpg")
        wait_until((house.processed / "other.jpg").exists)
        do_as_told(house)
        house.until(lambda: not house.waiting())
        wait_until(lambda: house.counters()["waiting"] == 0)
        assert len(house.records()) == images + 1


@pytest.mark.slow
def test_after_a_restart_what_waits_in_a_closed_folder_still_does_and_is_not_classified_again(
    tmp_path: Path,
) -> None:
    with house_of_somebody(tmp_path) as house:
        folder = move_in(house, "trip", mode=0o755)
        wait_until(lambda: bool(told(house)))
        assert house.stop() == 0
        house.start()
        wait_until(lambda: str(folder) in told(house))
        do_as_told(house)
        wait_until((house.processed / "trip" / "0.jpg").exists)
        assert len(house.records()) == 1


def test_of_too_many_in_a_closed_folder_the_rest_is_left_alone_until_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be filed away is held in memory, and a folder may hold a million."""
    monkeypatch.setattr(filer_module, "MOST", 2)
    shelf, backlog, durability = Shelf(tmp_path), Backlog(), not_durable(tmp_path)
    filer = filer_of(tmp_path, backlog, durability, InHand(tmp_path / "in-hand"))
    entries = [arrived(shelf, backlog, number) for number in range(3)]
    another = str(shelf.inbox / "trip" / "another.jpg")
    filer.file(entries[:1])
    assert durability.filed == [0]
    with immutable(shelf.inbox / "trip"):
        filer.file(entries[1:2])
        assert not filer.refuses(shelf.folder, another)
        filer.file(entries[2:])
        assert filer.refuses(shelf.folder, another)
        assert not filer.refuses(shelf.folder, str(_made(shelf.inbox / "other") / "another.jpg"))
        # What waits for the folder is nobody's work: silence of cameras is judged, and others have the room.
        assert (backlog.counters().waiting, backlog.counters().in_hand) == (2, 0)
    filer.try_again(at_once=True)
    assert durability.filed == [0, 1, 2]
    assert not filer.refuses(shelf.folder, another)
    assert backlog.counters().waiting == 0


@pytest.mark.parametrize("written", [b"other", b"another size"])
def test_a_picture_that_is_written_over_one_in_a_closed_folder_waits_for_no_try_to_file_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes
) -> None:
    """The next one, by the same name, came before the try, and it was never recorded (4 of 6)."""
    monkeypatch.setattr(filer_module, "LONGEST_PAUSE_SECONDS", 3_600.0)
    monkeypatch.setattr(filer_module, "FIRST_PAUSE_SECONDS", 3_600.0)
    shelf, backlog = Shelf(tmp_path), Backlog()
    filer = filer_of(tmp_path, backlog, not_durable(tmp_path), InHand(tmp_path / "in-hand"))
    first, other = (arrived(shelf, backlog, number) for number in range(2))
    first.finished.candidate.digest = digest_of(b"image")
    with immutable(shelf.inbox / "trip"):
        filer.file([first, other])
        filer.try_again()
        Path(first.finished.path).write_bytes(written)
        backlog.hint(shelf.folder, first.finished.path, closed=True)

        def is_in_line() -> bool:
            filer.try_again()
            return backlog.counters().queued == 1

        wait_until(is_in_line)
        again = backlog.take()
        assert again
        assert again.path == first.finished.path
        assert backlog.counters().waiting == 2  # the other one still does


def test_what_ended_two_processes_while_it_was_filed_is_filed_in_a_life_that_has_lasted(
    tmp_path: Path,
) -> None:
    """It may have been somebody else who ended them; a third death on it is the last."""
    shelf, backlog, durability = Shelf(tmp_path), Backlog(), not_durable(tmp_path)
    entry = arrived(shelf, backlog, 0)
    for _ in range(2):  # the process ends with it in hand
        InHand(tmp_path / "in-hand").note(FILING, entry.finished.path, "file")
    hand = InHand(tmp_path / "in-hand")
    filer = filer_of(tmp_path, backlog, durability, hand)
    filer.file([entry])
    filer.try_again(at_once=True)
    assert durability.filed == []
    hand.settle(lasted=True)
    filer.try_again(at_once=True)
    assert durability.filed == [0]
    assert hand.suspect(entry.finished.path) is None


def test_a_folder_that_one_thread_sees_opened_while_another_still_tells_of_it_is_no_trouble(
    tmp_path: Path,
) -> None:
    class Telling(Troubles):
        def raised(self, part: str, error: DropsightError) -> None:
            opened.start()
            opened.join(0.2)  # it may get as far as it can
            super().raised(part, error)

    troubles = Telling(logging.getLogger())
    refusals = Refusals(tmp_path, troubles)
    opened = threading.Thread(target=lambda: refusals.found("filing", []))
    refusals.found("filing", [str(tmp_path)])
    opened.join()
    assert not troubles.any()


@pytest.mark.parametrize(
    "name", ["a trip", "it's $(touch made) `touch made` ; & \\", "-R", "\x1b[2J\n\t\udcff\u202e"]
)
def test_the_way_out_opens_the_folder_of_whatever_name_and_stands_in_one_line(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    inner = folder / "sub" / "x.jpg"
    inner.parent.mkdir(parents=True)
    inner.touch()
    for path, mode in ((inner, 0o600), (inner.parent, 0o700), (folder, 0o1700)):
        path.chmod(mode)
        os.chown(path, OTHERS, OTHERS)
    text = str(FolderError(str(folder)))
    assert text == as_shown(text)
    subprocess.run(["bash", "-c", text.partition(": sudo ")[2]], check=True, cwd=tmp_path)
    assert [mode_and_group(path) for path in (folder, inner.parent, inner)] == [
        ("0o770", 0),
        ("0o770", 0),
        ("0o660", 0),
    ]
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - names


def mode_and_group(path: Path) -> tuple[str, int]:
    stat = path.stat()
    return oct(stat.st_mode & 0o7777), stat.st_gid


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_way_out_leads_through_no_link_that_stands_there_when_it_is_typed(
    tmp_path: Path, shell: str
) -> None:
    if not shutil.which(shell.split(maxsplit=1)[0]):
        pytest.skip(f"needs {shell}")
    outside = tmp_path / "outside" / "sub"
    outside.mkdir(parents=True)
    (tmp_path / "link").symlink_to(outside.parent)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "inner").symlink_to(outside.parent)
    for path in (outside, outside.parent):
        os.chown(path, OTHERS, OTHERS)
        path.chmod(0o700)

    def open_up(path: Path) -> int:
        way_out = remedy(str(path), "root").replace("sudo sh", shell)
        return subprocess.run([shell, "-c", way_out], check=False).returncode

    assert open_up(tmp_path / "link") != 0
    assert open_up(tmp_path / "link" / "sub") != 0
    assert open_up(tmp_path / "inbox") == 0
    assert [mode_and_group(path) for path in (outside, outside.parent)] == [("0o700", OTHERS)] * 2


@pytest.mark.slow
def test_an_image_that_a_share_refuses_at_reading_waits_for_the_right(tmp_path: Path) -> None:
    """NFS asks for it, or for a ticket, once a file is open: a good image failed for good."""
    house = House(tmp_path, {})
    image = house.inbox / "x.jpg"
    image.write_bytes(PHOTOS[0].read_bytes().ljust(77_776, b"\0"))
    assert image.stat().st_size == 77_776
    house.under = may_not_read(77_777)
    try:
        house.start()
        wait_until(lambda: "folders" in house.status()["troubles"])
        assert house.records() == []
        assert house.stop() == 0
        house.under = ()
        house.start()
        wait_until(lambda: [record["status"] for record in house.records()] == ["ok"])
        assert house.stop() == 0
    finally:
        house.kill()
