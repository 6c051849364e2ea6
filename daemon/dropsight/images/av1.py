"""How large the pictures in AV1 data say they are (AV1 Bitstream Specification, 5.3 to 5.5)."""

from typing import NamedTuple

from dropsight.errors import ImageError

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_HEADER_BYTES = 512
# A still picture has about three; a decoder takes the size that the last of them tells.
_MOST_UNITS = 1_000


class Coded(NamedTuple):
    """`pixels` are those of the largest."""

    pixels: int = 0
    frames: int = 0
    units: int = 0


def coded(data: bytes) -> Coded:
    """Return what there is to decode; raises IndexError where the data ends in a header."""
    place = most = frames = 0
    for units in range(_MOST_UNITS):
        if place >= len(data):
            return Coded(most, frames, units)
        head = data[place]
        start, length = place + (2 if head & 4 else 1), len(data)
        if head & 2:
            start, length = _leb128(data, start)
        kind = head >> 3 & 0xF
        if kind == _SEQUENCE_HEADER:
            most = max(most, _pixels(_Bits(data[start : start + min(length, _HEADER_BYTES)])))
        frames += kind in {_FRAME_HEADER, _FRAME}
        place = start + length
    raise ImageError("unreadable", f"an AVIF picture of more than {_MOST_UNITS} units")


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    """Return where the number ends, and the number."""
    number = 0
    for index in range(8):
        number |= (data[place + index] & 0x7F) << 7 * index
        if not data[place + index] & 0x80:
            return place + index + 1, number
    raise ImageError("unreadable", "the avif data is damaged")


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & ((1 << count) - 1)

    def take_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


def _pixels(bits: _Bits) -> int:
    bits.take(4)
    if bits.take(1):  # of a still picture, without the rest
        bits.take(5)
    else:
        _pass_over_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)


def _pass_over_operating_points(bits: _Bits) -> None:
    delay_bits = _pass_over_timing(bits) if bits.take(1) else 0
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)


def _pass_over_timing(bits: _Bits) -> int:
    """Return how many bits a delay has in what follows, 0 without a decoder model."""
    bits.take(64)
    if bits.take(1):
        bits.take_uvlc()
    if not bits.take(1):
        return 0
    delay_bits = bits.take(5) + 1
    bits.take(42)
    return delay_bits
