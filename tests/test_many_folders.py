"""Any number of folders with long names: what is remembered of them has a bound, and each image is found."""

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Queue

import pytest
from watchdog.events import FileSystemEvent
from watchdog.observers.api import ObservedWatch

from dropsight.config import Watch
from dropsight.files import beneath, descent
from dropsight.files.beneath import Listing
from dropsight.intake import folder as folder_module
from dropsight.intake import hints, lineup, walker
from dropsight.intake import watcher as watching
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.hints import Emitter, event_of
from dropsight.intake.inotify import CLOSE_WRITE
from dropsight.intake.lineup import FirstInLine
from dropsight.status.heartbeats import Heartbeats
from test_many_waiting import Inbox

MIB = 2**20
MANY = 3_000


class Nobody:
    def rescan(self) -> None: ...
    def look_into(self, folder: DropFolder, path: str) -> None: ...


def deep(root: Path) -> str:
    """Return the path of a folder that is 2,000 letters long; it is made."""
    here, above = os.open(root, os.O_RDONLY), str(root)
    for number in range(8):
        name = f"{number}".ljust(250, "d")
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, above = below, f"{above}/{name}"
    os.close(here)
    return above


def fill(folder: str, count: int) -> None:
    """Make folders of long names, the last one with an image."""
    for number in range(count):
        Path(folder, f"{number:06}".ljust(200, "f")).mkdir()
    Path(folder, f"{count - 1:06}".ljust(200, "f"), "a.jpg").touch()


def peak(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_walk_keeps_no_paths_of_the_folders_that_wait(tmp_path: Path) -> None:
    """The kernel ended the daemon over 110,000 folders, at each start anew: no inbox was read any more."""
    fill(deep(tmp_path), MANY)
    folder = DropFolder.open(Watch(path=tmp_path))
    found: list[str] = []
    assert peak(lambda: found.extend(folder.images())) < 2 * MIB  # the paths alone are 7
    assert [Path(path).name for path in found] == ["a.jpg"]


def test_folders_that_are_not_remembered_are_walked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "MOST_NAMES", 3)
    monkeypatch.setattr(descent, "LEAST_NAMES", 2)
    expected = set()
    for camera in range(12):
        for day in range(7):
            place = tmp_path / f"cam{camera}" / f"{day}"
            place.mkdir(parents=True)
            (place / "a.jpg").touch()
            expected.add(str(place / "a.jpg"))
        (tmp_path / f"cam{camera}" / "b.jpg").touch()
        expected.add(str(tmp_path / f"cam{camera}" / "b.jpg"))
    found = list(DropFolder.open(Watch(path=tmp_path)).images())
    assert len(found) == len(expected)
    assert set(found) == expected


def test_cameras_are_named_one_by_one(tmp_path: Path) -> None:
    for number in range(MANY):
        (tmp_path / f"{number:05}".ljust(200, "c")).mkdir()
        if number < 40:
            (tmp_path / f"2026-11-{number:02}" / f"dated{number}").mkdir(parents=True)
    folder, names = DropFolder.open(Watch(path=tmp_path)), 0

    def count() -> None:
        nonlocal names
        names = sum(1 for _ in folder.cameras())

    assert peak(count) < 2 * MIB
    dated = {name for name in folder.cameras() if name.startswith("dated")}
    assert "dated7" in dated
    assert names >= MANY


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[watching.Watcher]:
    folder = DropFolder.open(Watch(path=tmp_path, observer="inotify"))
    made = watching.Watcher(folder, Backlog(), Nobody(), Heartbeats())
    made.renew()
    yield made
    made.stop()


def hear_all(watcher: watching.Watcher, paths: list[Path]) -> None:
    watcher.renew()
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            watcher.hear(str(path), fd)
        finally:
            os.close(fd)


def test_paths_of_watched_folders_have_a_bound_which_is_told_of(
    tmp_path: Path, watcher: watching.Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_BYTES", 2**16)
    paths = [tmp_path / f"{number:03}".ljust(200, "f") for number in range(300)]
    for path in paths:
        path.mkdir()
    hear_all(watcher, paths)
    told = watcher.fault()
    assert told
    assert "further ones looked into once a minute" in told
    known = int(told.split()[0])
    assert 50 < known < 200
    hear_all(watcher, paths)
    assert watcher.fault() == told
    for path in paths[:200]:
        path.rmdir()
        watcher.missed(str(path), FileNotFoundError(errno.ENOENT, "gone"))
    hear_all(watcher, paths[200:])
    assert watcher.fault() is None


def test_folders_that_are_closed_have_the_same_bound(
    tmp_path: Path, watcher: watching.Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_BYTES", 2**16)
    for number in range(1_000):
        watcher.missed(f"{tmp_path}/{number:04}", PermissionError(errno.EACCES, "closed"))
    assert 50 < len(watcher.unheard()) < 300


def test_a_walk_names_so_many_closed_folders_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walker, "MOST_FOLDERS", 5)
    inbox = Inbox(tmp_path, 0, at_file=lambda _: None)
    for number in range(9):
        (tmp_path / f"cam{number}").mkdir()

    def listed(path: str) -> AbstractContextManager[tuple[int, Listing]]:
        if path != str(tmp_path):  # root, as whom tests may run, looks into any
            raise PermissionError(errno.EACCES, "closed")
        return beneath.listed(path)

    monkeypatch.setattr(folder_module, "listed", listed)
    assert len(inbox.scanner.walk(inbox.folder)) == 5


def test_of_longer_paths_fewer_are_first_in_line_and_others_are_left_for_the_next_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lineup, "MOST_BYTES", 1_000)
    choice: FirstInLine[str] = FirstInLine("oldest", limit=50, camera_of=lambda _: "cam", bytes_of=len)
    for age in range(99, -1, -1):
        choice.add(float(age), "p" * 100)
    assert [since for since, _ in choice.take(50)] == [float(age) for age in range(10)]
    assert choice.left_out


def test_of_longer_paths_fewer_events_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "MOST_EVENT_BYTES", 10_000)
    waiting: Queue[object] = Queue()
    failed: list[bool] = []

    def listen(tell: Callable[[FileSystemEvent], None]) -> None:
        for _ in range(50):
            tell(event_of("/in/".ljust(1_000, "p"), CLOSE_WRITE))

    Emitter(
        waiting,  # type: ignore[arg-type] # as watchdog's own
        ObservedWatch("/in", recursive=True),
        timeout=1.0,
        event_filter=None,
        wake=-1,
        listen=listen,
        failed=lambda: failed.append(True),
    ).run()
    assert waiting.qsize() == 10
    assert len(failed) == 40
