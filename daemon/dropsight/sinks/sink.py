"""The seam of durable sinks: what follows the journal, and what the daemon has to offer to it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from dropsight.cameras.watch import CameraWatch
from dropsight.config import Config
from dropsight.journal.event_messages import EventMessage
from dropsight.journal.marks import Mark
from dropsight.journal.outbox import HeldOutbox
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:
    from dropsight.sinks.announcements import Announcements


class FollowerStatus(NamedTuple):
    """`to` is the other side's address, fit for a log; records that it took, and that it does not take.

    `held`: what waits for it elsewhere than in the journal.
    """

    to: str
    delivered: int
    set_aside: int
    held: int = 0


class Follower(Protocol):
    """Gets every record of the journal after its mark, in order, at least once.

    `run` belongs on a thread of its own; everything else may be called from any.
    """

    troubles: Troubles

    @property
    def tried(self) -> bool:
        """Whether the first attempt to reach the other side has come to an end, good or bad."""

    @property
    def refused(self) -> bool:
        """Whether the other side has turned us away, the last time."""

    def run(self) -> None:
        """Hand on what there is and what comes, until `stop`."""

    def wake(self) -> None:
        """There are records to hand on."""

    def read_secrets(self) -> None:
        """Read them again, for the next connection; raises ConfigError, and then the former ones stay."""

    def stop(self, *, drain_seconds: float) -> None:
        """Hand on what is left, for so long at most and only while it is taken; then `run` ends."""

    def standing(self) -> FollowerStatus:
        """What it has done since the start."""


class FollowerContext(msgspec.Struct, frozen=True):
    """What the daemon gives a follower that it makes; `troubles` and `outbox` are the follower's own.

    `picture` returns a JPEG of a record's image, by the record's id, with its longer side as given; raises
    DropsightError, FileNotFoundError. `inboxes` returns the folders that messages of events are of, "" for
    none; raises StoreError.
    """

    config: Config
    outbox: HeldOutbox
    troubles: Troubles
    announcements: "Announcements"
    obey: Callable[[bytes], bytes]
    watch: CameraWatch
    picture: Callable[[str, int], bytes]
    inboxes: Callable[[Sequence[EventMessage]], Sequence[str]]


class FollowerSpec(NamedTuple):
    """A follower that the config asks for; `make` may raise ConfigError.

    `check` says in one line what `dropsight check` finds, raising DropsightError; None where it has its own.
    `read` only reads its secrets and certificates, and raises ConfigError where they cannot be used; None
    where it has none.
    """

    mark: Mark
    make: Callable[[FollowerContext], Follower]
    check: Callable[[], str] | None = None
    read: Callable[[], object] | None = None


Section = Callable[[Config], Sequence[FollowerSpec]]
