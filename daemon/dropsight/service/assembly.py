"""The daemon: everything made and tried on construction, run until a signal, taken down in reverse."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from threading import Event, Thread

from dropsight.classify.engine import open_engine, proved
from dropsight.classify.resources import open_log, share_memory
from dropsight.classify.trial import tried
from dropsight.classify.work import DaemonQueries, Engine
from dropsight.classify.workers import Workers
from dropsight.config import Config
from dropsight.errors import ConfigError, MachineError, ModelError, StoreError
from dropsight.files.locks import InboxLock, sole_user
from dropsight.images.opening import Bounds
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock
from dropsight.intake.finding import Finding
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand
from dropsight.intake.inboxes import Awaited, open_folders
from dropsight.intake.scanner import Scanner
from dropsight.intake.source import Source
from dropsight.intake.starts import Starts
from dropsight.intake.turns import Turns
from dropsight.journal.feed import JournalOutbox
from dropsight.journal.ledger import Ledger
from dropsight.journal.marks import History
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import FilingRules, Recorded
from dropsight.journal.store import Journal, JournalReader
from dropsight.names import as_json
from dropsight.service.camera_keeper import Watching
from dropsight.service.dashboard import address_for_others, open_web
from dropsight.service.ending import end_following
from dropsight.service.explanations import Explanations
from dropsight.service.housekeeping import Housekeeper
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.once import PATIENCE_SECONDS, work_once
from dropsight.service.progress import SLOW_SECONDS, Progress
from dropsight.service.reloading import Reloader, Reread
from dropsight.service.remote import Remote
from dropsight.service.reporter import Reporter
from dropsight.service.secrets import look_at_secrets, read_secrets
from dropsight.sinks.mqtt.parts import Announcements
from dropsight.sinks.mqtt.publisher import Publisher
from dropsight.sinks.registry import wanted
from dropsight.sinks.sink import Follower, Surroundings, Wanted
from dropsight.sinks.terminal import Terminal
from dropsight.sources.kinds import open_sources
from dropsight.status.control import ControlServer
from dropsight.status.stats import Stats
from dropsight.status.supervision import Supervision, start
from dropsight.status.systemd import Watchdog, notify
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
LOST_OFTEN_SECONDS = 4.0


class Daemon:
    """Raises ConfigError, ModelError or StoreError on construction; `run` is for the main thread."""

    def __init__(
        self, config: Config, *, reread: Reread | None = None, terminal: Terminal | None = None
    ) -> None:
        share_memory()
        self._config, self._terminal = config, terminal
        self._reloader: Reloader | None = None
        self._reread = reread or (lambda: config)
        with ExitStack() as stack:
            self._folders, awaited = open_folders(config)
            self._store = Journal(config.store.path)
            stack.callback(self._store.close)
            locks = {folder: InboxLock(folder.root) for folder in self._folders}
            for lock in locks.values():
                stack.callback(lock.release)
                lock.renew()
            engine = open_engine(config, proved(config))
            stack.enter_context(sole_user(config.log.path, "log.path"))
            self._lines = open_log(config)
            stack.callback(self._lines.close)
            self._clock = Clock.open(config.store.path.parent)
            self._stats = Stats(window_seconds=config.stats.window_seconds)
            self._troubles = Troubles(log, changed=self._on_trouble)
            self._supervision = Supervision(self._troubles)
            state = config.store.path.parent
            self._in_hand = InHand(state / "in-hand")
            stack.callback(self._in_hand.close)
            self._starts = stack.enter_context(Starts(state, self._troubles))
            turns: Turns[Candidate] = Turns(self._in_hand, one_by_one=lambda: self._starts.one_by_one)
            self._backlog = Backlog(order=config.queue.order, turns=turns)
            look_at_secrets(config, self._troubles)
            self._watching = Watching(config.cameras, self._folders, config.store.path, self._backlog)
            stack.callback(self._watching.save)
            self._wanted = wanted(config)
            self._recorder = self._make_recorder()
            self._ledger = Ledger(
                config.store.path,
                device=config.device,
                note=self._recorder.note_kept,
                refuses=self._recorder.refuses,
                max_bytes=config.limits.max_bytes,
            )
            self._housekeeper = Housekeeper(
                self._folders,
                self._clock,
                self._ledger,
                self._recorder,
                journal=config.store.path,
                remembers=config.store.max_records,
            )
            skip, told = self._ledger.skips, self._recorder.refusals
            self._scanner = Scanner(
                self._folders,
                self._backlog,
                skip=skip,
                refusals=told,
                troubles=self._troubles,
                claim=partial(_claim, awaited, locks),
                clock=self._clock,
                finding=Finding(self._in_hand, self._troubles, cautious=lambda: self._starts.one_by_one),
            )
            self._sources: tuple[Source, ...] = (
                self._scanner,
                *open_sources(config, self._folders, self._troubles),
            )
            self._explanations = Explanations(
                config.explain,
                engine=lambda: self._workers.engine,
                backlog=self._backlog,
                supervision=self._supervision,
            )
            stack.callback(self._explanations.stop)
            self._workers = self._make_workers(engine)
            self._reporter = self._make_reporter()
            self._remote = self._make_remote()
            answers = {"status": self._status}
            self._control = ControlServer(config.store.path.parent, answers, otherwise=self._remote.obey)
            stack.callback(self._control.close)
            self._followers = {each.mark.name: self._make_follower(each) for each in self._wanted}
            self._reporter.followers = [(each.mark, self._followers[each.mark.name]) for each in self._wanted]
            self._publisher = self._the_publisher()
            self._web = self._reporter.web = open_web(
                config,
                self._reporter,
                self._recorder,
                self._stats,
                obey=self._remote.obey,
                changed=self._on_trouble,
            )
            self._stack = stack.pop_all()

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._reloader.config if self._reloader else self._config

    @property
    def watchers(self) -> int:
        return self._web.watchers if self._web else 0

    def run(self, lifecycle: Lifecycle, *, once: bool = False) -> int:
        """Work until asked to stop, or until everything is done; return the exit code."""
        self._reloader = Reloader(
            self._config,
            self._reread,
            lifecycle=lifecycle,
            troubles=self._troubles,
            workers=len(self._workers.engine.models),
            swap=self._swap,
        )
        recorder = start("recorder", self._recorder.run)
        followers = [self._supervision.start(name, each.run) for name, each in self._followers.items()]
        self._workers.start(once=once)
        self._control.start(self._supervision)
        self._progress = Progress(self._backlog, self._sources, self._workers, self._recorder)
        watchdog = Watchdog(self._progress.hung)
        housekeeping = Event()
        lifecycle.on_lost = None if once else self._on_lost
        finders = self._work_once(lifecycle) if once else self._watch(housekeeping)
        model, roots = self._workers.engine.plan.spec.name, ", ".join(folder.root for folder in self._folders)
        log.info("%s is warm; watching %s", model, roots)
        self._reporter.ready()
        if self._web and not once:
            self._web.start(self._supervision)
        try:
            self._wait(lifecycle)
            if lifecycle.failure:
                # A thread is gone, and with it the order of things; the folder and the journal are whole.
                try:
                    self._store.save_if_gone()
                except StoreError as error:
                    log.error("%s", error)  # noqa: TRY400 - a line, no traceback
                os._exit(1)
        finally:
            if lifecycle.successor is None:  # systemd would wait for the process to end
                notify(STOPPING="1")
            watchdog.stop()
            self._supervision.stop()
            housekeeping.set()
            for source in self._sources:
                source.stop()
            self._backlog.stop()
            self._end(finders, recorder, followers, patient=lambda: once and not lifecycle.signalled)
        self._reporter.conclude(self._terminal if lifecycle.successor is None else None)
        return self._exit_code(lifecycle, once=once)

    def _end(
        self,
        finders: Sequence[Thread],
        recorder: Thread,
        followers: Sequence[Thread],
        *,
        patient: Callable[[], bool],
    ) -> None:
        """Finish what is in hand, from the folders to those who follow, waited for while `patient`."""
        for finder in finders:
            finder.join(PATIENCE_SECONDS)
        self._recorder.end_within(seconds=PATIENCE_SECONDS)
        self._workers.finish()
        self._recorder.drain(seconds=PATIENCE_SECONDS)
        end_following(list(self._followers.values()), followers, patient=patient)
        for mark in (each.mark for each in self._wanted):
            if waiting := mark.outstanding(self._recorder.newest):
                log.warning("%d records wait in the outbox for %s", waiting, mark.who)
        self._recorder.stop()
        recorder.join()
        if self._web:
            self._web.close()
        self._stack.close()

    def _work_once(self, lifecycle: Lifecycle) -> list[Thread]:
        settle_seconds = max(folder.settings.settle_seconds for folder in self._folders)
        for source in self._sources[1:]:
            log.info("%s is not asked: once, only what lies in the folders is taken", source.name)
        parts = (self._backlog, self._scanner, self._troubles)
        return [start("scan", lambda: work_once(lifecycle, *parts, settle_seconds=settle_seconds))]

    def _watch(self, stopped: Event) -> list[Thread]:
        for name, work in (("housekeeping", self._housekeeper.run), ("cameras", self._watching.run)):
            self._supervision.start(name, partial(work, stopped))
        return [source.start(self._supervision) for source in self._sources]

    def _wait(self, lifecycle: Lifecycle) -> None:
        interval = self._config.stats.interval_seconds
        next_line = time.monotonic() + interval
        while not lifecycle.wait(min(max(next_line - time.monotonic(), 0.0), LOOK_SECONDS)):
            self._in_hand.settled = self._starts.look()
            self._supervision.look()
            self._tell_of_slow()
            if lifecycle.reload_asked:
                lifecycle.reload_asked = False
                # What is wrong with the config or the model is told as a trouble.
                with self._supervision.contained("reload"), contextlib.suppress(ConfigError, ModelError):
                    self._reload()
            if time.monotonic() >= next_line:
                self._clock.look()
                with self._supervision.contained("the report"):
                    self._reporter.tell_news(aloud=self._terminal is None)
                next_line += interval

    def _tell_of_slow(self) -> None:
        if slow := self._progress.slow():
            self._troubles.raised("slow", MachineError(f"{slow} has been at it for {SLOW_SECONDS:g} s"))
        else:
            self._troubles.cleared("slow")

    def _reload(self) -> str:
        return self._reloader.reload() if self._reloader else ""

    def _make_remote(self) -> Remote:
        return Remote(
            {
                "pause": lambda _: self._pause(paused=True),
                "resume": lambda _: self._pause(paused=False),
                "reload": lambda _: self._reload(),
                "rescan": lambda _: self._scanner.rescan(),
                "stats": lambda _: self._reporter.snapshot(),
                "explain": lambda order: self._explanations.of_record(
                    order.id, self._config.store.path, self._config.watch
                ),
            }
        )

    def _on_trouble(self) -> None:
        if self._reloader:  # which is there once everything is
            self._reporter.tell_supervisor()
            if self._publisher:
                self._publisher.announce_stats()

    def _exit_code(self, lifecycle: Lifecycle, *, once: bool) -> int:
        refused = once and any(each.refused for each in self._followers.values())
        stuck = once and not lifecycle.signalled and self._recorder.troubles.any()
        return 1 if lifecycle.failure or refused or stuck else 0

    def _make_recorder(self) -> Recorder:
        marks = tuple(each.mark for each in self._wanted)
        self._store.follow([mark.name for mark in marks])
        recorder = Recorder(
            self._store,
            self._lines,
            backlog=self._backlog,
            stats=self._stats,
            in_hand=self._in_hand,
            history=History(self._config.store.max_records, marks),
            troubles=self._troubles,
            supervision=self._supervision,
            rules=FilingRules(self._config.store.durable == "images", self._config.limits.max_bytes),
            on_recorded=self._on_recorded,
        )
        recorder.recover(self._folders)
        return recorder

    def _make_reporter(self) -> Reporter:
        return Reporter(
            self._config,
            stats=self._stats,
            backlog=self._backlog,
            recorder=self._recorder,
            workers=self._workers,
            watch=self._watching.watch,
            scanner=self._scanner,
            sources=self._sources,
        )

    def _make_follower(self, wanted: Wanted) -> Follower:
        config = self._config
        reader = JournalReader(config.store.path)
        return wanted.make(
            Surroundings(
                config=config,
                outbox=JournalOutbox(reader, self._recorder, wanted.mark),
                announcements=Announcements(
                    info=self._reporter.info,
                    stats=self._reporter.stats,
                    stats_seconds=config.stats.interval_seconds,
                    busy=self._reporter.busy,
                    dashboard=lambda: address_for_others(config.web) if self._web else None,
                ),
                troubles=Troubles(log, changed=self._on_trouble),
                obey=self._remote.obey,
                watch=self._watching.watch,
            )
        )

    def _the_publisher(self) -> Publisher | None:
        """Of the followers, the one that says more than records."""
        found = self._followers.get("mqtt")
        if not isinstance(found, Publisher):
            return None
        self._reporter.publisher = self._watching.publisher = found
        mqtt, limits = self._config.mqtt, self._config.limits
        bounds = Bounds(limits.max_bytes, limits.max_pixels, depth=self._config.images.depth)
        with closing(JournalReader(self._config.store.path)) as reader:
            self._watching.recall(reader, found, pictures=bounds if mqtt and mqtt.thumbnails else None)
        return found

    def _make_workers(self, engine: Engine) -> Workers:
        return Workers(
            engine,
            queue_settings=self._config.queue,
            backlog=self._backlog,
            recorder=self._recorder,
            in_hand=self._in_hand,
            questions=DaemonQueries(
                on_record=self._ledger.holds,
                survives=lambda path: tried(path, self._workers.engine.plan.spec),
                explains=self._explanations.offer if self._config.explain else None,
                wants_look=self._watching.wants_look,
                saw=self._watching.saw,
                age_of=self._clock.age_seconds,
            ),
            supervision=self._supervision,
        )

    def _on_lost(self, name: str, error: BaseException) -> None:
        """A thread is gone that is not ours to begin again; a walk finds out whether a watch has ended."""
        if self._supervision.fell(name, error) <= LOST_OFTEN_SECONDS:
            self._scanner.rescan()

    def _on_recorded(self, recorded: Sequence[Recorded]) -> None:
        self._watching.recorded(recorded)
        for follower in self._followers.values():
            follower.wake()
        if self._web:
            self._web.show(recorded)
        if self._terminal:
            self._terminal.show(recorded)

    def _swap(self, engine: Engine, config: Config) -> None:
        read_secrets(list(self._followers.values()), self._web)
        look_at_secrets(config, self._troubles)
        self._reporter.config = config
        self._workers.swap(engine)
        if self._publisher:
            self._publisher.announce_again()

    def _status(self) -> bytes:
        return as_json(self._reporter.status([folder.root for folder in self._folders]))

    def _pause(self, *, paused: bool) -> None:
        self._backlog.pause(paused=paused)
        if self._publisher:
            self._publisher.announce_stats()
        log.info("%s", "paused: images wait in their folders" if paused else "resumed")


def _claim(awaited: Awaited, locks: Mapping[DropFolder, InboxLock], folder: DropFolder) -> None:
    """Raise StoreError or ConfigError where an inbox is not there yet, or is somebody else's to watch."""
    awaited.try_again(folder)
    locks[folder].renew()
