"""The threads that carry images along the pipeline."""

import threading
from functools import partial

from dropsight.classify.work import DaemonQueries, Engine
from dropsight.classify.worker import Worker, WorkerParts
from dropsight.config import Queue
from dropsight.inference.pipeline import Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.in_hand import InHand
from dropsight.journal.mishaps import Mishaps
from dropsight.journal.recorder import Recorder
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision

HURRY_DEPTH = 32


class Workers:
    """A thread for each interpreter: it takes images from the backlog and brings records to the recorder."""

    def __init__(
        self,
        engine: Engine,
        *,
        queue_settings: Queue,
        backlog: Backlog,
        recorder: Recorder,
        in_hand: InHand,
        questions: DaemonQueries,
        supervision: Supervision,
    ) -> None:
        self._settings, self._backlog = queue_settings, backlog
        self._once = False
        self.heartbeats = Heartbeats()
        self.swap(engine)
        line = WorkerParts(
            in_force=self._in_force,
            once=lambda: self._once,
            max_age=queue_settings.max_age,
            backlog=backlog,
            recorder=recorder,
            in_hand=in_hand,
            mishaps=Mishaps(backlog, recorder.troubles),
            heartbeats=self.heartbeats,
            questions=questions,
        )
        self._bodies = [Worker(number, line) for number in range(len(engine.models))]
        self._threads: list[threading.Thread] = []
        self._supervision = supervision

    def swap(self, engine: Engine) -> None:
        """Have the next image to be examined use this engine, which has as many models as the one before."""
        self._engine = engine

    @property
    def engine(self) -> Engine:
        return self._engine

    def start(self, *, once: bool) -> None:
        """Begin; `once` all is done it is over: then test-time augmentation stays however much waits."""
        self._once = once
        begin = partial(self._supervision.start, daemon=False)
        self._threads = [begin(body.name, body.run) for body in self._bodies]

    def finish(self) -> None:
        """Wait for what is in hand, after the backlog was stopped."""
        for thread in self._threads:
            thread.join()

    def _in_force(self) -> tuple[Engine, Plan]:
        hurry = not (self._settings.tta_when_behind or self._once)
        engine = self._engine
        if hurry and len(engine.plan.inference.tta) > 1 and self._backlog.depth() >= HURRY_DEPTH:
            return engine, engine.hurried
        return engine, engine.plan
