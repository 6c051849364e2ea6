"""The threads and queues that carry images along the pipeline."""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from stat import S_ISDIR

import msgspec

from dropsight.config import Queue
from dropsight.errors import ImageError, ModelError
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, frame
from dropsight.images.header import Header
from dropsight.images.opening import ImageFile, open_image
from dropsight.inference import pipeline
from dropsight.inference.pipeline import Answer, Drop, Plan, Prepared
from dropsight.models.spec import Model
from dropsight.service.backlog import Backlog, Candidate
from dropsight.service.dropfolder import as_text
from dropsight.service.heartbeats import Heartbeats
from dropsight.service.inhand import InHand
from dropsight.service.readiness import Age, seconds_to_wait, seconds_young
from dropsight.service.recorder import Recorder
from dropsight.service.recording import Finished
from dropsight.service.scheduling import keep_the_core

HURRY_DEPTH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """What is in force until the next is: the plan, an interpreter a worker, why not the models before."""

    plan: Plan
    models: Sequence[Model]
    instead_of: Sequence[str]

    def picture(self, path: str) -> Pixels:
        """Return what the model sees of an image file; raises ImageError, FileNotFoundError."""
        spec = self.plan.spec
        with open_image(path) as file:
            data, header = pipeline.read(file, self.plan)
        size = (spec.height, spec.width)
        pixels = decode(data, header, at_least=size, how=self.plan.resize)
        return frame(pixels, height=spec.height, width=spec.width, how=self.plan.resize)


class Work(msgspec.Struct, frozen=True):
    """An image on its way from decoding to the interpreter of the engine that it was prepared for."""

    engine: Engine
    plan: Plan
    candidate: Candidate
    drop: Drop
    header: Header
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Questions:
    """What the workers ask the rest of the daemon.

    Is this file on record already; does a process survive this image; where is the explanation of this
    answer going to lie, if there is to be one; is a picture of this camera to be looked at, and what is to
    be thought of it; how many seconds ago was this time of a file's.
    """

    on_record: Callable[[Candidate, os.stat_result], bool]
    survives: Callable[[str], bool]
    explains: Callable[[Work, Answer], str | None] | None
    wants_look: Callable[[str], bool]
    saw: Callable[[str, Prepared], None]
    age_of: Age


class Invoked(msgspec.Struct, frozen=True):
    """An image that the model has seen."""

    work: Work
    scores: pipeline.Invoked
    explains: Callable[[Work, Answer], str | None] | None

    def finish(self) -> Finished:
        """See `Outcome.finish`."""
        work = self.work
        answer = pipeline.answer(self.scores, work.plan)
        why = self.explains(work, answer) if self.explains else None
        record = pipeline.result(
            work.drop, work.header, work.prepared, answer, work.plan, at=self.scores.at, explanation=why
        )
        return Finished(work.candidate, work.drop.stat, record)


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
    ) -> None:
        self._settings, self._backlog, self._recorder = queue_settings, backlog, recorder
        self._never_hurry = False
        self.heartbeats = Heartbeats()
        self.swap(engine)
        self._in_hand, self._ask = in_hand, questions
        self._tensors: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in engine.models:
            self._room.put(None)
        self._decoders = [
            threading.Thread(target=self._decode, args=(number,), name=_decoder(number))
            for number in range(decoders)
        ]
        self._interpreters = [
            threading.Thread(target=self._interpret, args=(number, decoders), name=_interpreter(number))
            for number in range(len(engine.models))
        ]

    def swap(self, engine: Engine) -> None:
        """Have the next image use this engine, which has as many models as the one before it."""
        self._engine, self._hurried = engine, engine.plan.in_a_hurry()

    @property
    def engine(self) -> Engine:
        return self._engine

    def start(self, *, never_hurry: bool) -> None:
        """Begin; `never_hurry` keeps test-time augmentation however much waits."""
        self._never_hurry = never_hurry
        for thread in (*self._interpreters, *self._decoders):
            thread.start()

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

    def _decode(self, slot: int) -> None:
        keep_the_core()
        name = _decoder(slot)
        while candidate := self._backlog.take():
            self.heartbeats.beat(name)
            self._examine(candidate, slot)
            self.heartbeats.rest(name)

    def _examine(self, candidate: Candidate, slot: int) -> None:
        try:
            file = open_image(candidate.path)
        except FileNotFoundError:
            self._backlog.drop(candidate)
        except ImageError as error:
            self._refuse_unopened(candidate, error)
        else:
            with file:
                self._examine_open(candidate, file, slot)

    def _examine_open(self, candidate: Candidate, file: ImageFile, slot: int) -> None:
        if wait := seconds_to_wait(candidate, file.fd, file.stat, self._ask.age_of):
            self._backlog.postpone(candidate, seconds=wait)
            return
        # Its writer may have written and gone since it was opened: the id and the filing go by what is read.
        file.look_again()
        if self._ask.on_record(candidate, file.stat):
            self._backlog.drop(candidate)
            return
        engine, plan = self._engine, self._plan()
        drop = _drop(candidate, file.stat, plan.device)
        age_seconds, max_age = time.monotonic() - candidate.since, self._settings.max_age
        if max_age is not None and age_seconds > max_age:
            record = pipeline.expired(drop, plan, age_seconds=age_seconds, max_age_seconds=max_age)
            self._recorder.put(Finished(candidate, file.stat, record))
            return
        try:
            self._try_alone(candidate, drop.id, slot)
            self._in_hand.note(slot, drop.id, "decode")
            data, header = pipeline.read(file, plan)
            prepared = pipeline.prepare(data, header, plan, look=self._ask.wants_look(drop.camera))
        except ImageError as error:
            # What was touched just now may be half of what is to come.
            if young := seconds_young(candidate, file.stat, self._ask.age_of):
                self._backlog.postpone(candidate, seconds=young)
            else:
                self._fail(candidate, drop, error)
                self._in_hand.acquit(drop.id)
            return
        finally:
            self._in_hand.clear(slot)
        self._ask.saw(drop.camera, prepared)
        self.heartbeats.rest(_decoder(slot))
        self._room.get()
        self._tensors.put(Work(engine, plan, candidate, drop, header, prepared))

    def _plan(self) -> Plan:
        hurry = not (self._settings.tta_when_behind or self._never_hurry)
        plan = self._engine.plan
        if hurry and len(plan.inference.tta) > 1 and self._backlog.depth() >= HURRY_DEPTH:
            return self._hurried
        return plan

    def _try_alone(self, candidate: Candidate, record_id: str, slot: int) -> None:
        """Raises ImageError for an image that killed the daemon, and now a process of its own as well."""
        stage = self._in_hand.suspects.get(record_id)
        if stage is None:
            return
        # It has a deadline of its own: to the watchdog, that restarts us, this is no hanging.
        self.heartbeats.excuse(_decoder(slot))
        survives = self._ask.survives(candidate.path)
        self.heartbeats.beat(_decoder(slot))
        if survives:
            self._in_hand.acquit(record_id)
        elif stage == "decode":
            raise ImageError("unreadable", "decoding it ended the process, twice")
        else:
            raise ImageError("model_error", "the interpreter ended the process on it, twice")

    def _refuse_unopened(self, candidate: Candidate, error: ImageError) -> None:
        try:
            stat = os.lstat(candidate.path)
        except OSError:
            self._backlog.drop(candidate)
            return
        if S_ISDIR(stat.st_mode):  # a folder took the file's name: what is in it has events of its own
            self._backlog.drop(candidate)
        elif error.code == "unreadable" and (young := seconds_young(candidate, stat, self._ask.age_of)):
            # Uploads whose permissions come last.
            self._backlog.postpone(candidate, seconds=young)
        else:
            self._fail(candidate, _drop(candidate, stat, self._engine.plan.device), error)

    def _interpret(self, number: int, decoders: int) -> None:
        keep_the_core()
        name = _interpreter(number)
        while work := self._tensors.get():
            self._room.put(None)
            self.heartbeats.beat(name)
            self._answer(work, number, decoders + number)
            self.heartbeats.rest(name)

    def _answer(self, work: Work, number: int, slot: int) -> None:
        self._in_hand.note(slot, work.drop.id, "invoke")
        try:
            scores = pipeline.invoke(work.engine.models[number], work.prepared)
        except ModelError as error:
            self._fail(work.candidate, work.drop, ImageError("model_error", str(error)))
        else:
            if not self._ask.explains:
                work.prepared.release()
            self._recorder.put(Invoked(work, scores, self._ask.explains))
        self._in_hand.clear(slot)

    def _fail(self, candidate: Candidate, drop: Drop, error: ImageError) -> None:
        self._recorder.put(Finished(candidate, drop.stat, pipeline.failure(drop, error, self._engine.plan)))


def _decoder(number: int) -> str:
    return f"decode-{number}"


def _interpreter(number: int) -> str:
    return f"interpret-{number}"


def _drop(candidate: Candidate, stat: os.stat_result, device: str) -> Drop:
    relative = os.fsencode(candidate.folder.relative(candidate.path))
    wait_ms = (time.monotonic() - candidate.ready_at) * 1e3
    camera = as_text(candidate.folder.camera(candidate.path))
    return Drop.of(relative, camera, stat, device=device, wait_ms=wait_ms)
