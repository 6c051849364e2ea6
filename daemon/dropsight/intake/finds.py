"""What walks have found, and the backlog has no room for yet."""

from collections import deque
from collections.abc import Sequence

from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder


class Finds:
    """Inboxes take turns: none waits for room for all that lies in another. For the thread that walks."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._waiting: dict[DropFolder, deque[tuple[float, str]]] = {}

    def add(self, folder: DropFolder, found: Sequence[tuple[float, str]]) -> None:
        if found:
            self._waiting.setdefault(folder, deque()).extend(found)

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
