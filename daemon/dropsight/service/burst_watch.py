"""Follows the journal for photos that belong together, and has a record made of each burst."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

from dropsight import crashpoints
from dropsight.config import Video
from dropsight.errors import DamagedError, StoreError
from dropsight.inference.bursts import Burst, Photo, result_of
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal.marks import BURSTS, Mark
from dropsight.journal.photos import Gathering, PhotoReader
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import Durable
from dropsight.status.supervision import Supervision

# A look costs more than a photo more in it: nobody waits for a burst by the half of a second.
REST_SECONDS, RETRY_SECONDS = 0.5, 1.0


class Bursts:
    """A thread of its own. Its mark stays before the first photo of a burst that is not on record.

    After a crash the photos from there on are grouped again. Which of them belong together their records say,
    so a burst comes out as it would have, with the same id.
    """

    def __init__(
        self,
        mark: Mark,
        folders: Sequence[DropFolder],
        recorder: Recorder,
        backlog: Backlog,
        *,
        settings: Video,
        journal: Path,
        supervision: Supervision,
    ) -> None:
        self._mark, self._folders, self._journal, self._settings = mark, folders, journal, settings
        self._recorder, self._backlog, self._supervision = recorder, backlog, supervision
        self._news, self._ending = Event(), Event()
        self._given: dict[str, Sequence[Photo]] = {}
        self._thread: Thread | None = None
        self._closes = False

    def hear(self, _: Sequence[Durable], /) -> None:
        """See `Listener`: what there is, is read from the journal."""
        self._news.set()

    def start(self) -> None:
        self._thread = self._supervision.start(BURSTS, self._run)

    def end(self, *, close: bool) -> None:
        """Look once more. With `close`, what goes on is over; else it goes on in the next life."""
        self._closes = close
        self._ending.set()
        self._news.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        """Until `end`; begun again after an internal error, it goes on from the journal."""
        with closing(PhotoReader(self._journal)) as reader:
            gathering = Gathering(reader, self._folders, self._mark.seq, self._given)
            while True:
                self._news.clear()
                ending = self._ending.is_set()
                try:
                    self._look(gathering, close=ending and self._closes)
                except DamagedError:
                    raise
                except StoreError as error:
                    self._recorder.troubles.raised(BURSTS, error)
                    self._ending.wait(RETRY_SECONDS)
                    self._news.set()
                else:
                    self._recorder.troubles.cleared(BURSTS)
                if ending:
                    return
                seconds = gathering.next_over - time.monotonic()
                self._news.wait(None if seconds == math.inf else max(seconds, 0.0))
                self._ending.wait(REST_SECONDS)

    def _look(self, gathering: Gathering, *, close: bool) -> None:
        # Asked before the journal is read: what no longer waits is in there.
        may_be_over = time.monotonic() >= gathering.next_over
        waiting_since = self._backlog.waiting_since() if may_be_over else -math.inf
        bugs: list[Exception] = []
        for burst in gathering.over(time.monotonic(), waiting_since=waiting_since, close=close):
            try:
                self._give(gathering, burst)
            except Exception as bug:  # noqa: BLE001 - one burst's, which the journal has all photos of
                bugs.append(bug)
        if bugs:
            raise bugs[0]
        if (settled := gathering.settled) > self._mark.seq:
            self._recorder.acknowledge(self._mark, settled)

    def _give(self, gathering: Gathering, burst: Burst) -> None:
        how, most = self._settings.aggregate, self._settings.top_k_frames
        record = result_of(burst, how=how, top_k_photos=most, at=time.time())
        crashpoints.reach("before_burst")
        gathering.give(record.id, burst)
        self._recorder.conclusions.put(record)
