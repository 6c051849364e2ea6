"""Deletes empty date folders, which cameras create by the minute."""

import os
from contextlib import suppress

from dropsight.files.beneath import Top
from dropsight.files.descent import Descent
from dropsight.intake.camera_names import is_later
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder

# Whoever has made a folder to put something into it has done so by then.
EMPTY_SECONDS = 86_400
MOST_CAMERAS = 1_024


class PassedFolders:
    """Date folders that a camera is done with: its next image has come into a later one beside them.

    Used by the recorder's thread. What is not empty just then, what is of a camera that was seen to go back,
    and all else, is for `remove_empty`.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[DropFolder, str], tuple[float, str]] = {}
        """Of each camera, when its latest image came, and into which folder."""
        self._went_back: set[tuple[DropFolder, str]] = set()

    def filed(self, candidate: Candidate) -> str | None:
        """Take note of an image that has left its folder; return what lay above the folders that are gone."""
        now, line = (candidate.since, candidate.path.rpartition(os.sep)[0]), candidate.line
        before = self._latest.get(line, now)
        if len(self._latest) >= MOST_CAMERAS:
            self._latest.clear()
            self._went_back.clear()
        earlier, later = sorted((before, now))
        self._latest[line] = later
        if earlier[1] == later[1]:
            return None
        if _is_later(candidate.folder, earlier[1], later[1]):
            self._went_back.add(line)
        if line in self._went_back or candidate.folder.settings.after == "keep":
            return None
        return _remove_passed(candidate.folder, earlier[1], later[1])


def _is_later(folder: DropFolder, path: str, other: str) -> bool:
    above = os.path.commonpath((path, other))
    mine, others = (os.path.relpath(each, above).split(os.sep)[0] for each in (path, other))
    return is_later(mine, others, above=folder.relative(above))


def _remove_passed(folder: DropFolder, earlier: str, later: str) -> str | None:
    if not _is_later(folder, later, earlier):
        return None
    above = os.path.commonpath((earlier, later))
    while earlier != above:
        parent, name = os.path.split(earlier)
        if not _remove(Top(parent, folder.links.true(parent)), name):
            break
        earlier = parent
    return earlier


def remove_empty(folder: DropFolder, clock: Clock) -> int:
    """Remove what has been empty for a day in inbox, processed and failed, below the cameras' folders.

    Say how many went.

    An inbox whose images stay where they are is an archive: there, folders stay, too.
    """
    if folder.settings.after == "keep":
        return 0
    links = set(folder.links.tops())
    places = {folder.inbox, folder.processed, folder.failed, *links}
    return sum(_remove_in(place, clock, reaches=folder, is_camera=place in links) for place in places)


def _remove_in(place: Top, clock: Clock, *, reaches: DropFolder, is_camera: bool) -> int:
    removed = 0

    def leave(inner: str, changed: float) -> None:
        """Each by its age before what was in it went."""
        nonlocal removed
        if (is_camera or os.sep in inner) and clock.age_seconds(changed) > EMPTY_SECONDS:
            removed += _remove(place, inner)

    descent = Descent(leave)
    while (inner := descent.next()) is not None:
        with suppress(OSError), place.listed(inner) as entries:
            for entry in entries:
                path = os.path.join(place.path, inner, entry.name)
                if entry.is_dir(follow_symlinks=False) and (
                    place in (reaches.processed, reaches.failed) or reaches.reaches(path)
                ):
                    # By ctime, as copies keep their originals' other times.
                    descent.found(entry.name, entry.stat(follow_symlinks=False).st_ctime)
    return removed


def _remove(place: Top, name: str) -> bool:
    with (
        suppress(OSError),
        place.inside(os.path.dirname(name)) as fd,
    ):  # it has something in it, or is a disk's
        os.rmdir(os.path.basename(name), dir_fd=fd)
        return True
    return False
