"""watchdog's events, as hints that a path may be an image to take."""

import logging
import os
from collections.abc import Callable
from typing import Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent

from dropsight import crashpoints
from dropsight.service.backlog import Backlog
from dropsight.service.dropfolder import DropFolder
from dropsight.service.filesystems import REMOTE, file_systems
from dropsight.service.heartbeats import Heartbeats

log = logging.getLogger(__name__)

HEARD: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class Rescans(Protocol):
    """Whoever walks folders, told that events are not enough."""

    def rescan(self) -> None: ...
    def look_into(self, folder: DropFolder, path: str) -> None: ...


class Watcher:
    """Hears of arrivals in one folder. Its threads never wait for room and never touch the disk."""

    def __init__(
        self, folder: DropFolder, backlog: Backlog, rescans: Rescans, heartbeats: Heartbeats
    ) -> None:
        self._folder, self._rescans = folder, rescans
        self._hints = _Hints(folder, backlog, rescans, heartbeats)
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None

    @property
    def polling(self) -> bool:
        """Whether events are not to be had or not wanted: then scans do it all."""
        return self._observer is None

    def start(self) -> None:
        """Begin to hear, where the settings and the file system allow it."""
        kind = self._folder.settings.observer
        if kind == "polling" or (kind == "auto" and file_systems(self._folder.root) & REMOTE):
            log.info("%s: looked at every %g s", self._folder.root, self._folder.settings.poll_seconds)
            return
        observer = _ArrivalObserver(folder=self._folder, on_overflow=self._rescans.rescan)
        try:
            observer.schedule(
                self._hints, self._folder.root, recursive=self._folder.settings.recursive, event_filter=HEARD
            )
            observer.start()
        except OSError as error:
            log.warning("%s: no inotify here (%s): looked at instead", self._folder.root, error.strerror)
            observer.unschedule_all()
            return
        self._watched = _inode(self._folder.root)
        self._observer = observer

    def renew_if_replaced(self) -> None:
        """Watch anew when another folder stands at the path: a disk was mounted, the folder made again."""
        if self._observer is None:
            return
        replaced = self._watched != _inode(self._folder.root)
        if replaced or not self._is_whole(self._observer):
            why = "another folder than before" if replaced else "a part of the watch has ended"
            log.info("%s: %s: watched anew", self._folder.root, why)
            self.stop()
            self.start()

    def watch_too(self, path: str) -> None:
        """See to it that this folder below is watched: as it came, it may have been closed to us."""
        for emitter in self._observer.emitters if self._observer else ():
            if isinstance(emitter, _ArrivalEmitter):
                emitter.watch_too(path)

    def _is_whole(self, observer: BaseObserver) -> bool:
        return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)

    def stop(self) -> None:
        if self._observer:
            self._observer.stop()
            self._observer.join()
            self._observer = None


class _Hints(FileSystemEventHandler):
    def __init__(
        self, folder: DropFolder, backlog: Backlog, rescans: Rescans, heartbeats: Heartbeats
    ) -> None:
        self._folder, self._backlog, self._rescans = folder, backlog, rescans
        self._heartbeats = heartbeats

    def dispatch(self, event: FileSystemEvent) -> None:
        with self._heartbeats.at_work(f"the watch on {self._folder.root}"):
            try:
                crashpoints.reach("in_hint")
                self._hear(event)
            except Exception:  # the walk that follows finds what this event was about
                log.exception("%s: an internal error with an event", self._folder.root)
                self._rescans.rescan()

    def _hear(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.dest_path or event.src_path)
        if event.is_directory:
            self._rescans.look_into(self._folder, path)
        elif self._folder.wants(path):
            closed = isinstance(event, FileClosedEvent)
            if not self._backlog.hint(self._folder, path, closed=closed):
                self._rescans.rescan()


class _ArrivalEmitter(InotifyEmitter):
    """Asks the kernel for arrivals only.

    Left to itself, watchdog also asks for files moved away, which is every file that we file away,
    and holds each such event, and all behind it, for half a second in the hope of its other half.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float,
        event_filter: list[type[FileSystemEvent]] | None,
        inotify_fd: InotifyFD,
        folder: DropFolder,
        on_overflow: Callable[[], None],
    ) -> None:
        super().__init__(
            event_queue, watch, timeout=timeout, event_filter=event_filter, inotify_fd=inotify_fd
        )
        self._folder, self._on_overflow = folder, on_overflow

    def on_thread_start(self) -> None:
        self._inotify = _ArrivalWatchGroup(
            self._inotify_fd, folder=self._folder, told_of_overflow=self._on_overflow
        )

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = False) -> None:
        """Of a folder that came with things in it tell only itself: the walk that follows finds them."""
        if isinstance(event, PathedInotifyEvent) and event.ev.is_moved_to and event.ev.is_directory:
            self.queue_event(DirCreatedEvent(os.fsdecode(event.path)))
        else:
            super().build_and_queue_event(event, full_events=full_events)

    def queue_events(self, timeout: float, *, full_events: bool = False) -> None:
        crashpoints.reach("in_events")
        super().queue_events(timeout, full_events=full_events)

    def watch_too(self, path: str) -> None:
        if isinstance(self._inotify, _ArrivalWatchGroup):
            self._inotify.watch_too(os.fsencode(path))


class _ArrivalWatchGroup(InotifyWatchGroup):
    """Goes down without recursion, which ends at a thousand folders, and no deeper than walks do."""

    def __init__(
        self, inotify_fd: InotifyFD, *, folder: DropFolder, told_of_overflow: Callable[[], None]
    ) -> None:
        self._folder, self._told_of_overflow = folder, told_of_overflow
        kernel = InotifyConstants
        mask = kernel.IN_CREATE | kernel.IN_MOVED_TO | kernel.IN_CLOSE_WRITE | kernel.IN_DELETE_SELF
        super().__init__(
            inotify_fd,
            os.fsencode(folder.root),
            event_mask=Mask(mask),
            is_recursive=folder.settings.recursive,
        )

    def watch_too(self, path: bytes) -> None:
        with self._lock:
            if self.is_active and path not in self._active_callbacks_by_path:
                self._add_callback(path)

    def _add_callback(self, path: bytes) -> None:
        # Of those that may not be read watchdog believes that they are watched.
        if path == self.path or os.access(path, os.R_OK):
            super()._add_callback(path)

    def _add_all_callbacks(self, path: bytes) -> None:
        pending = [path]
        while pending:
            folder = pending.pop()
            if self._folder.reaches(os.fsdecode(folder)):
                self._add_callback(folder)  # first: what comes while we look has an event of its own
                pending += _folders_in(folder) if self.is_recursive else []

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:  # noqa: ARG002 - watchdog's name
        return []

    def on_queue_overflow(self) -> None:
        super().on_queue_overflow()
        self._told_of_overflow()


class _ArrivalObserver(BaseObserver):
    def __init__(self, *, folder: DropFolder, on_overflow: Callable[[], None]) -> None:
        self._inotify_fd = InotifyFD()
        self._inotify_fd.start()
        super().__init__(_ArrivalEmitter, inotify_fd=self._inotify_fd, folder=folder, on_overflow=on_overflow)

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._inotify_fd.stop()
        self._inotify_fd.join()


def _folders_in(folder: bytes) -> list[bytes]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # gone, or closed to us: a walk tells
        return []


def _inode(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
