"""Status and stats, collected from the running parts."""

import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from dropsight import crashpoints
from dropsight.cameras.watch import CameraWatch
from dropsight.classify.work import InForce
from dropsight.config import Config
from dropsight.inference.planning import Plan
from dropsight.journal.recorder import Recorder
from dropsight.names import as_json
from dropsight.records import timestamp
from dropsight.service.followers import Followers
from dropsight.service.parts import Intake
from dropsight.sinks.reports import Status, info, model_report
from dropsight.sinks.terminal import Terminal
from dropsight.status.stats import Snapshot, Stats, summary
from dropsight.status.systemd import notify
from dropsight.status.troubles import Troubles
from dropsight.version import VERSION

log = logging.getLogger(__name__)


class Reporter:
    """Thread-safe. `dashboard` is its address, `web` its troubles."""

    def __init__(
        self,
        in_force: InForce,
        *,
        stats: Stats,
        intake: Intake,
        recorder: Recorder,
        watch: CameraWatch,
        followers: Followers,
        dashboard: Callable[[], str | None],
        web: Troubles,
    ) -> None:
        self._in_force, self._followers, self._dashboard, self._web = in_force, followers, dashboard, web
        self._stats, self._backlog, self._recorder = stats, intake.backlog, recorder
        self._watch, self._scanner, self._sources = watch, intake.scanner, intake.sources
        self._started, self._instance = time.time(), secrets.token_hex(8)
        self.up = False
        self._said: object = None

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._in_force.config

    @property
    def plan(self) -> Plan:
        """The one in force."""
        return self._in_force.engine.plan

    def info(self) -> bytes:
        return info(self.config, self._in_force.engine, instance=self._instance, started=self._started)

    def stats(self) -> bytes:
        return as_json(self.snapshot())

    def snapshot(self) -> Snapshot:
        counters = self._backlog.counters()
        followers = self._followers.standings(self._recorder.newest)
        queues = {
            "paths": counters.queued,
            "records": self._recorder.depth(),
            "outbox": followers["mqtt"].waiting if "mqtt" in followers else 0,
        }
        snapshot = self._stats.snapshot(
            counters,
            folders=self._scanner.lying(),
            queues=queues,
            dropped=followers["mqtt"].dropped if "mqtt" in followers else 0,
            paused=self._backlog.paused,
            troubles=self.troubles(),
            problems=self._watch.problems(),
            clock=timestamp(time.time()),
        )
        clips = msgspec.structs.replace(snapshot.clips, waiting=self._backlog.clips_waiting())
        return msgspec.structs.replace(snapshot, followers=followers, clips=clips)

    def troubles(self) -> dict[str, str]:
        engine = self._in_force.engine
        kernels, device = engine.plan.spec.kernels, engine.acceleration
        of_model = {"kernels": kernels.fault} if kernels and kernels.fault else {}
        of_model |= {"accelerator": str(device)} if device and device.fault else {}
        return self._recorder.troubles.current() | of_model | self._followers.troubles() | self._web.current()

    def busy(self) -> bool:
        """Whether there is an image to be worked at: while paused, those that wait are none."""
        counters = self._backlog.counters()
        return bool(counters.in_hand or (counters.queued and not self._backlog.paused))

    def cameras(self) -> Collection[str]:
        return self._watch.names

    def labels(self) -> Collection[str]:
        return self._in_force.engine.plan.spec.labels

    def status(self, watched: Sequence[str]) -> Status:
        snapshot, publisher = self.snapshot(), self._followers.publisher
        return Status(
            version=VERSION,
            pid=os.getpid(),
            device=self.config.device,
            watch=list(watched),
            log=str(self.config.log.path),
            model=model_report(self._in_force.engine),
            sources=[status for source in self._sources if (status := source.status())],
            mqtt=publisher.status() if publisher else None,
            dashboard=self._dashboard(),
            troubles=snapshot.troubles,
            dropped=snapshot.dropped,
            paused=snapshot.paused,
            stats=snapshot,
        )

    def ready(self) -> None:
        self.up = True
        self._said = _news(self.snapshot())
        notify(READY="1")
        self.tell_supervisor()

    def tell_news(self, *, aloud: bool) -> None:
        """Say how it goes where something was done or has changed since it was last said."""
        crashpoints.reach("in_reporting")
        snapshot = self.snapshot()
        news = _news(snapshot)
        if aloud and news != self._said:
            log.info("%s", summary(snapshot))
        self._said = news
        self.tell_supervisor()

    def conclude(self, terminal: Terminal | None) -> None:
        """Say what it all was, where somebody reads it."""
        snapshot = self.snapshot()
        if terminal:
            terminal.end(snapshot, results=self.config.log.path)
        else:
            log.info("%s", summary(snapshot))

    def tell_supervisor(self) -> None:
        """Have systemd show how it goes."""
        if self.up:
            notify(STATUS="; ".join([summary(self.snapshot()), *self.troubles().values()]))


def _news(snapshot: Snapshot) -> object:
    """What makes figures worth a line in a log that is kept for years."""
    counters = snapshot.counters
    counts = (counters.done, counters.failed, counters.expired, counters.waiting, snapshot.dropped)
    return counts, snapshot.paused, snapshot.troubles.keys(), snapshot.problems
