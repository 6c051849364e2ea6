"""What follows once records are durable: lines in the log, figures, filing, and a note of these."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from dropsight import crashpoints
from dropsight.journal.event_messages import count_event
from dropsight.journal.filer import Filer
from dropsight.journal.hand import OutcomesInHand
from dropsight.journal.loglines import LogLines
from dropsight.journal.recording import Durable, Recorded, RecordedBurst, RecordedEvent, records_in
from dropsight.journal.settling import Settler
from dropsight.status.stats import Stats
from dropsight.status.supervision import Chores


class Consequences:
    """For the recorder's thread. A bug in one of them is nobody's failure: the others follow all the same."""

    def __init__(
        self,
        hand: OutcomesInHand,
        settler: Settler,
        lines: LogLines,
        stats: Stats,
        filer: Filer,
        *,
        chores: Chores,
        contained: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._hand, self._settler, self._log, self._stats = hand, settler, lines, stats
        self._filer, self._chores, self._contained = filer, chores, contained

    def follow(self, entries: Sequence[Durable]) -> None:
        """Have it follow for each that nobody has followed up yet."""
        entries = [entry for entry in entries if self._is_left(entry)]
        if not entries:
            return
        images = [entry for entry in entries if isinstance(entry, Recorded)]
        recorded = records_in(entries)
        self._settler.follow(entries)
        self._hand.followed(*[entry.finished.candidate.path for entry in images])
        with self._contained("the log"):
            self._log.append([entry.line for entry in recorded], newest=self._settler.newest)
        with self._contained("stats"):
            self._stats.add([(entry.record, entry.total_ms) for entry in recorded])
            for told in (entry.message for entry in entries if isinstance(entry, RecordedEvent)):
                count_event(self._stats, told)
            crashpoints.reach("after_line")
        with self._contained("filing"):
            self._filer.file(images)
            crashpoints.reach("after_filing")
        self._chores.do("the journal", self._settler.settle)
        with self._contained("the journal"):
            crashpoints.reach("after_settle")

    def _is_left(self, entry: Durable) -> bool:
        """Whether nobody has followed it up yet: after a bug, what is on record is found once more."""
        match entry:
            case Recorded():
                return self._hand.holds(entry.finished.candidate.path)
            case RecordedEvent():
                return entry.seq > self._settler.newest
            case RecordedBurst():
                return True
