"""How many notifications there may be in an hour, of all targets together."""

import threading
from collections.abc import Iterable

MOST = 30
SECONDS = 3600.0


class HourlyAllowance:
    """Thread-safe. Times are of the wall clock: they are kept over restarts."""

    def __init__(self, sent: Iterable[float] = (), *, most: int = MOST) -> None:
        self._sent, self._most = sorted(sent), most
        self._lock = threading.Lock()

    def take(self, now: float) -> float:
        """Take one and return 0, or else the seconds until there is one to be had."""
        with self._lock:
            # A clock that was set back leaves times to come, which say nothing.
            self._sent = [at for at in self._sent if now - SECONDS < at <= now]
            if len(self._sent) >= self._most:
                return self._sent[-self._most] + SECONDS - now
            self._sent.append(now)
            return 0.0

    def give_back(self, taken: float) -> None:
        """It was not used."""
        with self._lock:
            if taken in self._sent:
                self._sent.remove(taken)

    @property
    def is_used_up(self) -> bool:
        """Whether the one that was just taken was the last for now."""
        with self._lock:
            return len(self._sent) >= self._most
