"""Images on other disks than the journal's: threads of their inboxes sync them before they are recorded."""

from collections.abc import Callable, Sequence
from functools import partial

from dropsight import crashpoints
from dropsight.files.reserve import Reserve
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal.durability import Syncing
from dropsight.journal.inbox_threads import InboxThreads, Work
from dropsight.journal.recording import Outcome
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision

NAME = "syncing"


class Syncer:
    """From any thread. While many of an inbox wait for its disk, the backlog hands out no more of them."""

    def __init__(
        self,
        syncing: Syncing,
        backlog: Backlog,
        put: Callable[[Outcome], None],
        *,
        heartbeats: Heartbeats,
        reserve: Reserve,
        nudge: Callable[[], None],
        supervision: Supervision,
    ) -> None:
        """`put` is called with each image once it is on its disk, or cannot be."""
        self._syncing, self._backlog, self._put = syncing, backlog, put
        self._contained = supervision.contained
        self._threads: InboxThreads[Outcome] = InboxThreads(
            NAME, self._work_for, heartbeats=heartbeats, reserve=reserve, done=nudge
        )

    @property
    def busy(self) -> int:
        """How many have not been put yet."""
        return self._threads.busy

    def put(self, outcome: Outcome) -> None:
        """Have the recorder get it, at once or once it is on its disk."""
        folder = outcome.candidate.folder
        if not self._syncing.is_wanted or self._backlog.slow.is_own(outcome.stat.st_dev):
            self._put(outcome)
        else:
            self._backlog.waits_for_disk(folder, 1)
            self._threads.put(folder, outcome)

    def begin(self) -> None:
        """Begin the threads for which the machine had no room when they were needed."""
        self._threads.begin()

    def end(self) -> None:
        """Have the threads end, once their disks let them."""
        self._threads.finish(until=0.0)

    def _work_for(self, folder: DropFolder) -> Work[Outcome]:
        return partial(self._sync, folder)

    def _sync(self, folder: DropFolder, outcomes: Sequence[Outcome]) -> None:
        with self._contained(f"{NAME} of images"):
            crashpoints.reach("in_syncing_apart")
            self._syncing.images(folder, [outcome.path for outcome in outcomes])
        for outcome in outcomes:
            self._put(outcome)
        self._backlog.waits_for_disk(folder, -len(outcomes))
