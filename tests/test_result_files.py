"""Where results are written that is no file: devices, pipes and streams stay what they are."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from daemons import PHOTOS, dropsight_in_here
from dropsight.files.disk import put_at
from dropsight.inference.result_files import is_stream, whole
from dropsight.inference.results import BatchResults

NOTHING = BatchResults(
    total_images=0,
    total_time_ms=0,
    avg_time_per_image_ms=0,
    model_path="m",
    model_format="tflite",
    tta_enabled=False,
    results=(),
)


def read_of_pipe(pipe: Path, write: Callable[[], object]) -> bytes:
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write()
    reader.join(60)
    return found[0]


def test_results_go_into_a_pipe_and_no_file_takes_its_place(tmp_path: Path) -> None:
    """As root, `batch -o /dev/null` left a file in that place, for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    batch = ("batch", str(PHOTOS[0]), "-o", "pipe")
    assert b'"total_images": 1' in read_of_pipe(pipe, lambda: dropsight_in_here(*batch, cwd=tmp_path))
    assert b'"total_images": 0' in read_of_pipe(pipe, lambda: NOTHING.write(pipe))
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_sidecar_or_config_takes_no_pipe_s_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file"):
        put_at(tmp_path / "pipe", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_what_the_machine_has_is_written_to_as_it_is_and_a_link_to_a_file_gives_way(tmp_path: Path) -> None:
    assert is_stream(Path("/dev/null"))
    assert is_stream(Path("/dev/fd/1"))
    assert not is_stream(tmp_path / "new.json")
    (tmp_path / "other").write_text("mine")
    (tmp_path / "link.json").symlink_to(tmp_path / "other")
    with whole(tmp_path / "link.json") as file:
        file.write(b"results")
    assert (tmp_path / "other").read_text() == "mine"
    assert (tmp_path / "link.json").read_bytes() == b"results"
