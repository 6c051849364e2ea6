"""Times of files, as file systems, stores and containers tell them: any, and none that no calendar has."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_000_000
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")


def time_us(info: Mapping[str, Any]) -> int | None:
    for key in _TIMES:
        found = info.get(key)
        if isinstance(found, str):
            try:
                found = datetime.fromisoformat(found)
            except ValueError:
                continue
        if isinstance(found, datetime):
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        if isinstance(found, int | float):
            return on_calendar(found * 1e6)
    return None


def on_calendar(time_us: float) -> int | None:
    """None for a time that no calendar has: file systems and tar files may say any."""
    return int(time_us) if _FIRST_US <= time_us <= _LAST_US else None
