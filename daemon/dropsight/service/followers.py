"""Those who follow the journal: made as the config asks for them, run, woken, and waited for at the end."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from dropsight.journal.marks import Mark
from dropsight.journal.recording import Durable
from dropsight.sinks.announcements import GOODBYE_SECONDS, AnnouncingFollower
from dropsight.sinks.sink import Follower, FollowerContext, FollowerSpec
from dropsight.status.stats import FollowerStats
from dropsight.status.supervision import Supervision

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
DRAIN_ONCE_SECONDS = 300.0
FIRST_CONNECT_SECONDS = 35.0
LOOK_SECONDS = 0.02


class Followers:
    """Thread-safe but for `start` and `end`, which are for the main thread. Raises ConfigError when made."""

    def __init__(self, wanted: Sequence[FollowerSpec], context: Callable[[Mark], FollowerContext]) -> None:
        self._marked = [(each.mark, each.make(context(each.mark))) for each in wanted]
        self._all = [follower for _, follower in self._marked]
        self._threads: list[threading.Thread] = []
        self.publisher = next((each for each in self._all if isinstance(each, AnnouncingFollower)), None)
        """The one that says more than records."""

    @property
    def refused(self) -> bool:
        """Whether another side has turned one away, the last time."""
        return any(each.refused for each in self._all)

    def standings(self, newest: int) -> Mapping[str, FollowerStats]:
        return {mark.name: _following(mark, follower, newest) for mark, follower in self._marked}

    def troubles(self) -> dict[str, str]:
        return {part: text for each in self._all for part, text in each.troubles.current().items()}

    def hear(self, _: Sequence[Durable], /) -> None:
        """See `Listener`: what there is, each reads from the journal."""
        for follower in self._all:
            follower.wake()

    def read_secrets(self) -> None:
        """Raises ConfigError, and then the former ones stay."""
        for follower in self._all:
            follower.read_secrets()

    def start(self, supervision: Supervision) -> None:
        self._threads = [supervision.start(mark.name, each.run) for mark, each in self._marked]

    def end(self, *, patient: Callable[[], bool]) -> None:
        """Have them hand on what is left: while `patient`, wait long, and for a first attempt too."""
        deadline = time.monotonic() + FIRST_CONNECT_SECONDS
        while patient() and not all(each.tried for each in self._all) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        if patient():
            self._stop(DRAIN_ONCE_SECONDS)
            deadline = time.monotonic() + DRAIN_ONCE_SECONDS
            while patient() and self._any_at_work() and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        self._stop(DRAIN_SECONDS)
        # In the middle of connecting to a broker that says nothing, it would hear of this too late.
        deadline = time.monotonic() + DRAIN_SECONDS + GOODBYE_SECONDS + 1.0
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def say_what_waits(self, *, newest: int) -> None:
        for mark, follower in self._marked:
            if waiting := mark.outstanding(newest) + follower.standing().held:
                what = "1 record is" if waiting == 1 else f"{waiting} records are"
                log.warning("%s queued in the outbox for %s", what, mark.who)

    def _any_at_work(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _stop(self, drain_seconds: float) -> None:
        for follower in self._all:
            follower.stop(drain_seconds=drain_seconds)


def _following(mark: Mark, follower: Follower, newest: int) -> FollowerStats:
    to, delivered, set_aside, held = follower.standing()
    waiting, trouble = mark.outstanding(newest) + held, follower.troubles.current().get(mark.name)
    return FollowerStats(to, delivered, set_aside, waiting, mark.dropped, trouble)
