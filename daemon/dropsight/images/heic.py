"""HEIC by pillow-heif, in a process of its own: its codec is large, and few pictures are of this format.

    python -P -m dropsight.images.heic MEMORY-BYTES < picture.heic

Pixels go out behind their height and width, or an exit code that says what failed.
"""

import contextlib
import os
import resource
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dropsight import installing
from dropsight.errors import ImageError, MachineError, MemoryShortError
from dropsight.images.framing import Pixels

SECONDS = 60.0
# The program itself, and what libheif holds of a pixel: planes, a tile's reference frames, RGB twice.
_OWN_BYTES, _A_PIXEL = 384 * 2**20, 24
_SIZE = struct.Struct("<II")
_DAMAGED, _SHORT = 3, 4


def decode_heic(data: bytes, *, pixels: int) -> Pixels:
    """Return upright RGB; `pixels` is how many the header says that there are.

    Raises ImageError, MachineError where no process can be had.
    """
    if find_spec("pillow_heif") is None:
        raise ImageError("unsupported_format", f"HEIC needs pillow-heif: {installing.with_extra('heif')}")
    command = [sys.executable, "-P", "-m", "dropsight.images.heic", str(_OWN_BYTES + _A_PIXEL * pixels)]
    try:
        done = subprocess.run(
            command, cwd="/", input=data, capture_output=True, timeout=SECONDS, check=False, process_group=0
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError("unreadable", f"decoding it takes more than {SECONDS:.0f} s") from error
    except OSError as error:
        raise MachineError(f"images wait: no process to decode HEIC: {error.strerror}") from error
    if done.returncode == _DAMAGED:
        raise ImageError("unreadable", f"the heic data is damaged: {done.stdout.decode(errors='replace')}")
    if done.returncode == _SHORT:
        raise ImageError("too_many_pixels", "decoding it takes more memory than its size allows for")
    if done.returncode == -9:
        raise MemoryShortError("not enough memory to decode an image: images wait")
    if done.returncode:
        raise ImageError("unreadable", "the heic data crashes its decoder")
    height, width = _SIZE.unpack_from(done.stdout)
    return np.frombuffer(done.stdout, np.uint8, offset=_SIZE.size).reshape(height, width, 3)


def main(arguments: list[str]) -> int:
    (memory,) = map(int, arguments)
    for kind, most in {resource.RLIMIT_DATA: memory, resource.RLIMIT_CORE: 0}.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))
    with contextlib.suppress(OSError):  # of what has too little memory, this is to end, not the daemon
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(5)
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    try:
        found = pillow_heif.open_heif(sys.stdin.buffer.read(), convert_hdr_to_8bit=True, bgr_mode=False)
        pixels = np.atleast_3d(np.asarray(found))
        pixels = pixels[:, :, :3] if pixels.shape[2] > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)
    except MemoryError:
        return _SHORT
    except Exception as error:  # noqa: BLE001 - of a codec, for one picture
        sys.stdout.write(" ".join(str(error).split())[:200])
        return _DAMAGED
    sys.stdout.buffer.write(_SIZE.pack(*pixels.shape[:2]))
    sys.stdout.buffer.write(np.ascontiguousarray(pixels).data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
