"""The threads and queues that carry images along the pipeline."""

import queue
import threading
from functools import partial

from dropsight.config import Queue
from dropsight.errors import ImageError, ModelError
from dropsight.inference import pipeline
from dropsight.inference.pipeline import Plan
from dropsight.service.backlog import Backlog
from dropsight.service.decoder import Decoder, Line
from dropsight.service.heartbeats import Heartbeats
from dropsight.service.inhand import InHand
from dropsight.service.mishaps import Mishaps
from dropsight.service.recorder import Recorder
from dropsight.service.recording import Finished
from dropsight.service.scheduling import keep_the_core
from dropsight.service.supervision import Supervision
from dropsight.service.work import Engine, Invoked, Questions, Work

HURRY_DEPTH = 32


class Workers:
    """Decode workers take candidates and fill a queue of tensors; interpreters empty it into the recorder.

    The queue holds a tensor an interpreter, so memory does not depend on how much waits.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        queue_settings: Queue,
        decoders: int,
        backlog: Backlog,
        recorder: Recorder,
        in_hand: InHand,
        questions: Questions,
        supervision: Supervision,
    ) -> None:
        self._settings, self._backlog, self._recorder = queue_settings, backlog, recorder
        self._once = False
        self.heartbeats = Heartbeats()
        self.swap(engine)
        self._in_hand, self._explains = in_hand, questions.explains
        self._mishaps = Mishaps(backlog, recorder.troubles)
        self._tensors: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in engine.models:
            self._room.put(None)
        line = Line(
            in_force=self._in_force,
            once=lambda: self._once,
            hand_over=self._hand_over,
            max_age=queue_settings.max_age,
            backlog=backlog,
            recorder=recorder,
            in_hand=in_hand,
            mishaps=self._mishaps,
            heartbeats=self.heartbeats,
            questions=questions,
        )
        self._bodies = [Decoder(slot, line) for slot in range(decoders)]
        self._decoders: list[threading.Thread] = []
        self._interpreters: list[threading.Thread] = []
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
        decoders = len(self._bodies)
        self._interpreters = [
            begin(_interpreter(number), partial(self._interpret, number, decoders))
            for number in range(len(self._engine.models))
        ]
        self._decoders = [begin(body.name, body.run) for body in self._bodies]

    def depth(self) -> int:
        return self._tensors.qsize()

    def finish(self) -> None:
        """Wait for what is in hand, after the backlog was stopped."""
        for decoder in self._decoders:
            decoder.join()
        for _ in self._interpreters:
            self._tensors.put(None)
        for interpreter in self._interpreters:
            interpreter.join()

    def _in_force(self) -> tuple[Engine, Plan]:
        hurry = not (self._settings.tta_when_behind or self._once)
        engine = self._engine
        if hurry and len(engine.plan.inference.tta) > 1 and self._backlog.depth() >= HURRY_DEPTH:
            return engine, engine.hurried
        return engine, engine.plan

    def _hand_over(self, work: Work) -> None:
        self._room.get()
        self._tensors.put(work)

    def _interpret(self, number: int, decoders: int) -> None:
        keep_the_core()
        name = _interpreter(number)
        while work := self._tensors.get():
            self._room.put(None)
            self.heartbeats.beat(name, at=work.candidate.path)
            self._answer(work, number, decoders + number)
            self.heartbeats.rest(name)

    def _answer(self, work: Work, number: int, slot: int) -> None:
        self._in_hand.note(slot, work.candidate.path, "invoke")
        try:
            scores = pipeline.invoke(work.engine.models[number], work.prepared)
        except ModelError as error:
            failure = pipeline.failure(work.drop, ImageError("model_error", str(error)), work.plan)
            self._recorder.put(Finished(work.candidate, work.drop.stat, failure))
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            if failed := self._mishaps.judge(error, work.candidate, work.plan, work.drop):
                self._recorder.put(failed)
        else:
            self._mishaps.over()
            if not self._explains:
                work.prepared.release()
            self._recorder.put(Invoked(work, scores, self._explains))
        self._in_hand.clear(slot)


def _interpreter(number: int) -> str:
    return f"interpret-{number}"
