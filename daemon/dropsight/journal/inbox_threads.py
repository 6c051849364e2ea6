"""Threads of inboxes' own, for what waits for their disks: one that does not answer holds up no other."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from dropsight.files.reserve import Reserve
from dropsight.intake.folder import DropFolder
from dropsight.names import as_text
from dropsight.status.heartbeats import Heartbeats
from dropsight.threads import begins

# One that has had nothing to do for so long ends, until there is more.
IDLE_SECONDS = 60.0

Job = TypeVar("Job")
Work = Callable[[Sequence[Job]], float | None]
"""Gets what was put since, or nothing once as many seconds are over as it returned. Never raises."""


class InboxThreads(Generic[Job]):
    """For each inbox with something to be done a thread, called `name` and the inbox. Thread-safe."""

    def __init__(
        self,
        name: str,
        make: Callable[[DropFolder], Work[Job]],
        *,
        heartbeats: Heartbeats,
        reserve: Reserve,
        done: Callable[[], None],
    ) -> None:
        """`make` gives the work for an inbox; `done` is called after each."""
        self._name, self._make, self._heartbeats, self._done = name, make, heartbeats, done
        self._reserve = reserve
        self._threads: dict[DropFolder, _InboxThread[Job]] = {}
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """How many jobs were put and are not done."""
        return sum(thread.busy for thread in list(self._threads.values()))

    def put(self, folder: DropFolder, job: Job) -> None:
        """Have it done after those before it."""
        with self._lock:
            if (thread := self._threads.get(folder)) is None:
                name = f"{self._name} {as_text(folder.root)}"
                work = self._make(folder)
                thread = self._threads[folder] = _InboxThread(
                    name, work, self._heartbeats, self._reserve, self._done
                )
        thread.put(job)

    def begin(self) -> None:
        """Begin the threads for which the machine had no room when they were needed."""
        for thread in list(self._threads.values()):
            thread.begin()

    def finish(self, *, until: float) -> None:
        """Wait for what was put, up to this second of the monotonic clock: a disk may not answer any more."""
        threads = list(self._threads.values())
        for thread in threads:
            thread.end()
        for thread in threads:
            thread.join(until=until)


class _InboxThread(Generic[Job]):
    def __init__(
        self,
        name: str,
        work: Work[Job],
        heartbeats: Heartbeats,
        reserve: Reserve,
        done: Callable[[], None],
    ) -> None:
        self._name, self._work, self._done = name, work, done
        self._heartbeats, self._reserve = heartbeats, reserve
        self._jobs: list[Job] = []
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends = False
        self.busy = 0

    def put(self, job: Job) -> None:
        with self._news:
            self.busy += 1
            self._jobs.append(job)
            self._news.notify()
        self.begin()

    def begin(self) -> None:
        with self._news:
            if self._jobs and self._thread is None:
                # A daemon's: a process that is to end waits for no disk.
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread = thread if begins(thread) else None

    def end(self) -> None:
        with self._news:
            self._ends = True
            self._news.notify()

    def join(self, *, until: float) -> None:
        if thread := self._thread:
            thread.join(max(until - time.monotonic(), 0.0))

    def _run(self) -> None:
        seconds: float | None = None
        while (jobs := self._next(seconds)) is not None:
            with self._heartbeats.at_work(self._name), self._reserve.lent_where_short():
                seconds = self._work(jobs)
            with self._news:
                self.busy -= len(jobs)
            self._done()

    def _next(self, seconds: float | None) -> Sequence[Job] | None:
        """Wait for what there is to do; None where there is nothing."""
        with self._news:
            if not (self._jobs or self._ends):
                self._news.wait(IDLE_SECONDS if seconds is None else seconds)
            if not self._jobs and seconds is None:
                self._thread = None
                return None
            jobs, self._jobs = self._jobs, []
            return jobs
