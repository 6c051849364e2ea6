"""inotify events of an inbox, as watchdog's events; and which folders have none."""

import errno
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from watchdog.events import FileSystemEvent
from watchdog.observers.api import BaseObserver

from dropsight import crashpoints
from dropsight.files.filesystems import MOUNTS, is_shared, mounts_about
from dropsight.intake import inotify
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.hints import Emitter, Hints, Rescans, event_of
from dropsight.intake.inotify import Event, Inotify
from dropsight.names import as_text
from dropsight.status.heartbeats import Heartbeats
from dropsight.threads import LIMITS, begins

log = logging.getLogger(__name__)

_LIMITS = Path("/proc/sys/fs/inotify")
# Closed folders are told of elsewhere, and of network shares nobody expects events.
_EXPECTED = {errno.EACCES, errno.EREMOTE}
# What the paths of folders that are known may take, of one inbox; of further ones nothing is heard.
MOST_BYTES = 32 * 2**20
_BYTES_BESIDE = 256
"""Of each, for its places in two tables."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class Watcher:
    """Hears of arrivals in one inbox, on threads that never wait for room and never look at a file.

    A watchdog observer with an emitter of our own: watchdog's does not tell which folders it could not watch,
    which have moved, and which disk has come. Walks tell of every folder, so it is known which is not heard.
    """

    def __init__(
        self, folder: DropFolder, backlog: Backlog, rescans: Rescans, heartbeats: Heartbeats
    ) -> None:
        self._folder, self._rescans = folder, rescans
        self._hints = Hints(folder, backlog, rescans, heartbeats)
        self._inotify: Inotify | None = None
        self._observer: BaseObserver | None = None
        self._wake = -1
        self._refused = ""
        """Why there are no events, though some are wanted."""
        self._said = ""
        self._lock = threading.RLock()
        self._watches: dict[str, int] = {}
        self._paths: dict[int, str] = {}
        self._unheard: dict[str, int] = {}
        """Folders without a watch, and the error number that says why."""
        self._bytes, self._left_out = 0, False
        self._mounted: frozenset[bytes] = frozenset()
        """What was mounted about the inbox as the last walk of all of it began."""

    @property
    def polling(self) -> bool:
        """Whether no events are to be had, or wanted: then walks do it all."""
        return self._inotify is None or self._folder.root in self._unheard

    def renew(self) -> None:
        """Have what it takes to hear: at the start, and again where it was lost or the disks have changed."""
        self._left_out, self._mounted = False, mounts_about(self._folder.inbox.true)
        kind = self._folder.settings.observer
        if kind == "polling" or (kind == "auto" and is_shared(self._folder.root)):
            self.stop()
            self._say(f"polled every {self._folder.settings.poll_seconds:g} s")
        elif not self._is_listening():
            self.stop()
            self._start()

    def _is_listening(self) -> bool:
        observer = self._observer
        return observer is not None and all(each.is_alive() for each in (observer, *observer.emitters))

    def _start(self) -> None:
        try:
            heard = Inotify()
        except OSError as error:
            self._refused = f"no inotify instance is left ({error.strerror}): {_raise('max_user_instances')}"
            return
        self._inotify = heard
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        listen = partial(self._listen, heard)
        emitter = partial(Emitter, wake=self._wake, listen=listen, failed=self._rescans.rescan)
        self._observer = BaseObserver(emitter)  # type: ignore[arg-type] # it is called as the class would be
        self._observer.schedule(self._hints, self._folder.root, recursive=self._folder.settings.recursive)
        self._observer.name = f"events in {self._folder.root}"
        for each in self._observer.emitters:
            each.name = f"watch on {self._folder.root}"
        if begins(self._observer):
            self._say("watched")
        else:  # each walk tries it again
            self.stop()
            self._refused = f"no thread can be started: too many already ({LIMITS})"

    def stop(self) -> None:
        if self._observer:
            self._observer.stop()
            if self._observer.ident is not None:
                self._observer.join()
            self._observer = None
        if self._inotify:
            self._inotify.close()
            os.close(self._wake)
        with self._lock:
            self._inotify, self._refused = None, ""
            for known in (self._watches, self._paths, self._unheard):
                known.clear()
            self._bytes = 0

    def hear(self, path: str, fd: int) -> None:
        """Hear of the folder that was opened by this path, and is about to be looked at."""
        with self._lock:
            self._drop_unheard(path)
            if self._inotify is None or not (path in self._watches or self._has_room_for(path)):
                return
            try:
                self._expect_events(path)
                if path == self._folder.root and self._is_remounted():
                    self._rescans.rescan()
                watch = self._inotify.add(f"/proc/self/fd/{fd}/.")
            except OSError as error:
                self.missed(path, error)
                return
            if not self._is_still(path, fd):  # moved before it was watched: nobody would tell
                if watch not in self._paths:
                    self._inotify.remove(watch)
                self.missed(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
                return
            before = self._watches.get(path)
            if before == watch:
                return
            if before is not None:  # another folder, or disk, has its place
                self._forget(before)
                self._inotify.remove(before)
            self._forget(watch)  # known by the name that it had before
            self._watches[path], self._paths[watch] = watch, path
            self._bytes += _bytes_for(path)

    def missed(self, path: str, error: OSError) -> None:
        """Note a folder that could not be looked at; while it is there, it is tried again and again."""
        with self._lock:
            if error.errno in _GONE and path != self._folder.root:
                self._drop_unheard(path)
                self._lose(self._below(path) if path in self._watches else [])
            elif path in self._unheard or self._has_room_for(path):
                self._drop_unheard(path)
                self._unheard[path] = error.errno or errno.EIO
                self._bytes += _bytes_for(path)

    def _drop_unheard(self, path: str) -> None:
        if self._unheard.pop(path, None) is not None:
            self._bytes -= _bytes_for(path)

    def _has_room_for(self, path: str) -> bool:
        """Whether one more may be known; who makes very many long ones has walks find what is in them."""
        has_room = self._bytes + _bytes_for(path) <= MOST_BYTES
        self._left_out |= not has_room
        return has_room

    def _is_still(self, path: str, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self._folder.links.true(path)))
        except OSError:
            return False

    def _expect_events(self, path: str) -> None:
        """Raise OSError for what lies behind a link on a network share, which has no events."""
        links = self._folder.links
        linked = next((link for link in links.places if f"{path}/".startswith(link + "/")), None)
        kind = self._folder.settings.observer
        if linked and kind == "auto" and is_shared(links.places[linked]):
            raise OSError(errno.EREMOTE, os.strerror(errno.EREMOTE))

    def unheard(self) -> list[str]:
        """Return the topmost folders of which nothing is heard."""
        tops: list[str] = []
        with self._lock:
            for path in sorted(self._unheard, key=lambda path: path.replace(os.sep, "\0")):
                if not (tops and path.startswith(tops[-1] + os.sep)):
                    tops.append(path)
        return tops

    def fault(self) -> str | None:
        """Say what is not heard, and how to have it heard; closed folders are told of elsewhere."""
        root, pause = as_text(self._folder.root), f"{self._folder.settings.poll_seconds:g} s"
        if self._refused:
            return f"{root} is polled every {pause}, as {self._refused}"
        with self._lock:
            missed = [number for path, number in self._unheard.items() if path != self._folder.root]
            missed = [number for number in missed if number not in _EXPECTED]
            known = len(self._watches) + len(self._unheard)
            full = list(self._unheard.values()).count(errno.ENOSPC)
        if full:
            text = f"{full} of {known} folders in {root} are polled every {pause}"
            return f"{text}, as no inotify watches are left: {_raise('max_user_watches')}"
        if self._left_out:
            text = f"{known} folders in {root} are watched, and further ones looked into once a minute"
            return f"{text}: their paths take more than {MOST_BYTES >> 20} MiB"
        if others := missed:
            why = os.strerror(others[0])
            return f"{len(others)} of {known} folders in {root} cannot be watched and are retried: {why}"
        return None

    def _listen(self, heard: Inotify, tell: Callable[[FileSystemEvent], None]) -> None:
        with MOUNTS.open("rb") as mounts:
            waits = select.poll()
            for fd, kind in (
                (heard.fd, select.POLLIN),
                (self._wake, select.POLLIN),
                (mounts, select.POLLPRI),
            ):
                waits.register(fd, kind)
            about = self._mounts()
            while self._wake not in (ready := dict(waits.poll())):
                crashpoints.reach("in_events")
                for event in heard.read():
                    self._take(event, tell)
                if mounts.fileno() in ready:
                    before, about = about, self._mounts()
                    if about != before or self._is_remounted():
                        self._rescans.rescan()

    def _mounts(self) -> frozenset[bytes]:
        folders = (self._folder.inbox.true, *self._folder.links.places.values())
        return frozenset().union(*map(mounts_about, folders))

    def _is_remounted(self) -> bool:
        """Whether there may be another disk than that walk was to find.

        One that is mounted in place of another may have its number: who looked neither before nor after saw
        no change.
        """
        return mounts_about(self._folder.inbox.true) != self._mounted

    def _take(self, event: Event, tell: Callable[[FileSystemEvent], None]) -> None:
        with self._lock:
            folder = self._paths.get(event.watch)
        if event.mask & (inotify.OVERFLOW | inotify.UNMOUNT):
            self._rescans.rescan()
        elif folder is None:
            return
        elif event.mask & inotify.IGNORED:
            self._lose([folder])
        elif event.mask & inotify.MOVE_SELF:
            # What is below it has another path now, too.
            with self._lock:
                self._lose(self._below(folder))
            self._rescans.look_into(self._folder, folder)
        else:
            tell(event_of(os.path.join(folder, event.name), event.mask))

    def _below(self, folder: str) -> list[str]:
        return [path for path in self._watches if path == folder or path.startswith(folder + os.sep)]

    def _lose(self, paths: Iterable[str]) -> None:
        with self._lock:
            for path in paths:
                if (watch := self._watches.get(path)) is not None:
                    self._forget(watch)
                    if self._inotify:
                        self._inotify.remove(watch)
        if self._folder.root in paths:
            self._rescans.rescan()

    def _forget(self, watch: int) -> None:
        path = self._paths.pop(watch, None)
        if path is not None and self._watches.pop(path, None) is not None:
            self._bytes -= _bytes_for(path)

    def _say(self, text: str) -> None:
        if text != self._said:
            log.info("%s: %s", self._folder.root, text)
            self._said = text


def _bytes_for(path: str) -> int:
    return sys.getsizeof(path) + _BYTES_BESIDE


def _raise(limit: str) -> str:
    now = int((_LIMITS / limit).read_text())
    return f"sudo sysctl fs.inotify.{limit}={2 * now}"
