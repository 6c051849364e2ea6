"""What is on the way on one connection, and what is held back on it."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from dropsight.errors import SinkError
from dropsight.sinks.mqtt.suspects import READING, SUBSCRIBING, SuspectMessages

# No message has this number.
DEPARTING = 0
# Mosquitto 2.0.11 hangs up at once; another client of our name comes back after 0.75 s at the soonest.
JUST_NOW_SECONDS = 0.25
# So long the hanging up may come behind the acknowledgement of what it is for.
CALM_SECONDS = 0.05
# What is no message, and needs no place.
ASKING = (SUBSCRIBING, READING)


class InFlight:
    """What is on the way on one connection, by the number that its acknowledgement will have.

    What is silent (QoS 0) has none: it has passed once something that was sent after it has. It is not
    counted as being on the way. Where acknowledgements are not `reliable` (MQTT 3.1.1 has no negative ones),
    an announcement has passed once the connection has outlasted its own. A record has at once, and is told.
    """

    def __init__(self, suspects: SuspectMessages, *, reliable: bool = True) -> None:
        self._suspects, self._reliable = suspects, reliable
        self._unsure: str | int | None = None
        """What was acknowledged last, while the connection may yet be lost over it."""
        self._keys: dict[int, str | int] = {}
        self._silent: dict[str, int] = {}
        self._began_at, self._landed_at = time.monotonic(), -math.inf
        self._held, self._released, self._let_go = set[str | int](), set[str | int](), set[int]()
        self._announced = set[int]()
        self._refused = set[str | int]()
        """What was refused since the broker has taken anything: some hang up once they have said no."""
        self.takes_others = self.takes_records = False
        """Whether the broker has taken a message on this connection, and a record."""
        self.offered: int | None = None
        """The record that goes before its turn: it is not blamed for a loss."""

    @property
    def lasted(self) -> float:
        return time.monotonic() - self._began_at

    def is_held(self, key: str | int) -> bool:
        """Whether it is not to be sent yet; then it is known to wait."""
        if self._suspects.has_to_last(key) is None:
            return False
        self._held.add(key)
        return self.seconds_held(key) > 0

    def seconds_held(self, key: str | int) -> float:
        """How long it is held back; infinity until the broker takes another.

        Of those that are, while none is taken, one goes first: the one that was not tried for longest.
        """
        has_to_last = self._suspects.has_to_last(key)
        if has_to_last is None:
            return 0.0
        takes_any = self.takes_others if isinstance(key, str) else self.takes_records
        if not takes_any and self._suspects.longest_untried(self._held | self._released) != key:
            return math.inf
        return max(has_to_last - self.lasted, 0.0)

    @property
    def is_offering(self) -> bool:
        return self.offered in self._keys.values()

    @property
    def announced(self) -> int:
        """How many announcements have a place, those among them that are waited for no longer."""
        return len(self._announced)

    @property
    def holds_any(self) -> bool:
        """Whether any is yet to be sent, or was let go."""
        return bool(self._held or self._let_go)

    def seconds_to_release(self) -> float:
        """How long until one that was held back may be sent, infinity where none is known to be."""
        if self._released:  # those that nobody has told since make room
            return 0.0
        if self._held and self._unsure is not None:
            return self.seconds_unsure()
        return min(map(self.seconds_held, self._held), default=math.inf)

    def release(self) -> bool:
        """Tell whether announcements that were held back may be sent now: all are to be told again."""
        self._trust(after=CALM_SECONDS)
        self._released = set()
        self._released = {key for key in self._held if self.seconds_held(key) <= 0}
        self._held -= self._released
        return any(isinstance(key, str) for key in self._released)

    def __len__(self) -> int:
        return len(self._keys) - len(self._silent)

    def __contains__(self, mid: int) -> bool:
        return mid in self._keys

    @property
    def is_idle(self) -> bool:
        """Whether a loss is for nothing that was sent; in MQTT 3.1.1 that may have been acknowledged."""
        return not (len(self) or self._refused or time.monotonic() - self._landed_at < JUST_NOW_SECONDS)

    def began(self, mid: int, key: str | int) -> None:
        self._held.discard(key)
        self._keys[mid] = key
        if isinstance(key, str) and not key.startswith(ASKING):
            self._announced.add(mid)

    def depart(self, key: str | int, send: Callable[[], int | None]) -> int | None:
        """Send it; a broker may hang up so soon that the client takes it for not sent."""
        try:
            return send()
        except SinkError:
            self._keys[DEPARTING] = key
            raise

    def began_silently(self, mid: int, key: str) -> None:
        self._keys.pop(self._silent.get(key, -1), None)
        self._keys[mid], self._silent[key] = key, mid

    def ended(self, mids: Sequence[int], *, refused: Collection[int] = ()) -> Mapping[int, str | int]:
        """Return what has landed, if only to be refused."""
        silent = self._silent.values()
        landed = {mid: self._keys[mid] for mid in mids if mid in self._keys and mid not in silent}
        self._announced.difference_update(mids)
        if landed:
            self._landed_at = time.monotonic()
        if landed and silent:
            self._silence_ends(landed)
        for mid, key in landed.items():
            del self._keys[mid]
            if mid in refused:
                self._note_refusal(key)
            else:
                self._note_acknowledgement(key)
        return landed

    def _note_acknowledgement(self, key: str | int) -> None:
        self._trust(after=0.0)  # the broker has said something since
        self._refused.clear()
        if isinstance(key, int) or self._reliable or key.startswith(ASKING):
            self._passed(key)
        if not self._reliable and (isinstance(key, int) or not key.startswith(ASKING)):
            self._unsure = key

    def seconds_unsure(self) -> float:
        """How long until what was acknowledged last has passed as well."""
        self._trust(after=CALM_SECONDS)
        if self._unsure is None:
            return 0.0
        return max(self._landed_at + CALM_SECONDS - time.monotonic(), 0.0)

    @property
    def unsure_record(self) -> int | None:
        """The record that was acknowledged last, while the connection may yet be lost over it."""
        self._trust(after=JUST_NOW_SECONDS)
        return self._unsure if isinstance(self._unsure, int) else None

    def _trust(self, *, after: float) -> None:
        if self._unsure is None or time.monotonic() - self._landed_at < after:
            return
        if isinstance(self._unsure, str):
            self._passed(self._unsure)
        self._unsure = None

    def _passed(self, key: str | int) -> None:
        self._suspects.passed(key)
        self.takes_records |= isinstance(key, int)
        self.takes_others |= isinstance(key, int) or not key.startswith(ASKING)

    def _note_refusal(self, key: str | int) -> None:
        if isinstance(key, int) or not key.startswith(ASKING):
            self._refused.add(key)

    def let_go(self) -> bool:
        """Count no announcement as on the way that is: the broker has not hung up on it. Tell if any was."""
        silent = self._silent.values()
        gone = {mid for mid, key in self._keys.items() if isinstance(key, str) and mid not in silent}
        for mid in gone:
            self._suspects.passed(self._keys.pop(mid))
        self._let_go |= gone
        return bool(gone)

    def _silence_ends(self, landed: Mapping[int, str | int]) -> None:
        """Let go of what was sent before the last of these, without a word of its own."""
        sent = list(self._keys)
        last = max(sent.index(mid) for mid in landed)
        for key, mid in list(self._silent.items()):
            if sent.index(mid) < last:
                del self._silent[key], self._keys[mid]
                self._suspects.passed(key)

    def lost(self) -> Sequence[str | int]:
        """Take note of it, and return what is set aside now: of records that were refused, that is known."""
        if self._refused:
            return self.lost_over({key for key in self._refused if isinstance(key, str)})
        keys = {key for key in self._keys.values() if key != self.offered}
        self._trust(after=0.0 if any(isinstance(key, int) for key in keys) else JUST_NOW_SECONDS)
        return self.lost_over(keys | {self._unsure} if isinstance(self._unsure, str) else keys)

    def lost_over_acknowledged(self) -> int | None:
        """Return the record that it can only have been lost over, if it was for what was sent."""
        return None if self._keys else self.unsure_record

    def waited(self) -> None:
        """Take note, as the connection is lost, of what was held back though the broker took others."""
        if self.takes_others:
            self._suspects.waited(self._held)

    def lost_over(self, keys: Collection[str | int]) -> Sequence[str | int]:
        """Take note of it, and return what is set aside now."""
        if any(isinstance(key, int) for key in keys):
            decides = self.takes_records or self._suspects.takes_records
        else:
            decides = self.takes_others or self._held <= set(keys)
        return self._suspects.lost(keys, lasted=self.lasted, decides=decides)
