"""Threads that serve no single image: after an internal error one is reported and restarted."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

import msgspec

from dropsight.errors import DamagedError, DropsightError, MachineError
from dropsight.names import as_text
from dropsight.status.troubles import Troubles
from dropsight.threads import PATIENCE_SECONDS, begin

log = logging.getLogger(__name__)

PART = "threads"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
# Work that has gone on for so long since has recovered.
GOOD_SECONDS = 120.0


def start(name: str, target: Callable[[], None], *, daemon: bool = False) -> threading.Thread:
    return begin(threading.Thread(target=target, name=name, daemon=daemon))


class _Crash(msgspec.Struct):
    """How a piece of work ended last, in monotonic seconds, and how often in a row."""

    text: str
    at: float
    times: int


class Supervision:
    """Thread-safe. What keeps failing stays a trouble, and is retried at least once a minute."""

    def __init__(self, troubles: Troubles, *, first_pause_seconds: float = FIRST_PAUSE_SECONDS) -> None:
        self._troubles, self._first_pause = troubles, first_pause_seconds
        self._falls: dict[str, _Crash] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(
        self,
        name: str,
        work: Callable[[], None],
        *,
        daemon: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> threading.Thread:
        """Run this on its own thread until it returns; restart it after every internal error.

        Raises MachineError where no thread can be started for so long.
        """
        thread = threading.Thread(target=self._keep_at, args=(name, work), name=name, daemon=daemon)
        return begin(thread, patience_seconds=patience_seconds)

    def contained(self, name: str) -> AbstractContextManager[None, bool]:
        """Report an internal error in here and go on; a journal that cannot be trusted is none.

        What it returns may be entered again and again: the work of one piece has a next time.
        """
        return _Contained(self, name)

    def fell(self, name: str, error: BaseException) -> float:
        """Report an internal error; return the seconds to wait before the work is restarted."""
        short = isinstance(error, MachineError)
        if not short:  # what is short is told whole by the trouble
            log.error("internal error in %s", name, exc_info=error)
        with self._lock:
            before = self._falls.get(name)
            times = before.times + 1 if before else 1
            pause = min(self._first_pause * float(2 ** min(times - 1, 16)), LONGEST_PAUSE_SECONDS)
            what = str(error) if short else f"internal error, see the log: {type(error).__name__}: {error}"
            text = as_text(f"{name}: {what}")
            again = f" (for the {times}th time in a row)" if times > 3 else ""
            self._falls[name] = _Crash(f"{text}; restarted after {pause:g} s{again}", time.monotonic(), times)
        self._tell()
        return pause

    def look(self) -> None:
        """Forget what recovered long ago."""
        now = time.monotonic()
        with self._lock:
            good = [name for name, fall in self._falls.items() if now - fall.at > GOOD_SECONDS]
            for name in good:
                del self._falls[name]
        if good:
            self._tell()

    def stop(self) -> None:
        """Begin nothing again from here on."""
        self._stopped.set()

    def _keep_at(self, name: str, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
            except DamagedError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug's, whatever it is
                if self._stopped.wait(self.fell(name, error)):
                    return
            else:
                return

    def _tell(self) -> None:
        with self._lock:
            texts = [fall.text for fall in self._falls.values()]
        if texts:
            self._troubles.raised(PART, DropsightError("; ".join(texts)))
        else:
            self._troubles.cleared(PART)


class _Contained:
    __slots__ = ("_name", "_supervision")

    def __init__(self, supervision: Supervision, name: str) -> None:
        self._supervision, self._name = supervision, name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, DamagedError) or not isinstance(error, Exception):
            return False
        self._supervision.fell(self._name, error)
        return True


class Chores:
    """Tasks of one thread, in turn: after an internal error one is reported and pauses, others go on."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._pausing_until: dict[str, float] = {}

    def do(self, name: str, work: Callable[[], None]) -> None:
        """Do it, unless it pauses; a journal that cannot be trusted is no bug."""
        if time.monotonic() < self._pausing_until.get(name, 0.0):
            return
        self._pausing_until.pop(name, None)
        try:
            work()
        except DamagedError:
            raise
        except Exception as error:  # noqa: BLE001 - that of one piece of work, which has a next time
            self._pausing_until[name] = time.monotonic() + self._supervision.fell(name, error)

    @property
    def any_pauses(self) -> bool:
        return bool(self._pausing_until)
