"""What the recorder stands between, and what it is made of."""

import threading

import msgspec

from dropsight.intake.backlog import Backlog
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.in_hand import InHand
from dropsight.journal.committing import Committer
from dropsight.journal.consequences import Consequences
from dropsight.journal.durability import Durability
from dropsight.journal.entering import Keeper
from dropsight.journal.failure_share import Flood
from dropsight.journal.filer import Filer
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
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.stats import Stats
from dropsight.status.supervision import Chores, Supervision
from dropsight.status.troubles import Troubles


class Surroundings(msgspec.Struct, frozen=True):
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
    stopping: threading.Event
    chores: Chores
    reader: JournalReader
    refusals: Refusals
    hand: OutcomesInHand
    durability: Durability
    log: LogLines
    flood: Flood

    @classmethod
    def of(cls, around: Surroundings) -> "SharedParts":
        store, troubles, supervision = around.store, around.troubles, around.supervision
        reader = JournalReader(store.path)
        return cls(
            inbound=Inbound(),
            heartbeats=Heartbeats(),
            stopping=threading.Event(),
            chores=Chores(supervision),
            reader=reader,
            refusals=Refusals(store.path.parent, troubles),
            hand=OutcomesInHand(reader, around.backlog, supervision=supervision, troubles=troubles),
            durability=Durability(troubles, images=around.rules.durable),
            log=LogLines(around.lines, reader, troubles, synced=store.cursor("log")),
            flood=Flood(troubles),
        )


class RecorderParts(msgspec.Struct, frozen=True):
    """Those that its loop drives, and what they share."""

    shared: SharedParts
    committer: Committer
    filer: Filer
    settler: Settler
    consequences: Consequences
    groups: GroupRecording

    @classmethod
    def of(cls, around: Surroundings) -> "RecorderParts":
        """Make them, in the order in which they need each other."""
        around.history.resume(around.store.cursor)
        shared = SharedParts.of(around)
        newest = shared.reader.newest()
        committer, filer = _committer(around, shared), _filer(around, shared)
        settler = _settler(around, shared, filer, newest=newest)
        consequences = Consequences(
            shared.hand,
            settler,
            shared.log,
            around.stats,
            filer,
            chores=shared.chores,
            contained=around.supervision.contained,
        )
        return cls(
            shared=shared,
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
                troubles=around.troubles,
                newest_before=newest,
            ),
        )


def _committer(around: Surroundings, shared: SharedParts) -> Committer:
    return Committer(
        around.store,
        shared.durability,
        around.in_hand,
        heartbeats=shared.heartbeats,
        troubles=around.troubles,
        supervision=around.supervision,
        stopping=shared.stopping,
        events=around.events,
    )


def _filer(around: Surroundings, shared: SharedParts) -> Filer:
    return Filer(
        around.backlog,
        around.troubles,
        shared.refusals,
        shared.durability,
        in_hand=around.in_hand,
        heartbeats=shared.heartbeats,
        nudge=shared.inbound.nudge,
        max_copy_bytes=around.rules.max_copy_bytes,
    )


def _settler(around: Surroundings, shared: SharedParts, filer: Filer, *, newest: int) -> Settler:
    return Settler(
        around.store,
        shared.log,
        filer,
        shared.durability,
        around.history,
        pruner=Pruner(around.store, shared.reader, around.history, shared.flood),
        newest=newest,
        troubles=around.troubles,
        supervision=around.supervision,
        audience=around.audience,
    )
