"""A clip of the sample photos, written by a process of its own: OpenCV says much on stderr meanwhile.

python -P -m dropsight.demo.clip FOLDER
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from dropsight import children
from dropsight.images.framing import Pixels, resize

HEIGHT, WIDTH, RATE = 240, 320, 4
NAME = "garden"
# What browsers play comes first; the last is OpenCV's own.
_KINDS = ((".webm", "VP80"), (".mp4", "mp4v"), (".avi", "MJPG"))


class ClipMaker:
    """Makes the clip in a folder, while photos are dropped; `with` ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            children.command("dropsight.demo.clip", str(folder)),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def is_done(self) -> bool:
        return self._process.poll() is not None

    def clip(self) -> Path | None:
        """Return what was made; None where OpenCV can write none here."""
        return next(iter(self._folder.glob(f"{NAME}.*")), None) if self._process.wait() == 0 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def pictures() -> Iterator[Pixels]:
    """Yield a camera's slow pan over a palace, across which a panda comes for two seconds of nine, BGR."""
    palace, panda = (_sample(name) for name in ("china.jpg", "panda.jpg"))
    for number in range(9 * RATE):
        if 4 * RATE <= number < 6 * RATE:
            yield resize(panda, height=HEIGHT, width=WIDTH)
        else:
            left = 2 * number
            yield resize(palace[:, left : left + palace.shape[0] * 4 // 3], height=HEIGHT, width=WIDTH)


def write(folder: Path) -> bool:
    """Write the clip in the first format that there is; whether there is one."""
    for suffix, codec in _KINDS:
        target = folder / f"{NAME}{suffix}"
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*codec), RATE, (WIDTH, HEIGHT))
        if writer.isOpened():
            for picture in pictures():
                writer.write(picture)
            writer.release()
            if target.stat().st_size:
                return True
        target.unlink(missing_ok=True)
    return False


def _sample(name: str) -> Pixels:
    data = (resources.files("dropsight") / "samples" / name).read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


if __name__ == "__main__":
    sys.exit(not write(Path(sys.argv[1])))
