"""What the web part asks of the daemon that it shows."""

from collections.abc import Collection, Mapping
from typing import Protocol

from dropsight.config import Config
from dropsight.inference.planning import Plan
from dropsight.sinks.reports import Status
from dropsight.status.latency import Distribution


class ShownDaemon(Protocol):
    """All of it is quick but `obey`, and good for any thread."""

    @property
    def config(self) -> Config: ...

    @property
    def plan(self) -> Plan:
        """What is done to the next picture."""

    @property
    def visible(self) -> int:
        """Records up to this seq have their final line."""

    @property
    def up(self) -> bool:
        """Whether the model is warm, and the folders are watched."""

    def busy(self) -> bool:
        """Whether an image is in hand, or waits and nothing is paused."""

    def status(self) -> Status: ...

    def distributions(self) -> Mapping[str, Distribution]:
        """Latencies per stage since the start."""

    def cameras(self) -> Collection[str]:
        """Return those that are known, of earlier lives, too."""

    def labels(self) -> Collection[str]:
        """Return the model's."""

    def obey(self, command: bytes, /) -> bytes:
        """Return a command's answer, which may take minutes."""
