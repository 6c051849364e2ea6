"""How many images are in the folders: scans count them, and what was finished since is subtracted."""

from collections.abc import Callable, Iterable

import msgspec

from dropsight.status.ignored import Ignored


class UnprocessedImages(msgspec.Struct, frozen=True):
    """What lies in the watched folders and is not on record, as of the last walk and what was finished since.

    `counting`: the first walk is not over, there may be more. `seconds_left` is at the speed of late, None
    where nothing lies there, or nothing has been finished of late.
    """

    images: int = 0
    counting: bool = False
    seconds_left: float | None = None
    ignored: Ignored = Ignored()

    def at(self, images_per_second: float) -> "UnprocessedImages":
        """Return the same with the time that it takes at this speed; 0 where none is known."""
        if not (self.images and images_per_second):
            return self
        return msgspec.structs.replace(self, seconds_left=round(self.images / images_per_second, 1))


class Census:
    """Of one folder. One thread walks, any may ask; `finished` tells how many were, of this folder."""

    def __init__(self, finished: Callable[[], int]) -> None:
        self._finished = finished
        self._last, self._current = (0, 0), (0, 0)  # how many, and how many had been finished at the begin
        self.complete = False

    def begin(self) -> None:
        self._current = (0, self._finished())

    def count(self, images: int) -> None:
        found, before = self._current
        self._current = (found + images, before)

    def end(self) -> None:
        self._last, self.complete = self._current, True

    def images(self) -> int:
        """The last walk's, until the current one has found more."""
        finished = self._finished()
        return max(0, *(found - (finished - before) for found, before in (self._last, self._current)))


def lying(censuses: Iterable[Census], *, waiting: int) -> UnprocessedImages:
    """Take them together; `waiting` are known, be they from a walk or from an event since."""
    all_of_them = list(censuses)
    images = sum(census.images() for census in all_of_them)
    return UnprocessedImages(
        max(images, waiting), counting=not all(census.complete for census in all_of_them)
    )
