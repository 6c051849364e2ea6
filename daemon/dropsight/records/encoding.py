"""Records as JSON lines, and back, whichever dropsight wrote them."""

import re
from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

import msgspec

from dropsight.names import as_json, as_one_line
from dropsight.records.record import Expired, Failure, Record, Result

_NUMBER_AT_THE_END = re.compile(rb"[-+.0-9eE]+}}")
_KINDS: dict[str, type[Record]] = {"ok": Result, "failed": Failure, "expired": Expired}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
S = TypeVar("S", bound=msgspec.Struct)


def with_total(line: bytes, total_ms: float) -> bytes:
    """The encoded record with its latency total replaced.

    The total ends when the record is durable, so it is known only after the record was written;
    it is the last value of an encoded record, which makes replacing it a cut and a paste.
    """
    head, _, tail = line.rpartition(b'"total":')
    if not _NUMBER_AT_THE_END.fullmatch(tail):
        return line  # another dropsight's, with something else at its end
    return b'%b"total":%.3f}}' % (head, total_ms)


def encode(record: Record) -> bytes:
    try:
        return as_one_line(_encoder.encode(record))
    except UnicodeEncodeError:  # a name in it that is not UTF-8
        return as_json(record)


def decode(line: bytes) -> Record:
    """Read a record whoever wrote it, older and newer dropsights among them.

    What is missing, or is not what we know by that name, stands empty; what we do not know is left out.
    """
    try:
        return _decoder.decode(line)
    except (ValueError, RecursionError):  # no JSON, no text, or nested beyond any use
        found = _members(line)
        status = found.get("status")
        return _as_far_as_known(_KINDS.get(status, Failure) if isinstance(status, str) else Failure, found)


class Glance(Generic[S]):
    """Reads a few keys of many records, with the same patience."""

    def __init__(self, kind: type[S]) -> None:
        self._kind, self._decoder = kind, msgspec.json.Decoder(kind)

    def at(self, line: bytes) -> S:
        try:
            return self._decoder.decode(line)
        except (ValueError, RecursionError):  # no JSON, no text, or nested beyond any use
            return _as_far_as_known(self._kind, _members(line))


def _members(line: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(line)
    except (ValueError, RecursionError):  # no JSON, no text, or nested beyond any use
        return {}
    return found if isinstance(found, dict) else {}


def _as_far_as_known(kind: type[S], found: Mapping[str, object]) -> S:
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        value = found.get(field.encode_name)
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if field.required:
                values[field.name] = _empty(field.type, value)
    return kind(**values)


def _empty(kind: Any, value: object) -> object:  # noqa: ANN401 - a type, or one of typing's forms
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _as_far_as_known(kind, value if isinstance(value, dict) else {})
    return (origin or kind)()
