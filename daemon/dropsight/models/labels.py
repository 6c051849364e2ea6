"""The names of the classes, from a text with a line a class."""

import re

_INDEXED = re.compile(r"\s*(\d+)[\s:,]\s*(.*\S)\s*")


def read_labels(text: str) -> tuple[str, ...]:
    """Read a name a line, in class order; an index before every name ("0 cat", "1:dog") is taken off."""
    lines = text.lstrip("\ufeff").rstrip().splitlines()
    indexed = [_INDEXED.fullmatch(line) for line in lines]
    if lines and all(found and int(found[1]) == number for number, found in enumerate(indexed)):
        return tuple(found[2] for found in indexed if found)
    return tuple(line.strip() for line in lines)
