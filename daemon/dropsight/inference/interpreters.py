"""One model for many threads: each has an interpreter to itself for as long as it needs one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from dropsight.models.spec import Model, ModelSpec

# FP16 weights are unpacked to twice their size, and packed once more for each interpreter.
_MEMORY_OF_FILE = 3
_SHARE_OF_MEMORY = 4


class Interpreters:
    """One of all threads, for who is alone; beside it, opened as needed, as many of one thread each.

    A lone image is answered soonest by all cores together; several images are by a core each.
    """

    def __init__(self, model: Model, threads: int) -> None:
        self.takes_batches = model.shared
        """Whether it is fastest with many images in one call, from any thread."""
        self._model = model
        self._lone = threads > 1 and not model.shared
        self._lone_free = Lock()
        self._places = BoundedSemaphore(min(threads, most_in_memory(model.spec)))
        self._idle: list[Model] = [] if self._lone else [model]

    @contextmanager
    def soonest(self) -> Iterator[Model]:
        """Lend the one of all threads; while somebody has it, one of one thread."""
        if not (self._lone and self._lone_free.acquire(blocking=False)):
            with self.one() as model:
                yield model
            return
        try:
            yield self._model
        finally:
            self._lone_free.release()

    @contextmanager
    def one(self) -> Iterator[Model]:
        """Lend one of one thread; wait for it where there can be no more."""
        with self._places:
            try:
                model = self._idle.pop()
            except IndexError:
                model = self._model.replicate(threads=1)
            try:
                yield model
            finally:
                self._idle.append(model)


def most_in_memory(spec: ModelSpec) -> int:
    """Return how many interpreters take no more than a quarter of the machine's memory; at least one."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    each = _MEMORY_OF_FILE * max(spec.path.stat().st_size, 1)
    return max(machine // _SHARE_OF_MEMORY // each, 1)
