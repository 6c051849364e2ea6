"""What lies in an inbox because the config once named a folder there for what is filed."""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from dropsight.errors import DamagedError, StoreError
from dropsight.intake.folder import DropFolder
from dropsight.journal.filed import OVERLAY_SUFFIX, FiledImages
from dropsight.names import as_text

_OVERLAY = re.compile(rf".*\.[0-9a-f]{{12}}{re.escape(OVERLAY_SUFFIX)}")
_TOLD = "%s was processed or failed: what was filed there is passed by, and nothing deletes it"

log = logging.getLogger(__name__)


class FormerPlaces:
    """Folders in an inbox that the config named for what is filed, and no longer does: that is on record.

    So it is where such a folder has come along as its inbox was moved, renamed or copied.
    Thread-safe: one connection per thread. Most inboxes have none such, and nothing is asked for.
    """

    def __init__(self, journal: Path, folders: Sequence[DropFolder]) -> None:
        """Raises StoreError."""
        self._journal, self._local = journal, threading.local()
        self._former: dict[str, set[bytes]] = {}
        with closing(FiledImages(journal)) as shelf:
            for here, place in _where_they_may_be(shelf, folders):
                if is_watched(here, folders):
                    self._former.setdefault(here, set()).add(place)
        self._told = set[str]()
        for here in self._former:
            if os.fsencode(here) in self._former[here]:
                self._tell(here)

    def hold(self, path: str, stat: os.stat_result) -> bool:
        """Whether this is what was filed there, by its name, size and time, or an overlay of it."""
        for here, places in self._former.items():
            if path.startswith(here + os.sep) and self._holds(places, path[len(here) + 1 :], stat):
                self._tell(here)
                return True
        return False

    def _holds(self, places: set[bytes], name: str, stat: os.stat_result) -> bool:
        if _OVERLAY.fullmatch(name):
            return True
        try:
            return any(self._shelf().has(place, os.fsencode(name), stat) for place in places)
        except DamagedError:
            raise
        except StoreError:  # the recorder finds out as well, and waits
            return False

    def _tell(self, here: str) -> None:
        if here not in self._told:
            self._told.add(here)
            log.warning(_TOLD, as_text(here))

    def _shelf(self) -> FiledImages:
        if not hasattr(self._local, "shelf"):
            self._local.shelf = FiledImages(self._journal)
        shelf: FiledImages = self._local.shelf
        return shelf


def _where_they_may_be(shelf: FiledImages, folders: Sequence[DropFolder]) -> Iterator[tuple[str, bytes]]:
    for place in shelf.places():
        yield os.fsdecode(place), place
        for name in shelf.names_in_inboxes(place):
            yield from ((os.path.join(folder.root, os.fsdecode(name)), place) for folder in folders)


def is_watched(place: str, folders: Sequence[DropFolder]) -> bool:
    """Whether this is a folder within an inbox, from which images are taken."""
    return any(folder.reaches(place) for folder in folders if place != folder.root)
