"""Date folders that nothing lies in any more, which cameras make by the minute: they go, after a day."""

import os
from contextlib import suppress

from dropsight.service.beneath import Top
from dropsight.service.clock import Clock
from dropsight.service.dropfolder import DropFolder

# Whoever has made a folder to put something into it has done so by then.
EMPTY_SECONDS = 86_400


def remove_empty(folder: DropFolder, clock: Clock) -> int:
    """Remove what is empty in inbox, processed and failed, below the cameras' folders; say how many went.

    An inbox whose images stay where they are is an archive: there, folders stay, too.
    """
    if folder.settings.after == "keep":
        return 0
    links = set(folder.links.tops())
    places = {folder.inbox, folder.processed, folder.failed, *links}
    return sum(_remove_in(place, clock, reaches=folder, is_camera=place in links) for place in places)


def _remove_in(place: Top, clock: Clock, *, reaches: DropFolder, is_camera: bool) -> int:
    found: list[tuple[str, float]] = []
    pending = [""]
    while pending:
        inner = pending.pop()
        for name, changed in _folders_in(place, inner):
            below = os.path.join(inner, name)
            path = os.path.join(place.path, below)
            if place in (reaches.processed, reaches.failed) or reaches.reaches(path):
                pending.append(below)
                if inner or is_camera:
                    found.append((below, changed))
    # The deepest first, and each by its age before what was in it went.
    old = (name for name, changed in reversed(found) if clock.age_seconds(changed) > EMPTY_SECONDS)
    return sum(_remove(place, name) for name in old)


def _folders_in(place: Top, inner: str) -> list[tuple[str, float]]:
    """Names, and when each last changed; by ctime, as copies keep their originals' other times."""
    with suppress(OSError), os.scandir(os.path.join(place.true, inner)) as entries:
        return [
            (entry.name, entry.stat(follow_symlinks=False).st_ctime)
            for entry in entries
            if entry.is_dir(follow_symlinks=False)
        ]
    return []


def _remove(place: Top, name: str) -> bool:
    with (
        suppress(OSError),
        place.inside(os.path.dirname(name)) as fd,
    ):  # it has something in it, or is a disk's
        os.rmdir(os.path.basename(name), dir_fd=fd)
        return True
    return False
