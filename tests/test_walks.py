"""Walks of an inbox in which somebody exchanges folders for links: nothing of what they lead to is named."""

import ctypes
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from dropsight.config import Watch
from dropsight.files import beneath
from dropsight.files.beneath import Top
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.watcher import Watcher
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.ignored import Tally
from test_closed_folders import UNPRIVILEGED
from webs import ANY_PORT, address, ask

# In the name of everything outside, and of nothing else.
OUTSIDE = "not-to-be-named"
_EXCHANGE = 2
_HERE = -100


def exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        raise OSError(ctypes.get_errno(), "cannot be exchanged", str(one))


class Trap:
    """A camera's folder in an inbox, and a link that comes into its place and leads outside."""

    def __init__(self, root: Path) -> None:
        self.inbox, self.link, outside = root / "inbox", root / "link", root / OUTSIDE
        self.camera = self.inbox / "cam"
        for folder in (self.camera / "sub", outside / "sub" / OUTSIDE, outside / OUTSIDE):
            folder.mkdir(parents=True)
        for folder in (outside, outside / "sub"):
            shutil.copy(PHOTOS[0], folder / f"{OUTSIDE}.jpg")
            (folder / f"x.{OUTSIDE[:9]}").touch()
            (folder / f"{OUTSIDE}-closed").mkdir(mode=0)
        self.link.symlink_to(outside)
        self.outside = outside

    def snap(self) -> None:
        exchange(self.camera, self.link)

    @contextmanager
    def snapping(self) -> Iterator[None]:
        """As fast as can be, without an end."""
        over = threading.Event()

        def snap() -> None:
            while not over.is_set():
                self.snap()

        thread = threading.Thread(target=snap)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def real(self) -> Path:
        return self.link if self.camera.is_symlink() else self.camera


@pytest.fixture(params=["openat2", "name by name"])
def trap(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """With the kernel's own way, and with that of kernels and filters that do not know it."""
    if request.param == "name by name":
        monkeypatch.setattr(beneath, "_OPENAT2", 100_000)  # no such call
    return Trap(tmp_path)


@pytest.mark.parametrize("at", ["inbox", "cam", "sub"])
def test_a_walk_sees_nothing_behind_a_link_that_comes_into_a_folder_s_place_meanwhile(
    trap: Trap, at: str
) -> None:
    folder, told, tally = DropFolder.open(Watch(path=trap.inbox)), list[str](), Tally()

    def hear(path: str, _: int | OSError) -> None:
        told.append(path)
        if path.endswith(at):
            trap.snap()

    found = [path for path, _ in folder.entries(told=hear, tally=tally)]
    assert trap.camera.is_symlink()
    assert (found, tally.ignored().files, tally.ignored().folders) == ([], {}, {})
    assert not [path for path in told if OUTSIDE in path]


def test_what_a_walk_finds_is_looked_at_in_the_folder_that_it_has_opened(trap: Trap) -> None:
    shutil.copy(PHOTOS[1], trap.camera / f"{OUTSIDE}.jpg")
    folder = DropFolder.open(Watch(path=trap.inbox))
    inode = (trap.camera / f"{OUTSIDE}.jpg").stat().st_ino
    seen = []
    for _, entry in folder.entries():
        trap.snap()
        seen.append(entry.stat(follow_symlinks=False).st_ino)
    assert seen == [inode]


def test_no_folder_is_listed_through_a_link(trap: Trap) -> None:
    inbox = Top.at(trap.inbox)
    with inbox.listed("cam") as entries:
        assert [entry.name for entry in entries] == ["sub"]
    trap.snap()
    for inner in ("cam", "cam/sub"):
        with pytest.raises(NotADirectoryError), inbox.listed(inner):
            pass


@pytest.mark.parametrize("moves", ["before", "after"])
def test_the_kernel_s_word_is_asked_for_of_the_folder_that_was_opened_alone(trap: Trap, moves: str) -> None:
    folder = DropFolder.open(Watch(path=trap.inbox, observer="inotify"))

    class Nobody:
        def rescan(self) -> None: ...
        def look_into(self, folder: DropFolder, path: str) -> None: ...

    watcher = Watcher(folder, Backlog(), Nobody(), Heartbeats())
    watcher.renew()
    inner, others = trap.camera / "sub", trap.outside / "sub"
    fd = os.open(inner, os.O_RDONLY)
    try:
        mine = inner.stat().st_ino
        if moves == "before":
            trap.snap()
        watcher.hear(str(inner), fd)
        watched = {word for file in Path("/proc/self/fdinfo").iterdir() for word in words_of(file)}
        assert f"ino:{others.stat().st_ino:x}" not in watched
        assert (f"ino:{mine:x}" in watched) == (moves == "after")
    finally:
        os.close(fd)
        watcher.stop()


def words_of(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except FileNotFoundError:  # of the listing itself
        return []


@pytest.mark.slow
@pytest.mark.parametrize("observer", ["polling", "inotify"])
def test_nothing_outside_is_named_while_somebody_exchanges_a_folder_for_a_link_and_back(
    tmp_path: Path, observer: str
) -> None:
    trap = Trap(tmp_path)
    for number in range(40):  # which a walk looks into meanwhile
        (trap.inbox / f"cam{number}" / "sub").mkdir(parents=True)
    watch = {"path": "inbox", "observer": observer, "poll_seconds": 0.1}
    house = House(tmp_path, {"watch": [watch], "web": ANY_PORT})
    house.under = UNPRIVILEGED if os.geteuid() == 0 else ()
    try:
        house.start()
        with trap.snapping():
            for number in range(25):
                look(house, number)
        if not trap.camera.is_symlink():
            trap.snap()
        look(house, 25)
        said = [house.daemon_log(), str(house.status()), ask(address(house), "/metrics").body.decode()]
        assert house.stop() == 0
    finally:
        house.kill()
    said += [str(house.records()), str(sorted(house.processed.rglob("*")))]
    kept = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not [text for text in said if OUTSIDE in text]
    assert not [data for data in kept if OUTSIDE.encode() in data]
    assert len(house.records()) == 26


def look(house: House, number: int) -> None:
    """Have it walk, and take an image meanwhile."""
    house.ask("rescan")
    shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
    wait_until(lambda: len(house.records()) > number)
