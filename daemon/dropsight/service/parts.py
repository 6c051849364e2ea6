"""What a daemon is made of, by who needs it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from dropsight.classify.work import Engine
from dropsight.intake.backlog import Backlog
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand
from dropsight.intake.mute_inboxes import MuteInboxes
from dropsight.intake.scanner import Scanner
from dropsight.intake.source import Source
from dropsight.intake.starts import Starts
from dropsight.journal.ledger import Ledger
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import Audience
from dropsight.journal.resultlog import ResultLog
from dropsight.journal.store import Journal
from dropsight.service.housekeeping import Housekeeper
from dropsight.sinks.sink import FollowerSpec
from dropsight.status.changes import Changes
from dropsight.status.stats import Stats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:  # only where a folder has bursts
    from dropsight.service.burst_watch import Bursts


class ExclusiveParts(msgspec.Struct, frozen=True):
    """What one daemon alone may have; `claim` raises where an inbox is not there yet, or somebody else's."""

    folders: Sequence[DropFolder]
    mute: MuteInboxes
    claim: Callable[[DropFolder], None]
    store: Journal
    lines: ResultLog
    engine: Engine


class Monitoring(msgspec.Struct, frozen=True):
    """How it goes. `changes` are those of troubles; what is `urgent`, the broker hears of at once."""

    clock: Clock
    stats: Stats
    changes: Changes
    urgent: Changes
    troubles: Troubles
    supervision: Supervision
    in_hand: InHand
    starts: Starts


class Recording(msgspec.Struct, frozen=True):
    """Those who write the journal, and read in it what is on record. The audience hears of records."""

    audience: Audience
    recorder: Recorder
    ledger: Ledger
    housekeeper: Housekeeper
    wanted: Sequence[FollowerSpec]
    bursts: "Bursts | None"


class Intake(msgspec.Struct, frozen=True):
    backlog: Backlog
    scanner: Scanner
    sources: Sequence[Source]
