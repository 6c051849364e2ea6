"""What a follower needs of the journal."""

from typing import NamedTuple, Protocol

from dropsight.records import Status


class Delivery(NamedTuple):
    """A durable record, encoded in its final form."""

    seq: int
    camera: str
    status: Status
    line: bytes


class Outbox(Protocol):
    def pending(self, after: int, limit: int) -> list[Delivery]:
        """Durable records with seq > after, in order."""

    def acknowledge(self, seq: int) -> None:
        """Everything up to and including seq has reached the other side, which has said so."""

    def acknowledged(self) -> int:
        """The seq up to which the other side has everything."""


class HeldOutbox(Outbox, Protocol):
    """For who has records on the way, none of which is to be dropped."""

    def take(self, after: int, limit: int) -> list[Delivery]:
        """As `pending`; none of these is dropped for being beyond a bound until `let_go`."""

    def let_go(self) -> None:
        """What is not acknowledged by now is on its way no more."""
