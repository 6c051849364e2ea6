"""Files of a source that would end its job at each run, keep it busy, or be passed by without a word."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archives import by_name, run
from daemons import PHOTOS
from dropsight.archive import fetching
from dropsight.archive.fetching import contents, digest_of_clip
from dropsight.archive.manifest import Named
from dropsight.errors import ImageError
from dropsight.images.opening import Bounds

pytestmark = pytest.mark.timeout(120)
CLIP = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"


def content(path: str) -> bytes | None:
    return contents(Named(path, path, None, None), bounds=Bounds(), is_wanted=bool)


def test_a_clip_of_terabytes_of_holes_costs_a_row_and_no_hours(tmp_path: Path) -> None:
    """Its digest was taken of all of it, at each run anew, and no bound of time held there."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    (tmp_path / "cards" / "clip.mp4").write_bytes(CLIP)
    os.truncate(tmp_path / "cards" / "clip.mp4", 2**42)
    run(tmp_path / "cards", tmp_path / "out")
    rows = by_name(tmp_path / "out")
    assert (rows["photo.jpg"]["status"], rows["clip.mp4"]["error_code"]) == ("ok", "too_large")


def test_a_clip_that_is_exchanged_for_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Between the look at its first bytes and its digest."""
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(ImageError, match="a named pipe"):
        digest_of_clip(str(tmp_path / "clip.mp4"), most_bytes=2**20)


@contextmanager
def leased(file: Path) -> Iterator[None]:
    """Hold a lease of it, as any owner may: who opens it has to wait, or is sent away."""
    former = signal.signal(signal.SIGIO, lambda *_: None)  # whoever opens it is told by it
    held = os.open(file, os.O_RDWR)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    except BlockingIOError:
        pytest.skip("this file system knows no leases")
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, former)


def test_a_file_that_its_owner_holds_a_lease_of_costs_its_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the job, in a line that named no file, and each further run as well."""
    monkeypatch.setattr(fetching, "_AGAIN_SECONDS", (0.0,))
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    with leased(tmp_path / "photo.jpg"), pytest.raises(ImageError, match="cannot be read"):
        content(str(tmp_path / "photo.jpg"))
    assert content(str(tmp_path / "photo.jpg")) == PHOTOS[0].read_bytes()
