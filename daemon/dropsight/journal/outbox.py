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
