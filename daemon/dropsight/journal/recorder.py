"""Group commit: results become durable, are logged, their images are filed away, and followers are woken."""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from dropsight import crashpoints
from dropsight.errors import DamagedError
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import RECORDING
from dropsight.journal.concluding import Conclusions
from dropsight.journal.filer import NAME
from dropsight.journal.kept_files import KeptChanges
from dropsight.journal.left_behind import LeftBehind
from dropsight.journal.loglines import SYNC_SECONDS
from dropsight.journal.marks import Mark
from dropsight.journal.occurrences import Occurrences
from dropsight.journal.recorder_parts import RecorderContext, RecorderParts
from dropsight.journal.recording import Outcome
from dropsight.records import decode


class Recorder:
    """Owns the store and the line log; everything but the methods that say so runs on `run`'s thread.

    What was in hand when a bug struck is followed up where the journal has it, else let go. Only a journal
    that cannot be trusted ends `run`.
    """

    def __init__(self, context: RecorderContext) -> None:
        parts = RecorderParts.of(context)
        shared = parts.shared
        self._store, self._backlog, self._in_hand = context.store, context.backlog, context.in_hand
        self._supervision, self._contained = context.supervision, context.supervision.contained
        self.troubles, self.refusals = context.troubles, shared.refusals
        self.heartbeats, self._chores = shared.heartbeats, shared.chores
        self.heartbeats_apart = shared.heartbeats_apart
        """Of threads that wait for disks of inboxes: none of them holds up another."""
        self._syncer = parts.syncer
        self._inbound, self._stopping, self._hand = shared.inbound, shared.stopping, shared.hand
        self._reader, self._log, self._flood = shared.reader, shared.log, shared.flood
        self._durability, self._filer, self._settler = shared.durability, parts.filer, parts.settler
        self._committer, self._groups, self._consequences = parts.committer, parts.groups, parts.consequences
        nudge = self._inbound.nudge
        self.conclusions = Conclusions(context.store, context.troubles, nudge=nudge)
        self.occurrences = Occurrences(context.store, context.events, context.troubles, nudge=nudge)
        self._reserve = shared.reserve
        self._draining, self._drained = False, threading.Event()
        self.refuses = self._filer.refuses
        """Whether an image had better stay where it is for now. From any thread."""

    def put(self, outcome: Outcome) -> None:
        """Hand over an image's outcome, from any thread; waits for the journal, at the end not for ever."""
        self._syncer.put(outcome)

    @property
    def newest(self) -> int:
        """The seq of the newest durable record."""
        return self._settler.newest

    @property
    def visible(self) -> int:
        """Records up to this seq have their final line: a publisher may read them."""
        return self._settler.visible

    @property
    def held_up(self) -> bool:
        """The journal takes nothing for now: whoever waits for the recorder does so rightly."""
        return self._committer.held_up

    @property
    def shelf_is_whole(self) -> bool:
        """All that was filed before this start is on the shelf."""
        return self._settler.shelf_is_whole

    def note_whole_shelf(self) -> None:
        """From any thread."""
        self._settler.shelf_is_whole = True

    def end_within(self, *, seconds: float) -> None:
        """Have no `put` wait for longer than this: the journal may take nothing any more. From any thread."""
        self._inbound.end_within(seconds=seconds)

    def depth(self) -> int:
        return self._inbound.depth()

    def acknowledge(self, mark: Mark, seq: int) -> None:
        """Note that a follower has everything up to here. From any thread."""
        mark.seq = seq
        self._inbound.nudge()

    def drain(self, *, seconds: float) -> bool:
        """Wait until everything that was put is durable and visible; tell whether it is. From any thread."""
        self._drained.clear()
        self._draining = True
        self._inbound.nudge(hurry=True)
        return self._drained.wait(seconds)

    def note_kept(self, news: KeptChanges) -> None:
        """Of files that stay where they are. From any thread."""
        self._settler.note_kept(news)
        self._inbound.nudge()

    @property
    def has_kept_to_note(self) -> bool:
        """Whether the journal has yet to hear some of what `note_kept` was told."""
        return self._settler.has_kept_to_note

    def stop(self) -> None:
        """Record what was put, then let `run` return. From any thread."""
        self._stopping.set()
        self._inbound.nudge(hurry=True)

    def recover(
        self, folders: Sequence[DropFolder], *, is_away: Callable[[bytes], bool] = lambda _: False
    ) -> None:
        """Mend what a crash may have left between a commit and its consequences; before `run`.

        What lies in an inbox that is away, or in none of the config, stays to be filed, for a start at which
        it is there. Where all was copied to another place, it is known by its path in the inbox.
        """
        self._log.recover(upto=self.newest)
        self._filer.open(folders)
        self._filer.gone.recall(self._reader)
        for piece in self._store.unfiled():
            rows = [row for row in piece if not is_away(row.path)]
            # Of several records of one path none lets go of it before all are seen to: others would find it.
            for row, behind in [(row, LeftBehind.of(row, folders, self._backlog)) for row in rows]:
                if behind:
                    self._filer.take_up(behind)
                else:
                    self._filer.gone.left_behind(row, decode(row.line))
                    self._filer.gone.may_come_back(row.seq)
            self._durability.sync()
            self._settler.settle()
        self._settler.settle()

    def run(self) -> None:
        while True:
            try:
                if (self._stopping.is_set() and not self._inbound.depth()) or not self._turn():
                    break
            except DamagedError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug's, and so nobody's
                if self._stopping.wait(self._supervision.fell("recording", error)):
                    break
        for name, last in (
            ("filing", self._filer.finish),
            ("the log", self._log.sync),
            ("syncing", self._durability.sync),
            ("threads", self._syncer.end),
            ("the journal", self._settler.settle),
            ("the journal", self._reader.close),
            ("descriptors", self._reserve.close),
            ("heartbeats", self._rest),
        ):
            with self._contained(name):
                last()

    def _rest(self) -> None:
        self.heartbeats.rest(NAME)

    def _turn(self) -> bool:
        """Take a group all the way and keep house; False when nothing is taken and it is time to stop."""
        self.heartbeats.beat(NAME)
        self._make_good()
        self._conclude()
        self._gather()
        with self._reserve.lent_where_short():
            if not self._groups.record(self._hand.made()):
                return False
            self._keep_house()
        self._syncer.begin()
        is_in = not (self._syncer.busy or self._inbound.depth())
        is_through = is_in and self.conclusions.at_rest and self.occurrences.at_rest
        if self._draining and is_through and self.visible == self.newest:
            self._drained.set()
        return True

    def _make_good(self) -> None:
        """After a turn that a bug ended: follow up what is on record, let go of the rest."""
        self._consequences.follow(self._hand.on_record())
        self._hand.let_all_go()
        self._hand.begin(newest=self.newest)

    def _conclude(self) -> None:
        with self._contained("bursts"), self._reserve.lent_where_short():
            self._consequences.follow(self.conclusions.commit())
        with self._contained("events"), self._reserve.lent_where_short():
            self._consequences.follow(self.occurrences.commit())

    def _gather(self) -> None:
        """Wait for the first; then for company, but only when a commit was made just now."""
        self.heartbeats.rest(NAME)
        seconds = SYNC_SECONDS if self._chores.any_pauses else self._log.seconds_to_sync
        timeout = self.occurrences.seconds_to_next(None if self._at_rest() else seconds)
        with contextlib.suppress(queue.Empty):
            self._hand.take(self._inbound.get(timeout=timeout))
        self.heartbeats.beat(NAME)
        if not self._hand.paths:
            return
        at_once = self._draining or self._stopping.is_set()
        pause = 0.0 if at_once else self._committer.pace.seconds_to_wait(waiting=self._backlog.to_come())
        self._hand.take(*self._inbound.company(seconds=pause))
        with self._contained("what is in hand"):
            crashpoints.reach("in_noting")
            self._in_hand.note_all(RECORDING, self._hand.paths, "record")

    def _at_rest(self) -> bool:
        if self.troubles.any() or self._stopping.is_set():
            return False
        parts = (self._log, self._filer, self._durability, self._settler, self.conclusions, self.occurrences)
        return all(part.at_rest for part in parts)

    def _keep_house(self) -> None:
        """Whatever is due between two groups."""
        for name, work in (
            ("the log", self._log.sync_if_due),
            ("filing", self._filer.try_again),
            ("syncing", self._durability.sync_if_due),
            ("failures", lambda: self._flood.look(lines=self._log.set_apart)),
            ("the journal", self._settler.settle_if_due),
            ("pruning", self._settler.prune_if_due),
        ):
            self._chores.do(name, work)
