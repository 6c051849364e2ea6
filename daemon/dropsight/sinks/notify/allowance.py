"""How many notifications there may be in an hour, of all targets together, and how many of one camera."""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MOST = 30
SECONDS = 3600.0
KNOWN_SECONDS = 30 * 86_400.0
KNOWN = 2
"""So many are enough to say of any camera whether there is another one."""


class Sent(NamedTuple):
    """When something was told, and of which camera; "" of several at once."""

    at: float
    camera: str = ""


class HourlyAllowance:
    """Thread-safe. Times are of the wall clock: they are kept over restarts.

    Where another camera was told of in the last thirty days, too, a camera has its share: half of them.
    """

    def __init__(self, sent: Iterable[Sent] = (), *, most: int = MOST) -> None:
        self._sent, self._most, self.share = sorted(sent), most, most // 2
        self._known = {each.camera: each.at for each in self._sent if each.camera}
        self._lock = threading.Lock()

    def take(self, sent: Sent, *, beyond_share: bool = False) -> float:
        """Take one and return 0, or else the seconds until there is one to be had."""
        with self._lock:
            now = sent.at
            self._forget(now)
            if seconds := self._seconds_to_next(now):
                return seconds
            if not beyond_share and sent.camera in self._full(now):
                own = [each.at for each in self._sent if each.camera == sent.camera]
                return own[-self.share] + SECONDS - now
            self._sent.append(sent)
            if sent.camera:
                self._known[sent.camera] = now
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

    def full(self, now: float) -> set[str]:
        """Return the cameras that have had their share."""
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
        self._known = {camera: self._known[camera] for camera in latest}

    def _full(self, now: float) -> set[str]:
        known = {camera for camera, at in self._known.items() if at > now - KNOWN_SECONDS}
        told = Counter(each.camera for each in self._sent if each.camera)
        return {camera for camera, count in told.items() if count >= self.share and known - {camera}}
