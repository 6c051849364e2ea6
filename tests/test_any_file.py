"""A file of any name, time, mode, size, kind, depth and content: one record, or a named reason for none."""

import itertools
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hostile
from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.config import Watch
from dropsight.intake.folder import DEEPEST, DropFolder
from dropsight.names import as_text

PHOTO = PHOTOS[0].read_bytes()
NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}
)
SUFFIXES = st.sampled_from([b".jpg", b".JPG", b".png", b".webp", b".tiff", b".part", b""])
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.integers(0, len(PHOTO)).map(lambda size: PHOTO[:size]),
    st.deferred(
        lambda: st.sampled_from(
            [PHOTO, *(content for _, content, _ in hostile.contents() if len(content) < 100_000)]
        )
    ),
)
KINDS = st.sampled_from(
    [
        *(["file"] * 12),
        *("sparse", "hard link", "link", "link to nothing", "link to itself", "fifo", "socket", "folder"),
    ]
)


@dataclass(frozen=True)
class Drop:
    """`time` is in seconds, as far as the file system takes it."""

    name: bytes
    content: bytes
    kind: str
    mode: int
    time: int
    depth: int

    def make(self, folder: Path) -> Path:
        """Make it in this folder and return where it is."""
        path = folder / os.fsdecode(self.name)
        match self.kind:
            case "file" | "hard link":
                path.write_bytes(self.content)
            case "sparse":
                path.touch()
                os.truncate(path, 2**33)
            case "link":
                path.symlink_to(PHOTOS[0])
            case "link to nothing":
                path.symlink_to(folder / "nothing")
            case "link to itself":
                path.symlink_to(path.name)
            case "fifo":
                os.mkfifo(path)
            case "socket":
                _bind(path)
            case _:
                path.mkdir()
        if self.kind == "hard link":
            os.link(path, folder.parent / "second name")
        if not path.is_symlink():
            path.chmod(self.mode)
            os.utime(path, (self.time, self.time))
        return path


def _bind(path: Path) -> None:
    """By its folder's descriptor: addresses are short."""
    here = os.open(path.parent, os.O_PATH)
    made = path.with_name("s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/s")
    os.close(here)
    made.rename(path)


DROPS = st.builds(
    Drop,
    name=st.builds(lambda name, suffix: name[: 255 - len(suffix)] + suffix, NAMES, SUFFIXES),
    content=CONTENTS,
    kind=KINDS,
    mode=st.sampled_from([0o000, 0o200, 0o444, 0o644, 0o755, 0o4777]),
    time=st.one_of(st.integers(-(2**33), 2**34), st.sampled_from([0, 1, 10**9])),
    depth=st.one_of(st.integers(0, 3), st.sampled_from([DEEPEST - 1, DEEPEST])),
)


class Records:
    """What the log says, by the folder of the drop; read on from where it was left."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.found: dict[str, list[dict[str, Any]]] = {}
        self._read = 0

    def of(self, camera: str) -> list[dict[str, Any]]:
        records = self._house.records()
        for record in records[self._read :]:
            self.found.setdefault(record["image_path"].partition("/")[0], []).append(record)
        self._read = len(records)
        return self.found.get(camera, [])


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a file of mode 000 is read by root only")
def test_any_file_gets_exactly_one_record_or_a_named_reason_and_the_daemon_goes_on(tmp_path: Path) -> None:
    numbers = itertools.count()
    with running(tmp_path, watch=[{"path": "inbox", "settle_seconds": 0.1}]) as house:
        folder = DropFolder.open(Watch(path=house.inbox))
        records = Records(house)
        expected: dict[str, int] = {}

        @settings(
            max_examples=200,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(DROPS)
        def drop(what: Drop) -> None:
            camera = f"e{next(numbers)}"
            outside = tmp_path / "outside" / camera
            deepest = outside.joinpath(camera, *["d"] * what.depth)
            deepest.mkdir(parents=True)
            relative = what.make(deepest).relative_to(outside)
            # A link that leads to itself leads back into the inbox, as a camera's newest picture does.
            taken = what.kind not in {"folder", "link to itself"}
            wanted = taken and folder.wants(f"{house.inbox}/{relative}")
            (outside / camera).rename(house.inbox / camera)
            expected[camera] = int(wanted)
            if wanted:
                wait_until(lambda: bool(records.of(camera)), what=str(what))
                assert records.of(camera)[0]["image_path"] == as_text(relative)
            elif what.depth + (what.kind == "folder") >= DEEPEST:
                house.ask("rescan")
                wait_until(lambda: camera in house.status()["troubles"].get("depth", ""))
                shutil.rmtree(house.inbox / camera)

        drop()
        assert house.answers()
        shutil.copyfile(PHOTOS[0], house.inbox / "last.jpg")
        wait_until(lambda: bool(records.of("last.jpg")))
        wait_until(lambda: not house.counters()["waiting"])
        assert house.stop() == 0
        records.of("")
    found = {camera: len(records.found.get(camera, [])) for camera in expected}
    assert found == expected
    assert "Traceback" not in house.daemon_log()
    assert sum(expected.values()) > len(expected) // 3
