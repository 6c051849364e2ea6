"""Whatever becomes of folders and disks, the daemon hears of what comes, or looks for itself and says so."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.config import Watch
from dropsight.files.filesystems import mounts_about
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.watcher import Watcher
from dropsight.status.heartbeats import Heartbeats
from test_closed_folders import UNPRIVILEGED, move_in

# Well below the minute in which walks find everything anyway.
SOON = 30.0
# Where others mount as well, the kernel is long in giving the same number again.
LONG = 240.0
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextmanager
def running_with(root: Path, limit: str, number: int) -> Iterator[House]:
    """With so many inotify instances or watches, in a namespace of its own."""
    house = House(root, {})
    script = f'echo {number} > /proc/sys/user/{limit}; exec "$@"'
    house.under = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    if subprocess.run([*house.under, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    house.start()
    try:
        yield house
    finally:
        house.kill()


def mount(place: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")


def unmount(place: Path) -> None:
    """As before one takes a disk away: what is in use does not go, as for a moment what was filed."""
    wait_until(lambda: not subprocess.run(["umount", place], capture_output=True, check=False).returncode)


@pytest.fixture
def inbox_of_a_disk(tmp_path: Path) -> Iterator[Path]:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    mount(inbox)
    yield inbox
    while os.path.ismount(inbox):
        subprocess.run(["umount", "--lazy", inbox], check=True)


def drop(folder: Path, number: int = 0) -> Path:
    return Path(shutil.copy(PHOTOS[number], folder))


def trouble(house: House, part: str) -> str:
    return str(house.status()["troubles"].get(part, ""))


def is_taken(image: Path) -> None:
    """An image that nobody moves away but the daemon."""
    wait_until(lambda: not image.exists(), seconds=SOON, what=f"{image} is taken")


@pytest.mark.slow
def test_without_an_inotify_instance_folders_are_looked_at_and_the_sysctl_is_named(tmp_path: Path) -> None:
    with running_with(tmp_path, "max_inotify_instances", 0) as house:
        wait_until(lambda: "fs.inotify.max_user_instances=" in trouble(house, "watch"))
        is_taken(drop(house.inbox))


@pytest.mark.slow
def test_folders_beyond_the_last_inotify_watch_are_looked_at_and_counted(tmp_path: Path) -> None:
    folders = [tmp_path / "inbox" / str(number) for number in range(12)]
    for folder in folders:
        folder.mkdir(parents=True)
    with running_with(tmp_path, "max_inotify_watches", 6) as house:
        wait_until(lambda: "7 of 13 folders" in trouble(house, "watch"))
        assert "sudo sysctl fs.inotify.max_user_watches=" in trouble(house, "watch")
        for image in [drop(folder) for folder in folders]:
            is_taken(image)
        for folder in folders[6:]:
            shutil.rmtree(folder)
        for folder in folders[:6]:
            shutil.rmtree(folder)
        wait_until(lambda: not trouble(house, "watch"), seconds=SOON)


@pytest.mark.slow
@AS_ROOT
def test_a_folder_that_is_opened_to_us_later_is_heard_from_then_on(tmp_path: Path) -> None:
    """An FTP server with the umask 077."""
    house = House(tmp_path, {})
    house.under = UNPRIVILEGED
    house.start()
    try:
        folder = move_in(house, "front", mode=0o700)
        wait_until(lambda: f"{folder} is not accessible to root" in trouble(house, "folders"), seconds=SOON)
        folder.chmod(0o777)
        is_taken(folder / "0.jpg")
        wait_until(lambda: not trouble(house, "folders"), seconds=SOON)
    finally:
        house.kill()


@pytest.mark.slow
def test_folders_that_go_and_come_back_are_heard_of(tmp_path: Path) -> None:
    with running(tmp_path, stats={"interval_seconds": 3600}) as house:
        folder, aside = house.inbox / "front", tmp_path / "aside"
        (folder / "deep").mkdir(parents=True)
        is_taken(drop(folder / "deep"))
        folder.rename(aside)
        drop(aside / "deep", 1)
        aside.rename(folder)
        is_taken(folder / "deep" / PHOTOS[1].name)
        is_taken(drop(folder / "deep", 2))
        folder.rename(house.inbox / "back")
        is_taken(drop(house.inbox / "back" / "deep"))
        assert house.records()[-1]["camera"] == "back"
        shutil.rmtree(house.inbox)
        wait_until(lambda: "is not readable, waiting for it" in trouble(house, "inbox"), seconds=SOON)
        house.inbox.mkdir()
        is_taken(drop(house.inbox))
        wait_until(lambda: not trouble(house, "inbox"), seconds=SOON)
        (other := tmp_path / "other").mkdir()
        house.inbox.rename(tmp_path / "old")
        other.rename(house.inbox)
        is_taken(drop(house.inbox, 1))


@pytest.mark.slow
def test_a_watch_path_that_is_a_link_is_heard_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("inbox")
    (tmp_path / "inbox" / "old").mkdir(parents=True)
    with running(tmp_path, watch=[{"path": "link"}]) as house:
        (house.inbox / "new").mkdir()
        for folder in (house.inbox, house.inbox / "old", house.inbox / "new"):
            is_taken(drop(folder))
            is_taken(drop(folder, 1))


@pytest.mark.slow
def test_an_inbox_s_disk_can_be_unmounted_and_is_heard_of_once_it_is_back(
    tmp_path: Path, inbox_of_a_disk: Path
) -> None:
    with running(tmp_path) as house:
        is_taken(drop(house.inbox))
        unmount(inbox_of_a_disk)
        is_taken(drop(house.inbox))  # into the folder below
        mount(inbox_of_a_disk)
        is_taken(drop(house.inbox))
        (other := tmp_path / "other").mkdir()
        second = House(other, {"watch": [{"path": str(house.inbox)}]})
        second.spawn()
        try:
            wait_until(lambda: "is already watched by another dropsight" in second.daemon_log())
        finally:
            second.kill()


def test_a_disk_that_is_mounted_on_a_camera_s_folder_is_noticed_with_what_is_on_it(tmp_path: Path) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "inbox" / "front"
    disk.mkdir()
    folder.mkdir(parents=True)
    with running(tmp_path):
        is_taken(drop(folder))
        mount(disk)
        try:
            drop(disk, 1)
            subprocess.run(["mount", "--bind", disk, folder], check=True)
            is_taken(folder / PHOTOS[1].name)
            is_taken(drop(folder))
            unmount(folder)
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


class Rescans:
    """Who walks; what is heard of a folder that has moved waits until it may go on."""

    def __init__(self) -> None:
        self.calls, self.waits, self.goes_on = 0, threading.Event(), threading.Event()

    def rescan(self) -> None:
        self.calls += 1

    def look_into(self, folder: DropFolder, path: str) -> None:  # noqa: ARG002 - as those who walk
        self.waits.set()
        self.goes_on.wait(LONG)


@AS_ROOT
@pytest.mark.parametrize("is_late", [False, True])
def test_a_disk_in_place_of_another_is_told_of_though_a_walk_found_neither_of_them(
    tmp_path: Path, *, is_late: bool
) -> None:
    """The kernel gave it the other's number: what was heard of was the folder below, and nothing of it."""
    inbox, rescans = tmp_path / "inbox", Rescans()
    (inbox / "cam").mkdir(parents=True)
    watcher = Watcher(DropFolder.open(Watch(path=inbox)), Backlog(), rescans, Heartbeats())
    below = os.open(inbox, os.O_RDONLY)
    try:
        watcher.renew()
        hears(watcher, inbox, inbox / "cam")
        mount(inbox)
        number = mounts_about(str(inbox))
        wait_until(lambda: rescans.calls == 1)
        os.rename("cam", "moved", src_dir_fd=below, dst_dir_fd=below)
        assert rescans.waits.wait(SOON)
        for step in (watcher.renew, partial(unmount, inbox))[:: 1 if is_late else -1]:
            step()
        hears(watcher, inbox)
        mount_with(number, inbox)
        rescans.goes_on.set()
        wait_until(lambda: rescans.calls == 2, seconds=SOON)
    finally:
        rescans.goes_on.set()
        watcher.stop()
        os.close(below)
        subprocess.run(["umount", "--lazy", inbox], check=False)


def mount_with(number: frozenset[bytes], place: Path) -> None:
    """The kernel takes back an unmounted one's number by and by."""

    def is_mounted() -> bool:
        mount(place)
        if mounts_about(str(place)) != number:
            unmount(place)
        return os.path.ismount(place)

    wait_until(is_mounted, seconds=LONG)


def hears(watcher: Watcher, *folders: Path) -> None:
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY)
        watcher.hear(str(folder), fd)
        os.close(fd)
