"""What says something to others, and takes their orders: made together, since they hear of each other."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from dropsight.cameras.watch import CameraWatch
from dropsight.classify.work import InForce
from dropsight.config import Config
from dropsight.images.opening import Bounds
from dropsight.journal.feed import JournalOutbox
from dropsight.journal.marks import Mark
from dropsight.journal.reader import JournalReader
from dropsight.names import as_json
from dropsight.service.camera_keeper import CameraKeeper
from dropsight.service.dashboard import address_for_others, open_web
from dropsight.service.event_inboxes import inboxes_of
from dropsight.service.explanations import Explanations
from dropsight.service.followers import Followers
from dropsight.service.lasting_problems import LastingProblems
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.opening_events import open_problems
from dropsight.service.parts import ExclusiveParts, Intake, Monitoring, Recording
from dropsight.service.record_pictures import RecordPictures, picture_of
from dropsight.service.reloading import Reloader, Reread
from dropsight.service.remote import CommandHandler, Remote
from dropsight.service.reporter import Reporter
from dropsight.sinks.announcements import Announcements
from dropsight.sinks.sink import FollowerContext
from dropsight.status.changes import Changes
from dropsight.status.control import ControlServer
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:
    from dropsight.web.serving import WebServer

log = logging.getLogger(__name__)


class Outlets(msgspec.Struct, frozen=True):
    followers: Followers
    reporter: Reporter
    watching: CameraKeeper
    web: "WebServer | None"
    reloader: Reloader
    control: ControlServer
    problems: LastingProblems


class OutletsMaker(msgspec.Struct, frozen=True):
    """Makes what speaks with others: they hear of each other, by what is asked only once all are there."""

    config: Config
    exclusive: ExclusiveParts
    monitoring: Monitoring
    recording: Recording
    intake: Intake
    in_force: InForce
    watch: CameraWatch
    explanations: Explanations

    def outlets(self, cameras: Changes, lifecycle: Lifecycle, reread: Reread, stack: ExitStack) -> Outlets:
        reporter: Reporter
        reloader: Reloader
        web: WebServer | None
        config, recorder, troubles = self.config, self.recording.recorder, self.monitoring.troubles
        of_web = Troubles(log, changed=self.monitoring.changes)
        remote = Remote(self._commands(lambda: reporter, lambda: reloader))
        announcements = partial(
            Announcements,
            info=lambda: reporter.info(),  # noqa: PLW0108 - it is made with them
            stats=lambda: reporter.stats(),  # noqa: PLW0108
            stats_seconds=config.stats.interval_seconds,
            busy=lambda: reporter.busy(),  # noqa: PLW0108
            dashboard=lambda: address_for_others(config.web) if web else None,
        )
        pictures = RecordPictures(self._picture)
        followers = Followers(
            self.recording.wanted, partial(self._context, announcements, remote.obey, pictures)
        )
        reporter = Reporter(
            self.in_force,
            stats=self.monitoring.stats,
            intake=self.intake,
            recorder=recorder,
            watch=self.watch,
            followers=followers,
            dashboard=lambda: web.address if web else None,
            web=of_web,
        )
        stats, port = self.monitoring.stats, lifecycle.port
        web = open_web(config, port, reporter, recorder, stats, obey=remote.obey, troubles=of_web)
        reloader = Reloader(
            self.in_force,
            reread,
            lifecycle=lifecycle,
            troubles=troubles,
            followers=followers,
            web=web,
            mute=self.exclusive.mute,
        )
        watching = self._watching(cameras, followers, web)
        stack.callback(watching.save)
        roots = [folder.root for folder in self.exclusive.folders]
        answers = {"status": lambda: as_json(reporter.status(roots))}
        listener = lifecycle.control.open(config.store.path.parent)
        control = ControlServer(listener, answers, otherwise=remote.obey)
        stack.callback(control.close)
        problems = open_problems(config, recorder, self.watch, reporter)
        return Outlets(followers, reporter, watching, web, reloader, control, problems)

    def _commands(
        self, reporter: Callable[[], Reporter], reloader: Callable[[], Reloader]
    ) -> dict[str, CommandHandler]:
        config, explanations = self.config, self.explanations
        return {
            "pause": lambda _: self._pause(paused=True),
            "resume": lambda _: self._pause(paused=False),
            "reload": lambda _: reloader().reload(),
            "rescan": lambda _: self.intake.scanner.rescan(),
            "stats": lambda _: reporter().snapshot(),
            "explain": lambda order: explanations.of_record(order.id, config.store.path, config.watch),
        }

    def _pause(self, *, paused: bool) -> None:
        self.intake.backlog.pause(paused=paused)
        self.monitoring.urgent()
        log.info("%s", "paused: images wait in their folders" if paused else "resumed")

    def _context(
        self,
        announcements: Callable[[], Announcements],
        obey: Callable[[bytes], bytes],
        pictures: RecordPictures,
        mark: Mark,
    ) -> FollowerContext:
        return FollowerContext(
            config=self.config,
            outbox=JournalOutbox(JournalReader(self.config.store.path), self.recording.recorder, mark),
            announcements=announcements(),
            troubles=Troubles(log, changed=self.monitoring.changes),
            obey=obey,
            watch=self.watch,
            picture=pictures.picture,
            inboxes=partial(inboxes_of, journal=self.config.store.path, watches=self.config.watch),
        )

    def _picture(self, record_id: str, longest: int) -> bytes:
        return picture_of(record_id, self.in_force.config, longest=longest)

    def _watching(self, cameras: Changes, followers: Followers, web: "WebServer | None") -> CameraKeeper:
        folders, backlog, journal = self.exclusive.folders, self.intake.backlog, self.config.store.path
        publisher, mqtt, limits = followers.publisher, self.config.mqtt, self.config.limits
        watching = CameraKeeper(
            self.watch,
            cameras,
            folders,
            journal,
            backlog,
            publisher=publisher,
            keep_film=web.keep_film if web else None,
        )
        if publisher:
            self.monitoring.urgent.tell(publisher.announce_stats)
            bounds = Bounds(limits.max_bytes, limits.max_pixels, depth=self.config.images.depth)
            with closing(JournalReader(journal)) as reader:
                watching.recall(reader, pictures=bounds if mqtt and mqtt.thumbnails else None)
        return watching
