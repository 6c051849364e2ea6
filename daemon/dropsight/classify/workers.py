"""The threads that carry images along the pipeline."""

import threading
from functools import partial

from dropsight.classify.clip_worker import NAME, ClipWorker
from dropsight.classify.work import Engine, InForce, WorkerServices
from dropsight.classify.worker import Worker, WorkerParts
from dropsight.inference.planning import Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.examiner import ExaminerParts
from dropsight.intake.in_hand import InHand
from dropsight.intake.trying_alone import Suspects
from dropsight.journal.mishaps import Mishaps
from dropsight.journal.recorder import Recorder
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision

HURRY_DEPTH = 32


class Workers:
    """A thread for each interpreter: it takes images from the backlog and brings records to the recorder.

    Where it is over `once` all is done, test-time augmentation stays however much waits.
    """

    def __init__(
        self,
        in_force: InForce,
        *,
        once: bool,
        backlog: Backlog,
        recorder: Recorder,
        in_hand: InHand,
        services: WorkerServices,
        supervision: Supervision,
    ) -> None:
        self._in_force, self._backlog, self._once = in_force, backlog, once
        backlog.share_among(len(in_force.engine.models))
        self.heartbeats = Heartbeats()
        mishaps = Mishaps(backlog, recorder.troubles)
        examining = _examining(
            in_force,
            services,
            recorder,
            backlog=backlog,
            in_hand=in_hand,
            once=once,
            heartbeats=self.heartbeats,
        )
        parts = WorkerParts(
            chosen=self._chosen,
            examining=examining,
            backlog=backlog,
            recorder=recorder,
            in_hand=in_hand,
            mishaps=mishaps,
            heartbeats=self.heartbeats,
            onlooker=services.onlooker,
            explanations=services.explanations,
        )
        self._bodies = [Worker(number, parts) for number in range(len(in_force.engine.models))]
        self._clips = _clip_worker(in_force, parts) if examining.clips else None
        self._threads: list[threading.Thread] = []
        self._supervision = supervision

    def start(self) -> None:
        begin = partial(self._supervision.start, daemon=False)
        self._threads = [begin(body.name, body.run) for body in self._bodies]
        if self._clips:
            self._threads.append(begin(NAME, self._clips.run))

    def overdue(self, seconds: float) -> list[str]:
        """Name who has been at one piece of work for longer than this."""
        clips = self._clips.heartbeats.overdue(seconds) if self._clips else []
        return [*self.heartbeats.overdue(seconds), *clips]

    def finish(self) -> None:
        """Wait for what is in hand, after the backlog was stopped."""
        for thread in self._threads:
            thread.join()

    def _chosen(self) -> tuple[Engine, Plan]:
        hurry = not (self._in_force.config.queue.tta_when_behind or self._once)
        engine = self._in_force.engine
        if hurry and len(engine.plan.inference.tta) > 1 and self._backlog.depth() >= HURRY_DEPTH:
            return engine, engine.hurried
        return engine, engine.plan


def _examining(
    in_force: InForce,
    services: WorkerServices,
    recorder: Recorder,
    *,
    backlog: Backlog,
    in_hand: InHand,
    once: bool,
    heartbeats: Heartbeats,
) -> ExaminerParts:
    """What all workers have in common when they look whether an image is one."""
    return ExaminerParts(
        backlog=backlog,
        in_hand=in_hand,
        suspects=Suspects(services.trial),
        refusals=recorder.refusals,
        ledger=services.ledger,
        heartbeats=heartbeats,
        age_of=services.age_of,
        max_age=in_force.config.queue.max_age,
        once=once,
        clips=in_force.config.video is not None,
    )


def _clip_worker(in_force: InForce, parts: WorkerParts) -> ClipWorker:
    return ClipWorker(
        in_force.config,
        chosen=parts.chosen,
        examining=parts.examining,
        recorder=parts.recorder,
        mishaps=parts.mishaps,
        onlooker=parts.onlooker,
        explanations=parts.explanations,
    )
