"""Large pictures where memory is short: in a process of its own, which the kernel ends before ours.

    python -P -m dropsight.images.large ORDER < picture

A mark goes out when it is ready, then a line, then pixels; of what is damaged, the line alone.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import msgspec
import numpy as np

from dropsight import children
from dropsight.children import available_bytes, most_bytes
from dropsight.errors import ErrorCode, ImageError, MachineError, machine_error
from dropsight.images.apart import KINDS, cpu_seconds
from dropsight.images.company import COMPANY
from dropsight.images.decoders import DAMAGED, MACHINE_SHORT, PARKED_SECONDS, output_of, say_ready
from dropsight.images.decoding import MOST_PIXELS, Wanted, bytes_of, decode_and_judge, is_large, scale_for
from dropsight.images.header import Header, read_header
from dropsight.images.jpeg import Damage, Decoded
from dropsight.records import Depth

# Measured, of all formats: decoders hold up to an eighth more than the header tells, and a copy of the file.
_PROGRAM_BYTES = 64 * 2**20
# Address space is more than what is used of it.
_ROOM_BYTES = 384 * 2**20
# Of what it takes, for a picture to be decoded in this process.
TIMES_FREE = 2
_one = threading.Lock()


class _Order(msgspec.Struct):
    scale: int
    depth: Depth


class _Answer(msgspec.Struct):
    shape: tuple[int, int, int]
    damage: Damage | None


class _Fault(msgspec.Struct):
    code: ErrorCode
    text: str


def decode_where_it_fits(data: bytes, header: Header, wanted: Wanted, *, depth: Depth = "scale") -> Decoded:
    """Decode as `decode_and_judge` does; a large picture elsewhere, unless twice its memory is free here.

    As small as what is wanted allows, and ribbons smaller. Raises ImageError `too_many_pixels` for what would
    not fit beside this process if it were alone.
    """
    scale = scale_within_bounds(header, wanted)
    if not is_large(header, scale) or header.format in KINDS:
        return decode_and_judge(data, header, scale=scale, depth=depth)
    with _taken.beside(_needed(data, header, scale)) as fits:
        if fits:
            with COMPANY.joined():
                return decode_and_judge(data, header, scale=scale, depth=depth)
    with _one:
        return _decode_apart(data, header, _Order(scale, depth))


class _Taken:
    """What large pictures take that are decoded in this process now: not all of it may be in use yet."""

    def __init__(self) -> None:
        self._lock, self._bytes = threading.Lock(), 0

    @contextmanager
    def beside(self, needed: int) -> Iterator[bool]:
        """Tell whether there is memory for one more; if so it is taken until this ends."""
        with self._lock:
            fits = TIMES_FREE * (self._bytes + needed) <= available_bytes()
            self._bytes += needed if fits else 0
        try:
            yield fits
        finally:
            with self._lock:
                self._bytes -= needed if fits else 0


_taken = _Taken()


def scale_within_bounds(header: Header, wanted: Wanted) -> int:
    """Return as `scale_for` does, and more where a picture would still be larger than any camera's."""
    return scale_for(header, wanted, most_pixels=MOST_PIXELS)


def _needed(data: bytes, header: Header, scale: int) -> int:
    needed = bytes_of(header, scale)
    return needed + needed // 8 + len(data)


def _decode_apart(data: bytes, header: Header, order: _Order) -> Decoded:
    needed = _needed(data, header, order.scale) + _PROGRAM_BYTES
    if needed > (most := most_bytes()):
        text = f"decoding it takes some {needed >> 20} MiB, and there are {most >> 20} MiB for it at most"
        raise ImageError("too_many_pixels", text)
    command = children.command("dropsight.images.large", msgspec.json.encode(order).decode())
    seconds = cpu_seconds(header.width * header.height)
    code, said = output_of(command, data, header.format, seconds)
    end = said.find(b"\n")
    line = said[:end]
    if code == DAMAGED:
        fault = msgspec.json.decode(line, type=_Fault)
        raise ImageError(fault.code, fault.text)
    answer = msgspec.json.decode(line, type=_Answer)
    return Decoded(np.frombuffer(said, np.uint8, offset=end + 1).reshape(answer.shape), answer.damage)


def main(arguments: list[str]) -> int:
    order = msgspec.json.decode(arguments[0], type=_Order)
    data = sys.stdin.buffer.read()
    header = read_header(data)
    seconds = cpu_seconds(header.width * header.height)
    memory = _ROOM_BYTES + _needed(data, header, order.scale)
    children.confine(memory, seconds=PARKED_SECONDS, cpu_seconds=seconds, niceness=5)
    say_ready()
    try:
        found = decode_and_judge(data, header, scale=order.scale, depth=order.depth)
    except ImageError as error:
        sys.stdout.buffer.write(msgspec.json.encode(_Fault(error.code, str(error))) + b"\n")
        return DAMAGED
    except (MachineError, MemoryError, cv2.error) as error:
        if machine_error(error) is None:
            raise
        return MACHINE_SHORT
    answer = _Answer(found.pixels.shape, found.damage)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.write(np.ascontiguousarray(found.pixels).data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
