"""Masses of failed images get only a share of log and journal; that it is used up is reported."""

import time
from collections.abc import Callable

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.status.troubles import Troubles

NAME = "failures"
TELL_SECONDS = 60.0


class Flood:
    """For the recorder's thread. Says so at most once a minute, with the numbers, until a minute without."""

    def __init__(self, troubles: Troubles, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._troubles, self._clock = troubles, clock
        self._lines = self._forgotten = 0
        self._told: tuple[int, int] = (0, 0)
        self._tell_at: float | None = None

    def forgot(self, records: int) -> None:
        """So many records of failed images left the journal before their time."""
        self._forgotten += records

    def look(self, *, lines: int) -> None:
        """`lines` of failed images stand apart from the log since the start."""
        crashpoints.reach("in_looking")
        now, counts = self._clock(), (lines, self._forgotten)
        if self._tell_at is not None and now < self._tell_at:
            return
        if counts != self._told:
            self._told, self._tell_at = counts, now + TELL_SECONDS
            self._troubles.raised(NAME, StoreError(_text(*counts)))
        elif self._tell_at is not None:
            self._tell_at = None
            self._troubles.cleared(NAME)


def _text(lines: int, forgotten: int) -> str:
    return (
        "too many failed images, more than their share of log and journal: since the start,"
        f" {lines} lines of them went to the log's .failed file instead,"
        f" {forgotten} records of them left the journal early"
    )
