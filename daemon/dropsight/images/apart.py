"""HEIC and JPEG 2000, in a process of its own: no header tells what time and memory their codecs take.

    python -P -m dropsight.images.apart FORMAT PIXELS CPU-SECONDS SCALE < picture

A mark goes out when it is ready, then pixels behind their height and width, each the mean of SCALE x SCALE,
or an exit code that says what failed.
"""

import struct
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

import numpy as np

from dropsight import children, installing
from dropsight.errors import ImageError, MachineError
from dropsight.images.decoders import (
    DAMAGED,
    MACHINE_SHORT,
    NO_THREAD,
    PARKED_SECONDS,
    SHORT,
    output_of,
    say_ready,
)
from dropsight.images.framing import Pixels
from dropsight.images.heif import longest_piece
from dropsight.images.jpeg2000 import boxed, jpeg2000
from dropsight.names import as_shown
from dropsight.threads import is_lacking

Kind: TypeAlias = Literal["heic", "jp2"]
KINDS: frozenset[str] = frozenset(get_args(Kind))

_CODECS = {"heic": "pillow_heif", "jp2": "cv2"}
# While pip upgrades it under the daemon, it is not there for a moment: pictures wait.
_HAD_HEIF = find_spec("pillow_heif") is not None
# Of a processor; the smallest machines take half a second for a megapixel.
CPU_SECONDS, CPU_SECONDS_A_MEGAPIXEL = 10.0, 1.0
# The program itself, and what codecs hold of a pixel: planes, a tile's reference frames, RGB twice.
_OWN_BYTES, _A_PIXEL = 384 * 2**20, 24
# However many pixels: measured, those of 48 megapixels of a phone take 280 MB in all.
_MOST_BYTES = 2**30
_SIZE = struct.Struct("<II")
# What every machine has for it at times: were it more, a damaged picture would be tried for ever.
_LEAST_BYTES = 256 * 2**20
# libde265, from 1.1 on, throws longer ones away; libheif says no more than that nothing came.
LONGEST_PIECE_BYTES, _NOTHING = 16 * 2**20, b"did not give a decompressed image"
# libde265 starts a thread for each tile; of one that it does not get libheif says no more than this.
_THROWN, _TRIES = "unexpected C++ exception", 3
# What libraries of C and C++ say where Python would raise MemoryError.
_STARVED = ("bad_alloc", "allocat", "not enough memory", "out of memory")


def decode_apart(data: bytes, kind: Kind, *, pixels: int, scale: int = 1) -> Pixels:
    """Return upright RGB at 1/`scale`; `pixels` is how many the header says that there are.

    Raises ImageError, MachineError where no process can be had.
    """
    if kind == "heic" and not (_HAD_HEIF or find_spec("pillow_heif")):
        raise ImageError("unsupported_format", f"HEIC needs pillow-heif: {installing.with_extra('heif')}")
    command = children.command(
        "dropsight.images.apart", kind, str(pixels), f"{cpu_seconds(pixels):g}", str(scale)
    )
    code, said = output_of(command, data, kind, cpu_seconds(pixels))
    if code == DAMAGED:
        raise _fault(data, kind, said)
    if code == SHORT:
        text = (
            f"decoding it takes more memory than the {_memory_for(pixels) >> 20} MiB for a {kind} of its size"
        )
        raise ImageError("too_many_pixels", text)
    height, width = _SIZE.unpack_from(said)
    return np.frombuffer(said, np.uint8, offset=_SIZE.size).reshape(height, width, 3)


def _fault(data: bytes, kind: Kind, said: bytearray) -> ImageError:
    """Return what it means that it did not decode, and this was said of it."""
    if _NOTHING in said and (piece := longest_piece(data)) > LONGEST_PIECE_BYTES:
        text = f"a HEIC coded in one piece of {piece / 2**20:.1f} MiB: its decoder takes 16 MiB at most"
        return ImageError("too_large", f"{text}; save it in tiles, or at a lower quality")
    return ImageError("unreadable", f"the {kind} data is damaged: {as_shown(said.decode(errors='replace'))}")


def cpu_seconds(pixels: int) -> float:
    return CPU_SECONDS + CPU_SECONDS_A_MEGAPIXEL * pixels / 1e6


def _heic_for_sure(data: bytes) -> Pixels:
    """Believe that it is damaged once it is found so again, with room for threads after each time.

    Raises MachineError where there is no room for them.
    """
    for left in reversed(range(_TRIES)):
        try:
            return _heic(data)
        except ValueError as error:
            if _THROWN not in str(error):
                raise
            if is_lacking():
                raise MachineError(str(error)) from error
            if not left:
                raise
    raise AssertionError


def _heic(data: bytes) -> Pixels:
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    found = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=False)
    pixels = np.atleast_3d(np.asarray(found))
    return pixels[:, :, :3] if pixels.shape[2] > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)


def _jpeg2000(data: bytes) -> Pixels:
    import cv2

    cv2.setNumThreads(1)
    found = cv2.imdecode(
        np.frombuffer(boxed(data), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if found is None:
        raise ValueError("it decodes to no picture")
    return found[:, :, ::-1].astype(np.uint8, copy=False)


def _smaller(pixels: Pixels, scale: int) -> Pixels:
    import cv2

    cv2.setNumThreads(1)
    size = (-(-pixels.shape[1] // scale), -(-pixels.shape[0] // scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def main(arguments: list[str]) -> int:
    kind, pixels, seconds, scale = arguments[0], int(arguments[1]), float(arguments[2]), int(arguments[3])
    children.confine(_memory_for(pixels), seconds=PARKED_SECONDS, cpu_seconds=seconds, niceness=5)
    import_module(_CODECS[kind])
    say_ready()
    data = sys.stdin.buffer.read()
    try:
        found = _heic_for_sure(data) if kind == "heic" else _jpeg2000(data)
        _check_size(found, pixels)
        if scale > 1:
            found = _smaller(found, scale)
    except MachineError:
        return NO_THREAD
    except Exception as error:  # noqa: BLE001 - of a codec, for one picture
        text = " ".join(str(error).split())
        if not _is_to_be_had(min(_A_PIXEL * pixels, _LEAST_BYTES)):
            return MACHINE_SHORT
        if isinstance(error, MemoryError) or any(word in text.lower() for word in _STARVED):
            return SHORT
        if kind == "jp2" and not _is_to_be_had(jpeg2000(data).whole_bytes * 9 // 8):
            return SHORT
        sys.stdout.write(text[:200])
        return DAMAGED
    sys.stdout.buffer.write(_SIZE.pack(*found.shape[:2]))
    sys.stdout.buffer.write(np.ascontiguousarray(found).data)
    return 0


def _memory_for(pixels: int) -> int:
    return min(_OWN_BYTES + _A_PIXEL * pixels, _MOST_BYTES)


def _check_size(found: Pixels, pixels: int) -> None:
    if found.shape[0] * found.shape[1] > pixels:
        raise ValueError("it is larger than its header says")


def _is_to_be_had(memory: int) -> bool:
    """Whether the machine has what decoding may take: else OpenCV says no more than of a damaged picture."""
    try:
        np.empty(memory, np.uint8)
    except MemoryError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
