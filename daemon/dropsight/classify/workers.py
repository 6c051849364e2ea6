"""The threads that carry images along the pipeline."""

import itertools
import threading
from collections.abc import Collection

from dropsight.classify.clip_worker import ClipWorker
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
# A worker that waits for a disk for longer is relieved: others have its interpreter.
RELIEF_SECONDS = 5.0
_LOOK_SECONDS = 1.0


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
        self.heartbeats, self.heartbeats_apart = Heartbeats(), Heartbeats()
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
        self._parts = parts = WorkerParts(
            chosen=self._chosen,
            examining=examining,
            backlog=backlog,
            recorder=recorder,
            in_hand=in_hand,
            mishaps=mishaps,
            heartbeats=self.heartbeats,
            heartbeats_apart=self.heartbeats_apart,
            onlooker=services.onlooker,
            explanations=services.explanations,
        )
        count = len(in_force.engine.models)
        self._bodies = [Worker(number, number, parts) for number in range(count)]
        self._clips = ClipWorker(0, in_force.config, parts) if examining.clips else None
        self._threads: dict[Worker, threading.Thread] = {}
        self._clip_threads: dict[ClipWorker, threading.Thread] = {}
        self._config = in_force.config
        self._supervision = supervision

    def start(self) -> None:
        begin = self._supervision.start
        self._threads = {body: begin(body.name, body.run) for body in self._bodies}
        if self._clips:
            self._clip_threads = {self._clips: begin(self._clips.name, self._clips.run)}

    def relieve(self) -> None:
        """Have others go on for those that wait for a disk; raises MachineError without room for a thread."""
        self._threads = {
            body: thread
            for body, thread in self._threads.items()
            if thread.is_alive() or body in self._bodies
        }
        for place, body in enumerate(self._bodies):
            if body.relieve(seconds=RELIEF_SECONDS):
                taken = {each.number for each in self._threads}
                self._bodies[place] = Worker(_free(taken), body.interpreter, self._parts)
        for body in self._bodies:
            if body not in self._threads:
                self._threads[body] = self._supervision.start(body.name, body.run, patience_seconds=0.0)
        self._relieve_clips()

    def _relieve_clips(self) -> None:
        if not self._clips:
            return
        alive = {body: thread for body, thread in self._clip_threads.items() if thread.is_alive()}
        if self._clips.relieve(seconds=RELIEF_SECONDS):
            number = _free({each.number for each in alive})
            self._clips = ClipWorker(number, self._config, self._parts)
        if self._clips not in self._clip_threads:
            begin = self._supervision.start
            alive[self._clips] = begin(self._clips.name, self._clips.run, patience_seconds=0.0)
        self._clip_threads = alive

    def overdue(self, seconds: float) -> list[str]:
        """Name who has been at one piece of work for longer than this."""
        clips = self._clips.heartbeats.overdue(seconds) if self._clips else []
        return [*self.heartbeats.overdue(seconds), *clips]

    @property
    def at_work(self) -> bool:
        """Whether anybody works who does not merely wait for a disk."""
        return self.heartbeats.any() or (self._clips is not None and self._clips.is_busy)

    def finish(self) -> None:
        """Wait for what is in hand, after the backlog was stopped, but for no disk that does not answer."""
        for body in self._bodies:
            thread = self._threads.get(body)
            while thread and thread.is_alive() and not body.relieve(seconds=RELIEF_SECONDS):
                thread.join(_LOOK_SECONDS)
        thread = self._clip_threads.get(self._clips) if self._clips else None
        while self._clips and thread and thread.is_alive():
            if self._clips.heartbeats.overdue(2 * RELIEF_SECONDS):
                break
            thread.join(_LOOK_SECONDS)

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


def _free(taken: Collection[int]) -> int:
    return next(number for number in itertools.count() if number not in taken)
