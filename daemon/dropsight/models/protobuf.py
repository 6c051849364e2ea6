"""Reading protocol buffers without generated code: a message is its numbered fields.

The wire format is that of protobuf.dev's "Encoding" page.
"""

import struct
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
MOST_FIELDS = 100_000
"""Of one message: numbers of a list count as one, as they are packed."""


class ProtoMessage:
    """Fields are kept as they come; what they hold is read when it is asked for.

    Damaged data raises ValueError.
    """

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value, _ in fields(data):
            self._fields.setdefault(number, []).append(value)

    def numbers(self, field: int) -> list[int]:
        """Return whole numbers, packed or not."""
        found: list[int] = []
        for each in self._fields.get(field, ()):
            if isinstance(each, int):
                found.append(each)
                continue
            place = 0
            while place < len(each):
                value, place = _varint(each, place)
                found.append(value)
        return found

    def number(self, field: int) -> int:
        """Return the last one, as the format wants it; 0 where there is none."""
        return next(reversed(self.numbers(field)), 0)

    def blobs(self, field: int) -> list[memoryview]:
        return [each for each in self._fields.get(field, ()) if isinstance(each, memoryview)]

    def texts(self, field: int) -> list[str]:
        return [bytes(each).decode("utf-8", "backslashreplace") for each in self.blobs(field)]

    def text(self, field: int) -> str:
        return next(reversed(self.texts(field)), "")

    def messages(self, field: int) -> Iterator["ProtoMessage"]:
        return map(ProtoMessage, self.blobs(field))

    def floats(self, field: int) -> list[float]:
        """Return floats of 32 bits, packed or not."""
        data = b"".join(self.blobs(field))
        if not data:
            words = [each for each in self._fields.get(field, ()) if isinstance(each, int)]
            data = b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)
        if len(data) % 4:
            raise ValueError("a list of floats ends within one")
        return list(struct.unpack(f"<{len(data) // 4}f", data))


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Yield each field of a message: its number, what it holds, and how both are written."""
    place = count = 0
    while place < len(data):
        start, count = place, count + 1
        if count > MOST_FIELDS:
            raise ValueError(f"a message has more than {MOST_FIELDS:,} fields")
        key, place = _varint(data, place)
        if key >= 2**32:  # protobuf's own reader takes the lower 32 bits, and finds another field
            raise ValueError("a field has no such number")
        value, place = _value(data, place, key & 7)
        yield key >> 3, value, data[start:place]


def field_of_bytes(field: int, content: bytes) -> bytes:
    """Return a field as it is written: text, bytes or a message."""
    return _as_varint(field << 3 | _BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _value(data: memoryview, place: int, kind: int) -> tuple[int | memoryview, int]:
    if kind == _VARINT:
        return _varint(data, place)
    if kind == _BYTES:
        length, place = _varint(data, place)
        end = place + length
    elif kind in _FIXED:
        end = place + _FIXED[kind]
    else:
        raise ValueError(f"there are no fields of kind {kind}")
    if end > len(data):
        raise ValueError("a field extends past the end")
    blob = data[place:end]
    return (blob if kind == _BYTES else int.from_bytes(blob, "little")), end


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(data[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), place + count + 1
    raise ValueError("a number is not terminated")
