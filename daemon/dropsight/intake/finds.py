"""What walks have found, and the backlog has no room for yet."""

import sys
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dropsight.intake.backlog import Backlog
from dropsight.intake.clip_lane import MOST_CLIPS
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import FirstInLine

CHUNK = 8_192
# Of all inboxes together, beyond a chunk of each: a walk of a million files takes as long as many images do.
MOST_LATER = 57_344


class Choice(NamedTuple):
    """What is chosen of all that a walk finds."""

    folder: DropFolder
    images: FirstInLine[str]
    clips: FirstInLine[str]
    whole: bool


class Finds:
    """Inboxes take turns: none waits for room for all that lies in another. For the thread that walks.

    Beyond a chunk, what a walk has found comes later: meanwhile its inbox may be walked anew, which takes
    the place of that.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._waiting: dict[DropFolder, deque[tuple[float, str]]] = {}
        self._later: dict[DropFolder, deque[tuple[float, str]]] = {}

    def choice(self, folder: DropFolder, *, behind: Collection[str], whole: bool) -> Choice:
        """Begin a choice of what a walk finds; where it is of the `whole` inbox, more than a chunk.

        Those of the cameras `behind` come after all others. Clips, which wait in a lane of their own, are
        chosen for themselves.
        """
        most = CHUNK
        if whole:
            self._later.pop(folder, None)
            most += MOST_LATER - sum(map(len, self._later.values()))
        order, camera_of = self._backlog.order, folder.camera
        images = FirstInLine(order, limit=most, camera_of=camera_of, behind=behind, bytes_of=sys.getsizeof)
        clips = FirstInLine(order, limit=MOST_CLIPS, camera_of=camera_of, bytes_of=sys.getsizeof)
        return Choice(folder, images, clips, whole)

    def take(self, choice: Choice) -> bool:
        """Take what was chosen, once the walk is over; tell whether only files of cameras behind are left."""
        folder, images, clips, whole = choice
        self.add(folder, clips.take(MOST_CLIPS))
        if clips.left_out:
            self._backlog.overflow.add_clips(folder)
        self.add(folder, images.take(CHUNK))
        if whole and (later := images.take(MOST_LATER)):
            self._later[folder] = deque(later)
        if images.left_out and not self.has_later(folder):
            self._backlog.overflow.call(folder)
        return images.left_behind and not images.left_out

    def has_later(self, folder: DropFolder) -> bool:
        """Whether some of this inbox come later."""
        return folder in self._later

    @property
    def any_later(self) -> bool:
        return bool(self._later)

    def bring(self, folder: DropFolder) -> bool:
        """Have the next of those that come later wait, once none does; tell whether there were any."""
        if self.wait_of(folder) or not (later := self._later.get(folder)):
            return False
        self.add(folder, [later.popleft() for _ in range(min(len(later), CHUNK))])
        if not later:
            del self._later[folder]
        return True

    def add(self, folder: DropFolder, found: Sequence[tuple[float, str]]) -> None:
        if found:
            self._waiting.setdefault(folder, deque()).extend(found)

    def bring_all(self) -> bool:
        """Do so for each inbox."""
        brought = [self.bring(folder) for folder in list(self._later)]
        return any(brought)

    def wait_of(self, folder: DropFolder) -> bool:
        """Whether some of this inbox wait."""
        return folder in self._waiting

    def hand_over(self) -> bool:
        """Have the backlog take what it has room for; tell whether any wait still."""
        moved = True
        while moved:
            moved = False
            for folder, waiting in list(self._waiting.items()):
                since, path = waiting[0]
                if self._backlog.offer(folder, path, since=since):
                    waiting.popleft()
                    moved = True
                if not waiting:
                    del self._waiting[folder]
        return bool(self._waiting)
