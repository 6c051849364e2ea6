"""Reading flatbuffers without generated code: a table is its numbered fields.

Field numbers are the order of declaration in schema.fbs and metadata_schema.fbs of TensorFlow Lite.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import flatbuffers.number_types as numbers
from flatbuffers import encode, packer
from flatbuffers.table import Table

P = ParamSpec("P")
Read = TypeVar("Read")


def _of_a_file(read: Callable[Concatenate["Fields", P], Read]) -> Callable[Concatenate["Fields", P], Read]:
    """Raise ValueError for the library's TypeError, which says that a place lies nowhere in the file."""

    @wraps(read)
    def reading(fields: "Fields", /, *args: P.args, **how: P.kwargs) -> Read:
        try:
            return read(fields, *args, **how)
        except TypeError as error:
            raise ValueError(str(error)) from error

    return reading


class Fields:
    """A table; absent fields read as nothing. Damaged data raises struct.error, IndexError or ValueError."""

    @_of_a_file
    def __init__(self, data: bytes, place: int) -> None:
        self._table = Table(data, place)

    @classmethod
    def root(cls, data: bytes) -> "Fields":
        return cls(data, encode.Get(packer.uoffset, data, 0))

    @_of_a_file
    def number(self, field: int, *, byte: bool = False) -> int:
        """Return a signed number of 32 bits, or of 8; 0 where the field is absent."""
        offset = self._offset(field)
        flags = numbers.Int8Flags if byte else numbers.Int32Flags
        return int(self._table.Get(flags, offset + self._table.Pos)) if offset else 0

    @_of_a_file
    def text(self, field: int) -> str:
        offset = self._offset(field)
        return self._table.String(offset + self._table.Pos).decode("utf-8", "replace") if offset else ""

    @_of_a_file
    def table(self, field: int) -> "Fields | None":
        offset = self._offset(field)
        return Fields(self._table.Bytes, self._table.Indirect(offset + self._table.Pos)) if offset else None

    @_of_a_file
    def count(self, field: int) -> int:
        """Return how many elements of 4 bytes a vector has, whether or not these lie in the file."""
        offset = self._offset(field)
        return int(self._table.VectorLen(offset)) if offset else 0

    def tables(self, field: int) -> Iterator["Fields"]:
        """Yield the tables of a vector."""
        for place in self._elements(field, 4):
            yield Fields(self._table.Bytes, self._table.Indirect(place))

    @_of_a_file
    def integers(self, field: int) -> list[int]:
        places = self._elements(field, 4)
        return [int(self._table.Get(numbers.Int32Flags, place)) for place in places]

    @_of_a_file
    def longs(self, field: int) -> list[int]:
        places = self._elements(field, 8)
        return [int(self._table.Get(numbers.Int64Flags, place)) for place in places]

    @_of_a_file
    def floats(self, field: int) -> list[float]:
        places = self._elements(field, 4)
        return [float(self._table.Get(numbers.Float32Flags, place)) for place in places]

    @_of_a_file
    def blob(self, field: int) -> bytes:
        """Return a vector of bytes."""
        offset = self._offset(field)
        if not offset:
            return b""
        start = self._table.Vector(offset)
        return bytes(self._table.Bytes[start : start + self._table.VectorLen(offset)])

    @_of_a_file
    def blob_end(self, field: int) -> int:
        """Return where a vector of bytes ends; 0 where it is absent."""
        offset = self._offset(field)
        return int(self._table.Vector(offset) + self._table.VectorLen(offset)) if offset else 0

    @_of_a_file
    def with_integers(self, field: int, values: Sequence[int]) -> bytes:
        """Return the whole file with other numbers in a vector that is there: behind all else."""
        place = self._offset(field) + self._table.Pos
        data = bytes(self._table.Bytes)
        data += bytes(-len(data) % 4)
        end = struct.pack("<I", len(data) - place)
        vector = struct.pack(f"<I{len(values)}i", len(values), *values)
        return data[:place] + end + data[place + len(end) :] + vector

    @_of_a_file
    def _elements(self, field: int, size: int) -> range:
        offset = self._offset(field)
        if not offset:
            return range(0)
        start = self._table.Vector(offset)
        end = start + size * self._table.VectorLen(offset)
        if end > len(self._table.Bytes):
            raise IndexError("a vector extends past the end of the file")
        return range(start, end, size)

    def _offset(self, field: int) -> int:
        return int(self._table.Offset(4 + 2 * field))
