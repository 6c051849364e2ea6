"""The threads and queues that carry images along the pipeline."""

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

from dropsight.errors import ImageError, ModelError
from dropsight.images.header import Header
from dropsight.images.opening import ImageFile, open_image
from dropsight.inference import pipeline
from dropsight.inference.pipeline import Drop, Plan, Prepared
from dropsight.models.spec import Model
from dropsight.service.backlog import Backlog, Candidate
from dropsight.service.inhand import InHand
from dropsight.service.readiness import seconds_to_wait, seconds_young
from dropsight.service.recorder import Recorder
from dropsight.service.recording import Finished

Work = tuple[Candidate, Drop, Header, Prepared]


class Workers:
    """Decode workers take candidates and fill a queue of tensors; interpreters empty it into the recorder.

    The queue holds a tensor an interpreter, so memory does not depend on how much waits.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        models: Sequence[Model],
        decoders: int,
        backlog: Backlog,
        recorder: Recorder,
        on_record: Callable[[Candidate, os.stat_result], bool],
        in_hand: InHand,
        survives: Callable[[str], bool],
    ) -> None:
        self._plan, self._models, self._backlog, self._recorder = plan, models, backlog, recorder
        self._on_record, self._in_hand, self._survives = on_record, in_hand, survives
        self._tensors: queue.Queue[Work | None] = queue.Queue(maxsize=len(models))
        self._decoders = [
            threading.Thread(target=self._decode, args=(number,), name=f"decode-{number}")
            for number in range(decoders)
        ]
        self._interpreters = [
            threading.Thread(target=self._interpret, args=(model, slot), name=f"interpret-{slot - decoders}")
            for slot, model in enumerate(models, start=decoders)
        ]

    def start(self) -> None:
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
        while candidate := self._backlog.take():
            self._examine(candidate, slot)

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
        if wait := seconds_to_wait(candidate, file.fd, file.stat):
            self._backlog.postpone(candidate, seconds=wait)
            return
        if self._on_record(candidate, file.stat):
            self._backlog.drop(candidate)
            return
        drop = _drop(candidate, file.stat)
        record_id = drop.id(self._plan.device)
        try:
            self._try_alone(candidate, record_id)
            self._in_hand.note(slot, record_id, "decode")
            data, header = pipeline.read(file, self._plan)
            prepared = pipeline.prepare(data, header, self._plan)
        except ImageError as error:
            # What was touched just now may be half of what is to come.
            if young := seconds_young(candidate, file.stat):
                self._backlog.postpone(candidate, seconds=young)
            else:
                self._fail(candidate, drop, error)
                self._in_hand.acquit(record_id)
            return
        finally:
            self._in_hand.clear(slot)
        self._tensors.put((candidate, drop, header, prepared))

    def _try_alone(self, candidate: Candidate, record_id: str) -> None:
        """Raises ImageError for an image that killed the daemon, and now a process of its own as well."""
        stage = self._in_hand.suspects.get(record_id)
        if stage is None:
            return
        if self._survives(candidate.path):
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
        else:
            self._fail(candidate, _drop(candidate, stat), error)

    def _interpret(self, model: Model, slot: int) -> None:
        while work := self._tensors.get():
            candidate, drop, header, prepared = work
            self._in_hand.note(slot, drop.id(self._plan.device), "invoke")
            try:
                answer = pipeline.predict(model, prepared, self._plan)
            except ModelError as error:
                self._fail(candidate, drop, ImageError("model_error", str(error)))
            else:
                record = pipeline.result(drop, header, prepared, answer, self._plan)
                self._recorder.put(Finished(candidate, drop.stat, record))
            self._in_hand.clear(slot)

    def _fail(self, candidate: Candidate, drop: Drop, error: ImageError) -> None:
        self._recorder.put(Finished(candidate, drop.stat, pipeline.failure(drop, error, self._plan)))


def _drop(candidate: Candidate, stat: os.stat_result) -> Drop:
    relative = os.fsencode(candidate.folder.relative(candidate.path))
    wait_ms = (time.monotonic() - candidate.ready_at) * 1e3
    return Drop(relative, _as_text(candidate.folder.camera(candidate.path)), stat, wait_ms)


def _as_text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
