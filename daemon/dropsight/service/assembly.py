"""The parts of a daemon: each is complete when made, in the order in which they need each other."""

import logging
import math
from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING

import msgspec

from dropsight.classify.engine import open_engine, proved
from dropsight.classify.resources import open_log, share_memory
from dropsight.classify.trial import TrialProcess
from dropsight.classify.work import InForce, WorkerServices
from dropsight.classify.workers import Workers
from dropsight.config import Config, Video
from dropsight.errors import OwnersLockError
from dropsight.files.locks import InboxLock, sole_user
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand
from dropsight.intake.inboxes import open_folders
from dropsight.intake.mute_inboxes import MuteInboxes
from dropsight.intake.scanner import Scanner
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.intake.starts import CrashNote, Starts
from dropsight.intake.turns import Turns
from dropsight.intake.walk_guard import WalkGuard
from dropsight.journal.former_places import FormerPlaces
from dropsight.journal.ledger import Ledger
from dropsight.journal.marks import BURSTS, History, Mark, mark_of_bursts
from dropsight.journal.recorder import Recorder
from dropsight.journal.recorder_parts import RecorderContext
from dropsight.journal.recording import Audience, FilingRules
from dropsight.journal.restored import note_logged
from dropsight.journal.store import Journal
from dropsight.service.camera_keeper import CameraKeeper, open_watch
from dropsight.service.explanations import STOP_SECONDS, Explanations
from dropsight.service.housekeeping import Housekeeper
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.opening_events import open_events
from dropsight.service.outlets import Outlets, OutletsMaker
from dropsight.service.parts import ExclusiveParts, Intake, Monitoring, Recording
from dropsight.service.reloading import Reread, look_at_secrets
from dropsight.sinks.sections import wanted
from dropsight.sinks.terminal import Terminal
from dropsight.sources.kinds import open_sources
from dropsight.status.changes import Changes
from dropsight.status.stats import Stats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:  # only where a folder has bursts
    from dropsight.service.burst_watch import Bursts

log = logging.getLogger(__name__)


class Assembly(msgspec.Struct, frozen=True):
    """`stack` closes what holds something."""

    exclusive: ExclusiveParts
    monitoring: Monitoring
    intake: Intake
    recording: Recording
    in_force: InForce
    workers: Workers
    outlets: Outlets
    stack: ExitStack


def assemble(
    config: Config,
    lifecycle: Lifecycle,
    reread: Reread,
    mute: MuteInboxes,
    *,
    once: bool,
    terminal: Terminal | None,
) -> Assembly:
    """Make and try everything; raises ConfigError, ModelError or StoreError, and then nothing is held."""
    share_memory()
    with ExitStack() as stack:
        exclusive = _take(config, mute, stack, once=once)
        monitoring = _monitoring(config, stack)
        turns: Turns[Candidate] = Turns(monitoring.in_hand, monitoring.starts)
        slow = SlowInboxes(config.store.path.parent)
        slow.open(exclusive.folders)
        backlog = Backlog(order=config.queue.order, turns=turns, slow=slow)
        cameras = Changes(monitoring.urgent)
        watch = open_watch(config.cameras, exclusive.folders, config.store.path, changed=cameras)
        recording = _recording(config, exclusive, monitoring, backlog)
        intake = _intake(config, exclusive, monitoring, backlog, recording)
        in_force = InForce(config, exclusive.engine)
        explanations = Explanations(
            config.explain,
            in_force=in_force,
            backlog=backlog,
            supervision=monitoring.supervision,
            stop_seconds=math.inf if once else STOP_SECONDS,
        )
        stack.callback(explanations.stop)
        opening = OutletsMaker(
            config, exclusive, monitoring, recording, intake, in_force, watch, explanations
        )
        outlets = opening.outlets(cameras, lifecycle, reread, stack)
        look_at_secrets(config, monitoring.troubles)
        recording.audience.admit(outlets.watching, outlets.followers, outlets.web, terminal)
        workers = _workers(
            in_force, monitoring, recording, backlog, outlets.watching, explanations, once=once
        )
        _forget_others(exclusive.store, recording)
        return Assembly(exclusive, monitoring, intake, recording, in_force, workers, outlets, stack.pop_all())


def _take(config: Config, mute: MuteInboxes, stack: ExitStack, *, once: bool) -> ExclusiveParts:
    folders, awaited = open_folders(config)
    store = Journal(config.store.path)
    stack.callback(store.close)
    locks = {folder: InboxLock(folder.root) for folder in folders}
    for lock in locks.values():
        stack.callback(lock.release)
        with nullcontext() if once else suppress(OwnersLockError):  # each walk asks again: others go on
            lock.renew()

    def claim(folder: DropFolder) -> None:
        awaited.try_again(folder)
        locks[folder].renew()

    engine = open_engine(config, proved(config))
    stack.enter_context(sole_user(config.log.path, "log.path"))
    lines = open_log(config)
    stack.callback(lines.close)
    return ExclusiveParts(folders, mute, claim, store, lines, engine)


def _monitoring(config: Config, stack: ExitStack) -> Monitoring:
    state, changes = config.store.path.parent, Changes()
    clock, stats = Clock.open(state), Stats(window_seconds=config.stats.window_seconds)
    troubles = Troubles(log, changed=changes)
    crash_note = stack.enter_context(CrashNote(state))
    in_hand = InHand(state / "in-hand", crashed=crash_note.of_its_own)
    stack.callback(in_hand.close)
    starts = stack.enter_context(Starts(state, troubles))
    return Monitoring(clock, stats, changes, Changes(), troubles, Supervision(troubles), in_hand, starts)


def _recording(
    config: Config, exclusive: ExclusiveParts, monitoring: Monitoring, backlog: Backlog
) -> Recording:
    followers, journal, audience = wanted(config), config.store.path, Audience()
    of_bursts = mark_of_bursts(config)
    marks = (*(each.mark for each in followers), *filter(None, [of_bursts]))
    exclusive.store.follow([mark.name for mark in marks])
    recorder = _recorder(config, exclusive, monitoring, backlog, audience, marks)
    ledger = Ledger(
        journal,
        device=config.device,
        note=recorder.note_kept,
        refuses=recorder.refuses,
        is_filed=FormerPlaces(journal, exclusive.folders).hold,
        max_bytes=config.limits.max_bytes,
    )
    housekeeper = Housekeeper(
        exclusive.folders,
        monitoring.clock,
        ledger,
        recorder,
        journal=journal,
        remembers=config.store.max_records,
        all_there=not exclusive.mute.any,
    )
    bursts = _bursts(of_bursts, config, exclusive, recorder, backlog, monitoring)
    if bursts:
        audience.admit(bursts)
    return Recording(audience, recorder, ledger, housekeeper, followers, bursts)


def _forget_others(store: Journal, recording: Recording) -> None:
    """Last of all: where anything cannot be made, the former config goes on, with its followers' places."""
    names = [each.mark.name for each in recording.wanted]
    for name, waiting in store.forget_others([*names, BURSTS] if recording.bursts else names).items():
        if waiting and name != BURSTS:
            what = "1 record that waits" if waiting == 1 else f"{waiting} records that wait"
            log.warning("%s is no longer in the config: it does not get %s for it", name, what)


def _recorder(
    config: Config,
    exclusive: ExclusiveParts,
    monitoring: Monitoring,
    backlog: Backlog,
    audience: Audience,
    marks: tuple[Mark, ...],
) -> Recorder:
    context = RecorderContext(
        exclusive.store,
        exclusive.lines,
        backlog,
        monitoring.stats,
        history=History(config.store.max_records, marks),
        in_hand=monitoring.in_hand,
        troubles=monitoring.troubles,
        supervision=monitoring.supervision,
        rules=FilingRules(config.store.durable == "images", config.limits.max_bytes),
        audience=audience,
        events=open_events(config, monitoring),
    )
    recorder = Recorder(context)
    if recorder.newest:  # else somebody has taken it away, to have all recorded anew
        note_logged(exclusive.store, config.log.path, exclusive.folders, device=config.device)
    recorder.recover(exclusive.folders, is_away=exclusive.mute.holds)
    return recorder


def _bursts(
    mark: Mark | None,
    config: Config,
    exclusive: ExclusiveParts,
    recorder: Recorder,
    backlog: Backlog,
    monitoring: Monitoring,
) -> "Bursts | None":
    if mark is None:
        return None
    from dropsight.service.burst_watch import Bursts

    return Bursts(
        mark,
        exclusive.folders,
        recorder,
        backlog,
        settings=config.video or Video(),
        journal=config.store.path,
        supervision=monitoring.supervision,
    )


def _intake(
    config: Config, exclusive: ExclusiveParts, monitoring: Monitoring, backlog: Backlog, recording: Recording
) -> Intake:
    troubles = monitoring.troubles
    scanner = Scanner(
        exclusive.folders,
        backlog,
        skip=recording.ledger.skips,
        refusals=recording.recorder.refusals,
        troubles=troubles,
        claim=exclusive.claim,
        clock=monitoring.clock,
        finding=WalkGuard(monitoring.in_hand, troubles, monitoring.starts),
    )
    return Intake(backlog, scanner, (scanner, *open_sources(config, exclusive.folders, troubles)))


def _workers(
    in_force: InForce,
    monitoring: Monitoring,
    recording: Recording,
    backlog: Backlog,
    watching: CameraKeeper,
    explanations: Explanations,
    *,
    once: bool,
) -> Workers:
    return Workers(
        in_force,
        once=once,
        backlog=backlog,
        recorder=recording.recorder,
        in_hand=monitoring.in_hand,
        services=WorkerServices(
            ledger=recording.ledger,
            trial=TrialProcess(in_force),
            onlooker=watching,
            explanations=explanations if in_force.config.explain else None,
            age_of=monitoring.clock.age_seconds,
        ),
        supervision=monitoring.supervision,
    )
