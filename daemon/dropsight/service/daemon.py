"""The daemon: everything made and tried on construction, run until a signal, taken down in reverse."""

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from threading import TIMEOUT_MAX, Event, Thread
from typing import NoReturn

from dropsight.classify.resources import give_memory_back
from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError, MachineError, ModelError, StoreError
from dropsight.images import decoders
from dropsight.intake.mute_inboxes import PART, MuteInboxes
from dropsight.service.assembly import assemble
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.once import PATIENCE_SECONDS, work_once
from dropsight.service.progress import SLOW_SECONDS, Progress
from dropsight.service.reloading import Reread
from dropsight.sinks.terminal import Terminal
from dropsight.status.supervision import start
from dropsight.status.systemd import Watchdog, notify

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
ONCE_SECONDS = 45.0
LOST_OFTEN_SECONDS = 4.0
WATCHED_SECONDS = 3.0


class Daemon:
    """Raises ConfigError, ModelError or StoreError on construction; `run` is for the main thread, once."""

    def __init__(
        self,
        config: Config,
        lifecycle: Lifecycle,
        *,
        once: bool = False,
        reread: Reread | None = None,
        terminal: Terminal | None = None,
        mute: MuteInboxes | None = None,
    ) -> None:
        self._lifecycle, self._once, self._terminal = lifecycle, once, terminal
        self._mute = mute or MuteInboxes()
        parts = assemble(
            config, lifecycle, reread or (lambda: config), self._mute, once=once, terminal=terminal
        )
        self._exclusive, self._monitoring, self._intake = parts.exclusive, parts.monitoring, parts.intake
        self._recording, self._workers, self._outlets = parts.recording, parts.workers, parts.outlets
        self._in_force, self._stack = parts.in_force, parts.stack
        sources = self._intake.sources
        self._progress = Progress(self._intake.backlog, sources, self._workers, self._recording.recorder)
        self._housekeeping = Event()
        self._seen = 0

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._in_force.config

    @property
    def watchers(self) -> int:
        return self._outlets.web.watchers if self._outlets.web else 0

    def tell_refusal(self, refusal: DropsightError) -> None:
        """The config that was to be in force instead could not begin."""
        self._monitoring.troubles.raised("config", refusal)

    def run(self) -> int:
        """Work until asked to stop, or until everything is done; return the exit code."""
        try:
            finders, recorder, watchdog = self._start()
        except Exception as error:  # noqa: BLE001 - whatever it is, what has begun would go on for ever
            self._end_at_start(error)
        try:
            self._wait()
            if self._lifecycle.failure:
                self._give_up()
        finally:
            self._end(finders, recorder, watchdog)
        self._outlets.reporter.conclude(self._terminal if self._lifecycle.successor is None else None)
        return self._exit_code()

    def _start(self) -> tuple[Sequence[Thread], Thread, Watchdog]:
        """Bring it up from those who follow to the folders; return the finders, recorder and watchdog."""
        outlets, monitoring = self._outlets, self._monitoring
        monitoring.changes.tell(outlets.reporter.tell_supervisor)
        monitoring.changes.tell(monitoring.urgent)
        recorder = start("recorder", self._recording.recorder.run)
        outlets.followers.start(monitoring.supervision)
        if self._recording.bursts:
            self._recording.bursts.start()
        self._workers.start()
        outlets.control.start(monitoring.supervision)
        self._look_at_mute()
        watchdog = Watchdog(self._progress.overdue)
        self._lifecycle.go_on_without(None if self._once else self._on_lost)
        finders = self._work_once() if self._once else self._watch()
        roots = ", ".join(folder.root for folder in self._exclusive.folders)
        log.info("ready: model %s is loaded; watching %s", self._in_force.engine.plan.spec.name, roots)
        outlets.reporter.ready()
        self._serve_web()
        return finders, recorder, watchdog

    def _wait(self) -> None:
        interval = self.config.stats.interval_seconds
        next_line = time.monotonic() + interval
        monitoring, lifecycle = self._monitoring, self._lifecycle
        while not lifecycle.wait(min(max(next_line - time.monotonic(), 0.0), LOOK_SECONDS)):
            monitoring.in_hand.settle(lasted=monitoring.starts.look())
            monitoring.supervision.look()
            with monitoring.supervision.contained("events"):
                self._outlets.problems.look()
            with monitoring.supervision.contained("workers"):
                self._workers.relieve()
            self._tell_of_slow()
            self._look_at_mute()
            self._look_for_mute()
            self._look_for_an_end()
            self._look_at_clock()
            self._serve_web()
            if lifecycle.take_reload() or self._outlets.reloader.is_due:
                # What is wrong with the config or the model is told as a trouble.
                with monitoring.supervision.contained("reload"), contextlib.suppress(ConfigError, ModelError):
                    self._outlets.reloader.reload()
            if time.monotonic() >= next_line:
                with monitoring.supervision.contained("the report"):
                    self._outlets.reporter.tell_news(aloud=self._terminal is None)
                self._give_memory_back()
                next_line += interval

    def _give_up(self) -> None:
        """A thread is gone, and with it the order of things; the folder and the journal are whole."""
        try:
            self._exclusive.store.save_if_gone()
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a line, no traceback
        os._exit(1)

    def _end_at_start(self, error: Exception) -> NoReturn:
        """The folder is the state: whoever starts us again finds all in it.

        Where it is the machine's trouble, no image that is in hand by now has ended us, nor was it a crash.
        """
        if isinstance(error, MachineError):
            self._monitoring.in_hand.acquit_all()
            self._monitoring.starts.forgive()
        if isinstance(error, DropsightError):
            log.error("%s", error)
        else:
            log.critical("internal error at the start", exc_info=error)
        os._exit(1)

    def _end(self, finders: Sequence[Thread], recorder: Thread, watchdog: Watchdog) -> None:
        """Stop taking in; finish what is in hand, from the folders to those who follow."""
        if self._lifecycle.successor is None:  # systemd would wait for the process to end
            notify(STOPPING="1")
        watchdog.stop()
        self._monitoring.supervision.stop()
        self._housekeeping.set()
        for source in self._intake.sources:
            source.stop()
        self._intake.backlog.stop()
        for finder in finders:
            finder.join(PATIENCE_SECONDS)
        records, web = self._recording.recorder, self._outlets.web
        records.end_within(seconds=PATIENCE_SECONDS)
        with decoders.hurrying(after_seconds=TIMEOUT_MAX if self._once else PATIENCE_SECONDS):
            self._workers.finish()
        records.drain(seconds=PATIENCE_SECONDS)
        if self._recording.bursts:
            self._recording.bursts.end(close=self._once)
            records.drain(seconds=PATIENCE_SECONDS)
        followers = self._outlets.followers
        followers.end(patient=lambda: self._once and not self._lifecycle.signalled)
        followers.say_what_waits(newest=records.newest)
        records.stop()
        recorder.join()
        if web:
            web.close()
        self._stack.close()

    def _work_once(self) -> list[Thread]:
        settle_seconds = max(folder.settings.settle_seconds for folder in self._exclusive.folders)
        for source in self._intake.sources[1:]:
            log.info("%s is not used: with --once, only images already in the folders are taken", source.name)
        parts = (self._lifecycle, self._intake.backlog, self._intake.scanner, self._monitoring.troubles)
        # A walk that a share holds up is not waited for at the end.
        work = partial(work_once, *parts, settle_seconds=settle_seconds)
        return [start("scan", work, daemon=True)]

    def _watch(self) -> list[Thread]:
        supervision = self._monitoring.supervision
        supervision.start("housekeeping", partial(self._recording.housekeeper.run, self._housekeeping))
        supervision.start("cameras", partial(self._outlets.watching.run, self._housekeeping))
        keep_looking = self._outlets.reloader.keep_looking_at_secrets
        supervision.start("secrets", partial(keep_looking, self._housekeeping, every=LOOK_SECONDS))
        finders = [source.start(supervision) for source in self._intake.sources]
        # An inbox that is away, or a long walk, makes nobody wait for the others to be ready.
        self._intake.scanner.watching.wait(WATCHED_SECONDS)
        return finders

    def _serve_web(self) -> None:
        if self._outlets.web and not self._once:
            self._outlets.web.start(self._monitoring.supervision)

    def _give_memory_back(self) -> None:
        """After a busy while: what lies unused between what is used would stay with the process for good."""
        found = self._intake.backlog.counters()
        if found.seen != self._seen and not (found.queued or found.in_hand):
            self._seen = found.seen
            give_memory_back()

    def _tell_of_slow(self) -> None:
        if slow := self._progress.slow():
            text = f"{slow} has been in progress for {SLOW_SECONDS:g} s"
            self._monitoring.troubles.raised("slow", MachineError(text))
        else:
            self._monitoring.troubles.cleared("slow")

    def _look_at_mute(self) -> None:
        """Begin again, with all inboxes, once one that was left out answers."""
        if not self._mute.any:
            self._monitoring.troubles.cleared(PART)
        elif not self._mute.answers or self._once:
            self._monitoring.troubles.raised(PART, StoreError(str(self._mute)))
        elif self._lifecycle.successor is None:
            log.info("an inbox that was left out answers: beginning again with it")
            self._lifecycle.request_restart(self._mute.asked)

    def _look_at_clock(self) -> None:
        clock, troubles = self._monitoring.clock, self._monitoring.troubles
        clock.look()
        if doubt := clock.doubt:
            troubles.raised("clock", MachineError(doubt))
        else:
            troubles.cleared("clock")

    def _look_for_mute(self) -> None:
        """Begin again without an inbox that stopped answering: all that are polled wait for its walk."""
        if not self._intake.scanner.heartbeats.overdue(SLOW_SECONDS):
            self._mute.believe()
        elif self._mute.doubt(self.config) and self._lifecycle.successor is None:
            log.warning("an inbox has stopped answering: beginning again without it")
            self._lifecycle.request_restart(self._mute.asked)

    def _look_for_an_end(self) -> None:
        """A single run waits for no disk that has answered nothing for so long, once all else is done."""
        if not self._once or self._lifecycle.successor is not None:
            return
        if names := self._progress.waits_for_disks(ONCE_SECONDS):
            text = (
                f"{', '.join(names)}: no answer for {ONCE_SECONDS:g} s; what is there stays for another run"
            )
            self._monitoring.troubles.raised(PART, StoreError(text))
            self._lifecycle.request_stop()

    def _on_lost(self, name: str, error: BaseException) -> None:
        """A thread is gone that is not ours to begin again; a walk finds out whether a watch has ended."""
        if self._monitoring.supervision.fell(name, error) <= LOST_OFTEN_SECONDS:
            self._intake.scanner.rescan()

    def _exit_code(self) -> int:
        if self._lifecycle.failure:
            return 1
        self._tell_of_slow()  # what took long has ended, too
        refused = self._outlets.followers.refused
        stuck = not self._lifecycle.signalled and self._monitoring.troubles.any()
        return 1 if self._once and (refused or stuck) else 0
