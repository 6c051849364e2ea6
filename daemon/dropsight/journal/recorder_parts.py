"""What the recorder stands between, and what it is made of."""

import threading

import msgspec

from dropsight.files.reserve import Reserve
from dropsight.intake.backlog import Backlog
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.in_hand import InHand
from dropsight.journal.committing import Committer
from dropsight.journal.consequences import Consequences
from dropsight.journal.durability import Durability, Syncing
from dropsight.journal.entering import Keeper
from dropsight.journal.failure_share import Flood
from dropsight.journal.filer import Filer
from dropsight.journal.filing_recorded import RecordedFiling
from dropsight.journal.filing_threads import FilingThreads
from dropsight.journal.group_recording import GroupRecording
from dropsight.journal.hand import OutcomesInHand
from dropsight.journal.inbound import Inbound
from dropsight.journal.loglines import LineLog, LogLines
from dropsight.journal.marks import History
from dropsight.journal.pruning import Pruner
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import FilingRules, Listener
from dropsight.journal.settling import Settler
from dropsight.journal.store import Journal
from dropsight.journal.syncer import Syncer
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.stats import Stats
from dropsight.status.supervision import Chores, Supervision
from dropsight.status.troubles import Troubles


class RecorderContext(msgspec.Struct, frozen=True):
    """What a recorder is given: the store and the line log are its own from then on."""

    store: Journal
    lines: LineLog
    backlog: Backlog
    stats: Stats
    history: History
    in_hand: InHand
    troubles: Troubles
    supervision: Supervision
    rules: FilingRules
    audience: Listener
    events: Keeper | None = None


class SharedParts(msgspec.Struct, frozen=True):
    """What several of its parts work with."""

    inbound: Inbound
    heartbeats: Heartbeats
    heartbeats_apart: Heartbeats
    reserve: Reserve
    stopping: threading.Event
    chores: Chores
    reader: JournalReader
    refusals: Refusals
    hand: OutcomesInHand
    syncing: Syncing
    durability: Durability
    log: LogLines
    flood: Flood

    @classmethod
    def of(cls, context: RecorderContext) -> "SharedParts":
        store, troubles, supervision = context.store, context.troubles, context.supervision
        reader = JournalReader(store.path)
        syncing = Syncing(troubles, images=context.rules.durable)
        return cls(
            inbound=Inbound(),
            heartbeats=Heartbeats(),
            heartbeats_apart=Heartbeats(),
            reserve=Reserve(),
            stopping=threading.Event(),
            chores=Chores(supervision),
            reader=reader,
            refusals=Refusals(store.path.parent, troubles),
            hand=OutcomesInHand(reader, context.backlog, supervision=supervision, troubles=troubles),
            syncing=syncing,
            durability=Durability(syncing, context.backlog.slow, store.path.parent),
            log=LogLines(context.lines, reader, troubles, synced=store.cursor("log")),
            flood=Flood(troubles),
        )


class RecorderParts(msgspec.Struct, frozen=True):
    """Those that its loop drives, and what they share."""

    shared: SharedParts
    syncer: Syncer
    committer: Committer
    filer: Filer
    settler: Settler
    consequences: Consequences
    groups: GroupRecording

    @classmethod
    def of(cls, context: RecorderContext) -> "RecorderParts":
        """Make them, in the order in which they need each other."""
        context.history.resume(context.store.cursor)
        shared = SharedParts.of(context)
        newest = shared.reader.newest()
        committer, filer = _committer(context, shared), _filer(context, shared)
        settler = _settler(context, shared, filer, newest=newest)
        consequences = Consequences(
            shared.hand,
            settler,
            shared.log,
            context.stats,
            filer,
            chores=shared.chores,
            contained=context.supervision.contained,
        )
        return cls(
            shared=shared,
            syncer=_syncer(context, shared),
            committer=committer,
            filer=filer,
            settler=settler,
            consequences=consequences,
            groups=GroupRecording(
                committer,
                shared.hand,
                shared.reader,
                filer,
                settler,
                consequences,
                troubles=context.troubles,
                newest_before=newest,
            ),
        )


def _syncer(context: RecorderContext, shared: SharedParts) -> Syncer:
    return Syncer(
        shared.syncing,
        context.backlog,
        shared.inbound.put,
        heartbeats=shared.heartbeats_apart,
        reserve=shared.reserve,
        nudge=shared.inbound.nudge,
        supervision=context.supervision,
    )


def _committer(context: RecorderContext, shared: SharedParts) -> Committer:
    return Committer(
        context.store,
        shared.durability,
        context.in_hand,
        heartbeats=shared.heartbeats,
        troubles=context.troubles,
        supervision=context.supervision,
        stopping=shared.stopping,
        events=context.events,
    )


def _filer(context: RecorderContext, shared: SharedParts) -> Filer:
    filing = RecordedFiling(context.troubles, context.rules.max_copy_bytes)
    threads = FilingThreads(
        filing,
        shared.syncing,
        context.supervision,
        heartbeats=shared.heartbeats_apart,
        reserve=shared.reserve,
        nudge=shared.inbound.nudge,
    )
    return Filer(
        context.backlog,
        context.troubles,
        shared.refusals,
        shared.durability,
        filing,
        threads,
        in_hand=context.in_hand,
        heartbeats=shared.heartbeats,
    )


def _settler(context: RecorderContext, shared: SharedParts, filer: Filer, *, newest: int) -> Settler:
    return Settler(
        context.store,
        shared.log,
        filer,
        shared.durability,
        context.history,
        pruner=Pruner(context.store, shared.reader, context.history, shared.flood),
        newest=newest,
        troubles=context.troubles,
        supervision=context.supervision,
        audience=context.audience,
    )
