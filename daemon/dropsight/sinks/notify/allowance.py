"""How many notifications there may be in an hour, of all targets together, and how many of one source."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MOST = 30
SECONDS = 3600.0
KNOWN_SECONDS = 30 * 86_400.0
KNOWN = 2
"""So many are enough to say of any camera whether there is another one."""


Key = tuple[str, ...]


class ToldSource(NamedTuple):
    """An inbox and a camera of it; "" where there is none, or several."""

    inbox: str = ""
    camera: str = ""

    @property
    def keys(self) -> frozenset[Key]:
        """Return by what its share is counted: the inbox, and the camera in it."""
        inbox = {(self.inbox,)} if self.inbox else set[Key]()
        return frozenset(inbox | {tuple(self)} if self.camera else inbox)


class Sent(NamedTuple):
    """When something was told, and of what."""

    at: float
    source: ToldSource = ToldSource()


class HourlyAllowance:
    """Thread-safe. Times are of the wall clock: they are kept over restarts.

    Of several inboxes, each has its share, half of them. Where another camera was told of in the last thirty
    days, too, a camera has half of what its inbox has.
    """

    def __init__(self, sent: Iterable[Sent] = (), *, inboxes: int = 1, most: int = MOST) -> None:
        self._sent, self._most = sorted(sent), most
        self._of_inbox = most // 2 if inboxes > 1 else most
        self._known = {each.source: each.at for each in self._sent if each.source.camera}
        self._lock = threading.Lock()

    def take(self, sent: Sent, *, beyond_share: bool = False) -> float:
        """Take one and return 0, or else the seconds until there is one to be had."""
        with self._lock:
            now = sent.at
            self._forget(now)
            if seconds := self._seconds_to_next(now):
                return seconds
            if not beyond_share and (full := self._full(now).keys() & sent.source.keys):
                own = [each.at for each in self._sent if full & each.source.keys]
                return own[0] + SECONDS - now
            self._sent.append(sent)
            if sent.source.camera:
                self._known[sent.source] = now
            return 0.0

    def seconds_to_next(self, now: float) -> float:
        """Return the seconds until there is one to be had, 0 where there is, of all cameras together."""
        with self._lock:
            self._forget(now)
            return self._seconds_to_next(now)

    def give_back(self, taken: Sent) -> None:
        """It was not used."""
        with self._lock:
            if taken in self._sent:
                self._sent.remove(taken)

    def full(self, now: float) -> Mapping[Key, int]:
        """Return who has had his share, and how many that are."""
        with self._lock:
            self._forget(now)
            return self._full(now)

    @property
    def is_used_up(self) -> bool:
        """Whether the one that was just taken was the last for now."""
        with self._lock:
            return len(self._sent) >= self._most

    def _seconds_to_next(self, now: float) -> float:
        return self._sent[-self._most].at + SECONDS - now if len(self._sent) >= self._most else 0.0

    def _forget(self, now: float) -> None:
        """A clock that was set back leaves times to come, which say nothing."""
        self._sent = [each for each in self._sent if now - SECONDS < each.at <= now]
        latest = sorted(self._known, key=self._known.__getitem__)[-KNOWN:]
        self._known = {source: self._known[source] for source in latest}

    def _full(self, now: float) -> dict[Key, int]:
        told = Counter(key for each in self._sent for key in each.source.keys)
        shares = {key: self._share(key, now) for key in told}
        return {key: share for key, share in shares.items() if told[key] >= share < self._most}

    def _share(self, key: Key, now: float) -> int:
        if len(key) == 1:
            return self._of_inbox
        has = self._of_inbox if key[0] else self._most
        others = (at for source, at in self._known.items() if source != key)
        return has // 2 if any(at > now - KNOWN_SECONDS for at in others) else has
