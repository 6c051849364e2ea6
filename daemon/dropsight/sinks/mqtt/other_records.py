"""Records behind one that a broker does not take, offered before their turn, as it may take none at all."""

from collections.abc import Iterator, Sequence

from dropsight.journal.outbox import Delivery, Outbox
from dropsight.sinks.mqtt.suspects import SuspectMessages

PAGE = 64
# So many are looked through at one connection.
MOST_LOOKED_AT = 8_192
# So many topics are tried without the pauses growing.
SOON = 16


class OtherRecords:
    """For the publisher's thread, over all connections. The one that is held back and others take turns.

    Of these there is one of each status, then of each camera as well, its own last, and again from the first.
    """

    def __init__(self, outbox: Outbox, suspects: SuspectMessages) -> None:
        self._outbox, self._suspects = outbox, suspects
        self._held = self._place = 0
        self._is_turn = False
        self._tried, self._tried_ever = set[tuple[str, str]](), set[tuple[str, str]]()

    @property
    def known(self) -> int:
        """How much is known of what it takes, as far as that is worth another connection soon."""
        return min(len(self._tried_ever), SOON)

    def next_behind(self, held: Delivery) -> Delivery | None:
        """Return one to offer at this connection, None where it is not their turn, or there is none."""
        if held.seq != self._held:
            self._held = self._place = held.seq
            self._is_turn = False
            self._tried, self._tried_ever = {(held.status, held.camera)}, set()
        self._is_turn = not self._is_turn
        if not self._is_turn:
            return None
        if other := self._of_another_status(held):
            return other
        found = self._look_on()
        return self._look_on() if found is None and self._place == self._held else found

    def _of_another_status(self, held: Delivery) -> Delivery | None:
        """Rules that leave out one status hold for each camera that waits."""
        tried = {held.status, *(status for status, _ in self._tried_ever)}
        for some in self._pages(self._held):
            for each in some:
                if each.status not in tried and self._may_be_next(each):
                    return each
        return None

    def _look_on(self) -> Delivery | None:
        for some in self._pages(self._place):
            for each in some:
                self._place = each.seq
                if self._may_be_next(each):
                    return each
            if not some:
                self._place, self._tried = self._held, set()
        return None

    def _pages(self, place: int) -> Iterator[Sequence[Delivery]]:
        """Yield what waits behind this place; the last is empty, unless there is too much."""
        for _ in range(0, MOST_LOOKED_AT, PAGE):
            some = self._outbox.pending(place, PAGE)
            yield some
            if not some:
                return
            place = some[-1].seq

    def _may_be_next(self, each: Delivery) -> bool:
        """Whether it is; then it counts as tried."""
        topic = (each.status, each.camera)
        is_done = each.seq in self._suspects.ahead or self._suspects.is_aside(each.seq)
        if topic in self._tried or is_done or each.status == "event":
            return False
        self._tried.add(topic)
        self._tried_ever.add(topic)
        return True
