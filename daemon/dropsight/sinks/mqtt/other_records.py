"""Records behind one that a broker does not take, offered before their turn, as it may take none at all."""

from dropsight.journal.outbox import Delivery, Outbox
from dropsight.sinks.mqtt.suspects import SuspectMessages

PAGE = 64
# So many are looked through at one connection.
MOST_LOOKED_AT = 8_192
# So many topics are tried without the pauses growing.
SOON = 16


class OtherRecords:
    """For the publisher's thread, over all connections. The one that is held back and others take turns.

    Of these there is one of each kind and camera, its own last, and then again from the first.
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
        found = self._look_on()
        return self._look_on() if found is None and self._place == self._held else found

    def _look_on(self) -> Delivery | None:
        for _ in range(0, MOST_LOOKED_AT, PAGE):
            some = self._outbox.pending(self._place, PAGE)
            for each in some:
                self._place = each.seq
                topic = (each.status, each.camera)
                is_done = each.seq in self._suspects.ahead or self._suspects.is_aside(each.seq)
                if topic not in self._tried and not is_done and each.status != "event":
                    self._tried.add(topic)
                    self._tried_ever.add(topic)
                    return each
            if not some:
                self._place, self._tried = self._held, set()
                break
        return None
