"""Runs the camera watch: checks cameras, remembers them over restarts, forgets removed ones."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec

from dropsight import crashpoints
from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.cameras.watch import LONGEST_LIST, CameraWatch, Memory
from dropsight.config import Cameras
from dropsight.errors import StoreError
from dropsight.files.disk import write_whole
from dropsight.images.framing import Pixels
from dropsight.images.opening import Bounds
from dropsight.inference.clips import ClipAnswer
from dropsight.inference.pipeline import Prepared
from dropsight.intake.backlog import Backlog
from dropsight.intake.camera_names import DEFAULT_CAMERA
from dropsight.intake.folder import DropFolder
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import Durable, Recorded
from dropsight.names import as_json, as_text
from dropsight.records import Result, decode
from dropsight.sinks.announcements import AnnouncingFollower
from dropsight.status.changes import Changes
from dropsight.status.troubles import Troubles
from dropsight.web.pictures import make_thumbnail
from dropsight.web.stills import clip_of, make_still

log = logging.getLogger(__name__)

NAME = "cameras.json"
LOOK_SECONDS, SHORTEST_LOOK_SECONDS = 15.0, 0.25
SAVE_SECONDS = 300.0
# While so many images wait, a camera's pictures are looked at in pairs, no closer than this.
MANY_WAITING, CLOSEST_SECONDS = 32, 0.1
FORGET_SECONDS = 86_400.0


class _Looked(msgspec.Struct):
    """When a camera's latest pair began, in monotonic seconds, on which thread; whether it is complete."""

    began: float
    thread: int
    twice: bool = False


def open_watch(
    settings: Cameras, folders: Sequence[DropFolder], journal: Path, *, changed: Callable[[], None]
) -> CameraWatch:
    """Go on from what was remembered."""
    expected = {name: as_text(each.root) for each in folders for name in each.settings.cameras}
    return CameraWatch(settings, load(journal.with_name(NAME)), expected=expected, changed=changed)


class CameraKeeper:
    """`run` belongs on a thread of its own, everything else may be called from any.

    `changes` are those of the cameras; a publisher is shown their newest pictures and answers. `keep_film`
    is given the surest frame of each clip, and those that were looked at by their times.
    """

    def __init__(
        self,
        watch: CameraWatch,
        changes: Changes,
        folders: Sequence[DropFolder],
        journal: Path,
        backlog: Backlog,
        *,
        publisher: AnnouncingFollower | None = None,
        keep_film: Callable[[Result, bytes, Mapping[float, bytes]], None] | None = None,
    ) -> None:
        self._watch, self._publisher, self._keep_film = watch, publisher, keep_film
        self._folders, self._backlog = folders, backlog
        self._path = journal.with_name(NAME)
        self._troubles = Troubles(log)
        changes.tell(self._on_change)
        self._saved_names, self._has_news = self._watch.names, False
        self._looked: dict[str, _Looked] = {}
        self._names = {folder: as_text(folder.root) for folder in folders}
        self._limits = {name: folder.settings.silence for folder, name in self._names.items()}

    def wants_look(self, camera: str) -> bool:
        """Whether to measure this camera's next picture: in a catch-up, some tell as much as all.

        Two in a row, since only neighbours tell a picture that stands still from one that comes again; and of
        one thread, since others are in the middle of groups of their own.
        """
        now = time.monotonic()
        looked = self._looked.get(camera)
        if looked is None or now - looked.began >= CLOSEST_SECONDS:
            if len(self._looked) > LONGEST_LIST:
                self._looked.clear()
            self._looked[camera] = _Looked(now, threading.get_ident())
            return True
        if not looked.twice and looked.thread == threading.get_ident():
            looked.twice = True
            return True
        return self._backlog.depth() < MANY_WAITING

    def saw(self, camera: str, prepared: Prepared) -> None:
        """Take note of a picture that a worker has decoded."""
        if prepared.look is not None:
            self._watch.saw(camera, prepared.look)
        if prepared.thumbnail is not None:
            self._show(camera, prepared.thumbnail)

    def saw_clip(self, record: Result, answer: ClipAnswer) -> None:
        """Show frames of a clip where pictures are shown."""
        self._show(record.camera, answer.surest)
        if self._keep_film:
            self._keep_film(record, answer.surest, dict(answer.film))

    def _show(self, camera: str, picture: Pixels | bytes) -> None:
        """Publish what is taken back once the camera is forgotten."""
        if self._publisher and self._watch.remembers(camera):
            self._publisher.show_thumbnail(camera, picture)

    def hear(self, recorded: Sequence[Durable], /) -> None:
        """Take note of what is on record now, before others hear of it."""
        at_rest = not self._backlog.depth()
        for entry in recorded:
            if not isinstance(entry, Recorded):
                continue  # a burst says nothing of its camera that its photos have not said
            candidate, record = entry.finished.candidate, entry.finished.record
            folder = self._names[candidate.folder]
            self._watch.recorded(record.camera, folder=folder, arrived=candidate.since, at_rest=at_rest)
            if self._publisher and isinstance(record, Result) and record.camera in self._watch.names:
                self._publisher.states.show(record, entry.line, arrived=candidate.since, at_rest=at_rest)

    def recall(self, reader: JournalReader, *, pictures: Bounds | None) -> None:
        """Have the publisher show the newest record of each camera that was not forgotten meanwhile.

        And its picture, where such are shown: what one may cost.
        """
        publisher = self._publisher
        if publisher is None:
            return
        watches = [folder.settings for folder in self._folders]
        known = self._watch.names | {DEFAULT_CAMERA}
        others = chain.from_iterable(folder.cameras() for folder in self._folders)
        for camera in chain(known, (name for name in others if name not in known)):
            line = reader.latest(camera)
            record = None if line is None else decode(line)
            if line is not None and isinstance(record, Result):
                publisher.states.show(record, line, arrived=-math.inf)
                row = reader.find(record.id) if pictures else None
                if row and pictures:
                    clip = clip_of(line)
                    make = (
                        partial(make_still, row, record.id, clip, watches, pictures)
                        if clip
                        else partial(make_thumbnail, row, record.id, watches, pictures, "small")
                    )
                    publisher.thumbnails.recall(camera, make)

    def run(self, stopped: threading.Event) -> None:
        limits = [limit / 4 for limit in self._limits.values() if limit is not None]
        pause = max(min([LOOK_SECONDS, *limits]), SHORTEST_LOOK_SECONDS)
        unsaved = 0.0
        while not stopped.wait(pause):
            self.look()
            unsaved += pause
            if unsaved >= SAVE_SECONDS or self._has_news or self._saved_names is not self._watch.names:
                self.save()
                unsaved = 0.0

    def look(self) -> None:
        crashpoints.reach("in_watching")
        counters = self._backlog.counters()
        self._watch.judge_silence(self._limits, at_rest=not (counters.queued or counters.in_hand))
        self._forget()

    def save(self) -> None:
        self._saved_names, self._has_news = self._watch.names, False
        try:
            write_whole(self._path, as_json(self._watch.memories()))
        except OSError as error:
            self._troubles.raised("cameras", StoreError(f"{self._path} cannot be written: {error.strerror}"))
        else:
            self._troubles.cleared("cameras")

    def _forget(self) -> None:
        """Forget cameras whose folder was taken away; of a share that is not mounted, all are.

        After a day, or at once where there are many: each may be a date.
        """
        is_crowded = len(self._watch.names) > LONGEST_LIST
        unseen = self._watch.unseen(seconds=0.0 if is_crowded else FORGET_SECONDS)
        gone: list[str] = []
        for folder in filter(lambda folder: folder.names_by_folder, self._folders):
            names = {name for name, root in unseen if root == as_text(folder.root) and name != DEFAULT_CAMERA}
            gone.extend(_without_folder(names, folder) if names else ())
        if is_crowded:
            gone.extend(self._unmissed())
        if gone:
            self._watch.forget(gone)

    def _unmissed(self) -> Iterator[str]:
        """Yield cameras without folders of their own, where one inbox has very many that nobody misses.

        Whoever names files can have any number made, and so does a pattern that is wrong.
        """
        unmissed = self._watch.unmissed(seconds=FORGET_SECONDS)
        for folder in self._folders:
            if folder.names_by_folder or folder.settings.silence is not None:
                continue
            names = [name for name, root in unmissed if root == as_text(folder.root)]
            if len(names) > LONGEST_LIST:
                yield from names

    def _on_change(self) -> None:
        self._has_news = True


def _without_folder(names: set[str], folder: DropFolder) -> set[str]:
    """Return the cameras that have no folder any more; none where none at all has: a disk may be away."""
    gone, any_there = set(names), False
    for camera in folder.cameras():
        any_there = True
        gone.discard(camera)
    return gone if any_there else set()


def load(path: Path) -> dict[str, Memory]:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=dict[str, Memory])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so the cameras are learned from scratch: %s", path, error)
        return {}
