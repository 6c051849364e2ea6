"""What became of records since their commit, noted in the journal: they are final, and may be pruned."""

from collections.abc import Sequence

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.journal.durability import Durability
from dropsight.journal.filer import Filer
from dropsight.journal.kept_files import KeptChanges
from dropsight.journal.loglines import LogLines
from dropsight.journal.marks import History
from dropsight.journal.mishaps import tell_unless_damaged
from dropsight.journal.pruning import Pruner
from dropsight.journal.recording import Durable, Listener, records_in
from dropsight.journal.store import Journal
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

# Lines that the log may be ahead of its cursor by, in a long catch-up.
UNNOTED_LINES = 256


class Settler:
    """For the recorder's thread, but for `note_kept` and the flags."""

    def __init__(  # noqa: PLR0913 - what it notes of each
        self,
        store: Journal,
        lines: LogLines,
        filer: Filer,
        durability: Durability,
        history: History,
        *,
        pruner: Pruner,
        newest: int,
        troubles: Troubles,
        supervision: Supervision,
        audience: Listener,
    ) -> None:
        self._store, self._log, self._filer = store, lines, filer
        self._durability, self._history, self._pruner = durability, history, pruner
        self._troubles, self._contained, self._audience = troubles, supervision.contained, audience
        self._totals: list[tuple[float, int]] = []
        self._untold: list[Durable] = []
        self._kept: list[KeptChanges] = []
        self._log_noted = lines.synced
        self.newest = newest
        self.visible = 0
        """Records up to this seq have their final line: a publisher may read them."""
        self.shelf_is_whole = False
        """All that was filed before this start is on the shelf. Set by any thread."""

    @property
    def at_rest(self) -> bool:
        return self._pruner.at_rest and self._all_is_noted

    @property
    def _all_is_noted(self) -> bool:
        return not (self._totals or self._kept or self._untold)

    def note_kept(self, news: KeptChanges) -> None:
        """Of files that stay where they are. From any thread."""
        self._kept.append(news)

    @property
    def has_kept_to_note(self) -> bool:
        return bool(self._kept)

    def follow(self, recorded: Sequence[Durable]) -> None:
        """These are durable: they are to be settled."""
        self.newest = max(self.newest, *[entry.seq for entry in recorded])
        self._totals += [(entry.total_ms, entry.seq) for entry in records_in(recorded)]
        self._untold.extend(recorded)

    def settle(self) -> None:
        places = self._history.places()
        cursors = {"log": self._log.synced, **places}
        if self.shelf_is_whole:
            cursors["shelf"] = self.newest
        kept = list(self._kept)
        if self._history.has_moved():
            crashpoints.reach("before_puback_commit")
        try:
            crashpoints.reach("in_settling")
            self._store.settle(
                totals=self._totals,
                filed=self._durability.filed,
                cursors=cursors,
                shelved=self._filer.shelved,
                left=self._filer.left,
                lost=self._filer.gone.lost,
            )
            self._store.note_kept(KeptChanges.merged(kept))
        except StoreError as error:
            tell_unless_damaged(error, self._troubles)
            return
        self._troubles.cleared("journal")
        self._totals = []
        self._pruner.note_filed(len(self._durability.filed))
        self._durability.settled()
        self._filer.settled()
        del self._kept[: len(kept)]
        self._history.noted(places)
        self._log_noted = cursors["log"]
        self.visible = self.newest
        self._tell()

    def settle_if_due(self) -> None:
        news = self._history.has_moved() or self._log.synced - self._log_noted >= UNNOTED_LINES
        if self._durability.filed or self._filer.left or not self._all_is_noted or news:
            self.settle()

    def prune_if_due(self) -> None:
        crashpoints.reach("before_pruning")
        settled = min(self._log.synced, self.visible)
        try:
            self._pruner.prune_if_due(newest=self.newest, settled=settled)
        except StoreError as error:
            tell_unless_damaged(error, self._troubles)

    def _tell(self) -> None:
        if self._untold:
            untold, self._untold = self._untold, []
            with self._contained("telling of records"):
                crashpoints.reach("in_telling")
                self._audience.hear(untold)
