"""The process that decodes clips: a file may end it, take its time or its memory, and nobody else's.

    python -P -m dropsight.video.child SOCKET-DESCRIPTOR MEMORY-BYTES

One order at a time comes in, with the clip's descriptor; facts, frames and an end, or a fault, go out.
"""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight import children
from dropsight.errors import ImageError, machine_error
from dropsight.images.framing import Pixels, frames, place_of, resize
from dropsight.images.masks import Mask
from dropsight.images.thumbnail import as_jpeg
from dropsight.names import as_text
from dropsight.video.capture import CaptureReader
from dropsight.video.clip_reader import ClipReader, DecodedFrame
from dropsight.video.wire import Answer, ClipEnd, ClipFault, ClipFrame, ClipOrder, Frames

_ORDER_BYTES = 2**16
_GLANCE_PIXELS = 32
# Gray levels: noise of a sensor and of a codec stays below, something that moves in one cell does not.
_STILL_MEAN, _STILL_MOST = 1.5, 12.0


def answers(path: str, order: ClipOrder) -> Iterator[Answer]:
    """Tell all that is found of the clip: what this raises is the machine's trouble."""
    try:
        reader = _reader(path, order)
        yield reader.header
        yield from _frames(reader, order)
        yield ClipEnd(reader.frames_read, reader.warnings())
    except ImageError as error:
        yield ClipFault(error.code, str(error))
    except (MemoryError, cv2.error) as error:
        yield ClipFault("too_large", f"decoding it takes too much memory ({type(error).__name__})")
    except Exception as error:
        if machine_error(error):
            raise
        yield ClipFault("unreadable", f"the process that decodes it fails: {as_text(repr(error))}")


def _reader(path: str, order: ClipOrder) -> ClipReader:
    try:
        from dropsight.video.container import ContainerReader
    except ImportError:
        return CaptureReader(path, order)
    return ContainerReader(path, order)


def _frames(reader: ClipReader, order: ClipOrder) -> Iterator[ClipFrame]:
    last: NDArray[np.int16] | None = None
    packed = order.frames.mask if order.frames else None
    mask = Mask.unpacked(packed) if packed else None
    for decoded in reader.frames():
        glance = _glance(decoded.pixels, order)
        still = order.sampling.skip_still and last is not None and _is_still(glance, last)
        if not still:
            last = glance
        yield _framed(decoded, order, mask, still=still)
    if last is None:
        raise ImageError("truncated", "none of its frames can be decoded")


def _framed(decoded: DecodedFrame, order: ClipOrder, mask: Mask | None, *, still: bool) -> ClipFrame:
    wanted, pixels = order.frames, decoded.pixels
    squares: tuple[int, ...] = ()
    if wanted and not still:
        pixels = mask.over(pixels) if mask else pixels
        if wanted.size is not None:
            parts = _parts(pixels, wanted, wanted.size)
            squares = tuple(map(len, parts))
            pixels = np.concatenate([square for part in parts for square in part])
    return ClipFrame(
        time=round(decoded.time, 3),
        index=decoded.index,
        height=pixels.shape[0],
        width=pixels.shape[1],
        pixels=None if still or not wanted else pixels.tobytes(),
        thumbnail=as_jpeg(decoded.pixels, longest=order.thumbnail),
        decode_ms=decoded.decode_ms,
        squares=squares,
    )


def _parts(pixels: Pixels, wanted: Frames, size: tuple[int, int]) -> list[list[Pixels]]:
    return frames(
        pixels,
        height=size[0],
        width=size[1],
        how=wanted.resize,
        crop_fraction=wanted.fraction,
        boxes=wanted.boxes,
    )


def _glance(pixels: Pixels, order: ClipOrder) -> NDArray[np.int16]:
    """Shrink what is seen: somebody at a far door is nothing in all of the picture."""
    boxes = order.frames.boxes if order.frames else ()
    seen = [pixels[place_of(box, pixels.shape[1], pixels.shape[0])] for box in boxes] or [pixels]
    small = np.vstack([resize(each, height=_GLANCE_PIXELS, width=_GLANCE_PIXELS) for each in seen])
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)


def _is_still(one: NDArray[np.int16], other: NDArray[np.int16]) -> bool:
    apart = np.abs(one - other)
    return bool(apart.mean() < _STILL_MEAN and apart.max() < _STILL_MOST)


def serve(connection: Connection, orders: socket.socket) -> None:
    """Until the other side hangs up."""
    encode = msgspec.msgpack.Encoder().encode
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, _ORDER_BYTES, 1)
        if not message:
            return
        order = msgspec.msgpack.decode(message, type=ClipOrder)
        (clip,) = descriptors
        try:
            _bound_seconds(order.cpu_seconds)
            for answer in answers(f"/proc/self/fd/{clip}", order):
                connection.send_bytes(encode(answer))
        finally:
            os.close(clip)


def _bound_seconds(cpu_seconds: float) -> None:
    """Have SIGXCPU end this process when it has worked so much longer than it has by now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def main(arguments: list[str]) -> int:
    descriptor, memory = map(int, arguments)
    children.confine(memory)
    cv2.setNumThreads(1)
    hung_up = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with socket.socket(fileno=descriptor) as orders, Connection(os.dup(descriptor)) as connection, hung_up:
        serve(connection, orders)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
