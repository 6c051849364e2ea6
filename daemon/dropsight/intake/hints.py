"""Turns the kernel's events of arrivals, as watchdog's, into hints for the backlog."""

import logging
import os
from collections.abc import Callable
from typing import Protocol

from watchdog.events import (
    DirCreatedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import EventEmitter, EventQueue, ObservedWatch

from dropsight import crashpoints
from dropsight.intake import inotify
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.status.heartbeats import Heartbeats

log = logging.getLogger(__name__)

# As many as the kernel itself keeps for us.
MOST_EVENTS = 16_384
# Beyond so much, by the length of the newest, there may be fewer.
MOST_EVENT_BYTES = 2**24


class Rescans(Protocol):
    """Whoever walks folders, told that events are not enough."""

    def rescan(self) -> None: ...
    def look_into(self, folder: DropFolder, path: str) -> None: ...


class Emitter(EventEmitter):
    """Puts into the observer's queue what `listen` hears, until `wake` is written to or it `failed`."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float,
        event_filter: list[type[FileSystemEvent]] | None,
        wake: int,
        listen: Callable[[Callable[[FileSystemEvent], None]], None],
        failed: Callable[[], None],
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._wake, self._listen, self._failed = wake, listen, failed

    def on_thread_stop(self) -> None:
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        try:
            self._listen(self._tell)
        except Exception:
            self._failed()
            raise

    def _tell(self, event: FileSystemEvent) -> None:
        """Where events come faster than anybody can hear, a walk is to find what they are about."""
        waiting = self._event_queue.qsize()
        if waiting < MOST_EVENTS and waiting * len(event.dest_path or event.src_path) < MOST_EVENT_BYTES:
            self.queue_event(event)
        else:
            self._failed()


class Hints(FileSystemEventHandler):
    """Whatever an event is about is looked at by others."""

    def __init__(
        self, folder: DropFolder, backlog: Backlog, rescans: Rescans, heartbeats: Heartbeats
    ) -> None:
        self._folder, self._backlog, self._rescans = folder, backlog, rescans
        self._heartbeats = heartbeats

    def dispatch(self, event: FileSystemEvent) -> None:
        with self._heartbeats.at_work(f"the watch on {self._folder.root}"):
            try:
                crashpoints.reach("in_hint")
                self._take(event)
            except Exception:  # the walk that follows finds what this event was about
                log.exception("%s: internal error in handling an event", self._folder.root)
                self._rescans.rescan()

    def _take(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.dest_path or event.src_path)
        if event.is_directory:
            self._rescans.look_into(self._folder, path)
        elif self._folder.wants(path):
            closed, renamed = isinstance(event, FileClosedEvent), isinstance(event, FileMovedEvent)
            self._backlog.hint(self._folder, path, closed=closed, renamed=renamed)
        elif self._folder.settings.follow_links and os.path.islink(path):
            self._rescans.rescan()


def event_of(path: str, mask: int) -> FileSystemEvent:
    if mask & inotify.ISDIR:
        return DirCreatedEvent(path)
    if mask & inotify.MOVED_TO:
        return FileMovedEvent("", path)
    return FileClosedEvent(path) if mask & inotify.CLOSE_WRITE else FileCreatedEvent(path)
