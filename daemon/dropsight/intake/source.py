"""The seam that images come in by: a source puts them where the backlog hears of them."""

import threading
from collections.abc import Mapping
from typing import Protocol

import msgspec

from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision


class SourceStatus(msgspec.Struct, frozen=True):
    """`name` is its key in `watch`, `place` where it listens.

    `received` images lie in the inbox, durably; `refused` ones never will, by reason.
    `trouble` is why nothing comes in at the moment, or not all; None while all is well.
    """

    name: str
    place: str
    connected: bool
    received: int
    refused: Mapping[str, int]
    trouble: str | None = None


class Source(Protocol):
    """Complete when constructed, but at rest until it is started.

    What it has taken over lies in a watched folder, or is known to the backlog, before whoever sent it is
    told that it was taken: from then on every promise holds.
    """

    @property
    def name(self) -> str:
        """What its thread is called, in the log as well."""

    @property
    def heartbeats(self) -> Heartbeats:
        """Whether it gets on: the watchdog asks."""

    def start(self, supervision: Supervision) -> threading.Thread:
        """Begin, on a thread that ends after `stop`."""

    def stop(self) -> None:
        """Take in nothing more. From any thread, once or twice."""

    def status(self) -> SourceStatus | None:
        """How it goes; None where that is told of the folders already."""
