"""What lies below a watched folder: a share, on which events of others are not heard, is told from a disk."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropsight.files.filesystems import file_systems

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount file systems, which go at the end."""
    places: list[Path] = []

    def mounted(place: Path, *what: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        command = ["mount", *(what or ("-t", "ramfs", "ramfs")), str(place)]
        if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("mounting needs root")
        places.append(place)

    yield mounted
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_mount_point_with_a_space_and_a_backslash_is_found(tmp_path: Path, mount: Mount) -> None:
    place = tmp_path / "the \\040 share"
    mount(place)
    assert file_systems(str(place)) == {"ramfs"}
    (place / "inbox").mkdir()
    assert file_systems(str(place / "inbox")) == {"ramfs"}


def test_of_mounts_on_one_point_the_last_counts(tmp_path: Path, mount: Mount) -> None:
    mount(tmp_path / "inbox", "-t", "tmpfs", "tmpfs")
    mount(tmp_path / "inbox")
    assert file_systems(str(tmp_path / "inbox")) == {"ramfs"}


def test_a_mount_that_a_later_one_hides_does_not_count(tmp_path: Path, mount: Mount) -> None:
    mount(tmp_path / "disk" / "inbox", "-t", "tmpfs", "tmpfs")
    mount(tmp_path / "disk")
    (tmp_path / "disk" / "inbox").mkdir()
    assert file_systems(str(tmp_path / "disk" / "inbox")) == {"ramfs"}


def test_a_camera_whose_folder_is_mounted_below_counts(tmp_path: Path, mount: Mount) -> None:
    mount(tmp_path / "in box" / "front")
    assert "ramfs" in file_systems(str(tmp_path / "in box"))
    assert "ramfs" not in file_systems(str(tmp_path / "in"))


def test_a_folder_that_is_away_is_on_no_file_system(tmp_path: Path) -> None:
    assert file_systems(str(tmp_path / "away")) == set()
