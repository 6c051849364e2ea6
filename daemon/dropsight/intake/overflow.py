"""What the backlog had no place for: it waits in its folder until a walk finds it again."""

import threading

from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.postponed import Line


class Overflow:
    """Thread-safe. `due` is set when there is something to be walked for after there was nothing."""

    def __init__(self) -> None:
        self.due = threading.Event()
        self._lock = threading.Lock()
        self._folders: dict[DropFolder, bool] = {}
        """And whether anything there was not held open by its writer."""
        self._cameras: set[Line] = set()
        self._clips: set[DropFolder] = set()
        self._called: set[DropFolder] = set()

    def call(self, folder: DropFolder) -> None:
        """Have a walk look for what has no place in the queue, once what the last one found has some."""
        with self._lock:
            self._called.add(folder)
        self.due.set()

    def called(self) -> set[DropFolder]:
        """Name the folders that have been called since the last time."""
        with self._lock:
            called, self._called = self._called, set()
            return called

    def add(self, candidate: Candidate) -> None:
        with self._lock:
            first = not self._folders
            held = candidate.held_by_writer
            self._folders[candidate.folder] = self._folders.get(candidate.folder, False) or not held
            self._cameras.add(candidate.line)
        if first:
            self.due.set()

    def add_clips(self, folder: DropFolder) -> None:
        """There are more clips than there is room for: have them be looked for once there is."""
        with self._lock:
            self._clips.add(folder)

    def call_clips(self) -> None:
        """There is room for clips again."""
        with self._lock:
            if not self._clips:
                return
            self._folders |= dict.fromkeys(self._clips, True)
            self._clips.clear()
        self.due.set()

    def is_worth_a_walk(self) -> bool:
        """Whether anything is there that was not held open by its writer."""
        with self._lock:
            return any(self._folders.values())

    def take(self) -> dict[DropFolder, bool]:
        """Name the folders since the last time, and whether anything there was not held by its writer."""
        with self._lock:
            taken, self._folders = self._folders, {}
            return taken

    def take_cameras(self, folder: DropFolder) -> set[str]:
        """Name the cameras of this folder since the last time."""
        with self._lock:
            taken = {line for line in self._cameras if line[0] is folder}
            self._cameras -= taken
        return {camera for _, camera in taken}
