r"""File system names on their way out: names are bytes, and what is said of them is text.

Bytes that are not UTF-8 stand as \xNN in all that is written, and so does, for the eyes of people, what would
move a cursor, end a line or turn the writing round. In JSON, that stands as \uNNNN: it is the same text.
"""

import codecs
import os
import re
import sys

import msgspec

_FOR_NO_EYES = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_IN_JSON = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""The same in UTF-8, but for what JSON always escapes."""
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")
_HANDLER = "names"


def as_text(name: str | os.PathLike[str]) -> str:
    """Return a name fit for JSON."""
    text = os.fspath(name)
    return text if text.isascii() else text.encode("utf-8", _HANDLER).decode()


def as_name(text: str) -> str:
    r"""Return the name that `as_text` gave this text for; one with a real backslash before x is not told."""
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode()))


def as_shown(text: str) -> str:
    """Return one line for a terminal or a log, without control characters."""
    return _FOR_NO_EYES.sub(lambda sign: ascii(sign[0])[1:-1], as_text(text))


def as_json(value: object) -> bytes:
    """Encode; of names that are not UTF-8, the text."""
    try:
        return as_one_line(msgspec.json.encode(value))
    except UnicodeEncodeError:
        return as_one_line(msgspec.json.encode(_texts(msgspec.to_builtins(value))))


def as_one_line(encoded: bytes) -> bytes:
    """Return the same JSON, of which no viewer or reader of lines makes several, nor a terminal orders."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _IN_JSON.sub(lambda sign: b"\\u%04x" % ord(sign[0].decode()), encoded)


def show_all() -> None:
    """Have standard output and error show what their terminal has no signs for, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_HANDLER)


def _texts(value: object) -> object:
    match value:
        case str():
            return as_text(value)
        case dict():
            return {_texts(key): _texts(each) for key, each in value.items()}
        case list() | tuple():
            return [_texts(each) for each in value]
    return value


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(map(_escaped, signs)), error.end


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte of a name
        return f"\\x{code - 0xDC00:02x}"
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(_HANDLER, _escape)
