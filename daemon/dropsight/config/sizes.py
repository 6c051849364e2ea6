"""Sizes as people write them: 10MiB, 2GiB, 500 kB, 1048576."""

import re
from decimal import Decimal

_UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_UNIT_OF_TEXT = {"": 1} | {name.lower(): unit for name, unit in _UNITS.items()}
_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+]?[0-9]{1,2})?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes, a fraction of one cut off; raises ValueError."""
    found = _SIZE.fullmatch(text)
    if not found or found[2].lower() not in _UNIT_OF_TEXT:
        raise ValueError(text)
    return int(Decimal(found[1]) * _UNIT_OF_TEXT[found[2].lower()])


def format_size(size_bytes: int) -> str:
    """The shortest exact text: 10MiB, 500kB, 1234567B."""
    exact = [(size_bytes // unit, name) for name, unit in _UNITS.items() if size_bytes % unit == 0]
    count, name = min(exact, key=lambda pair: pair[0])
    return f"{count}{name}"
