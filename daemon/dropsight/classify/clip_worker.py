"""The thread for clips: from its path to the recorder, frame by frame, while images overtake."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from dropsight.classify.work import Engine, UnsureAnswer
from dropsight.classify.worker import WorkerParts
from dropsight.config import Config
from dropsight.errors import ImageError, MachineError, MemoryShortError, ModelError
from dropsight.images.company import COMPANY
from dropsight.inference import clip_records, image_records
from dropsight.inference.clips import ClipAnswer, ClipSettings, classify_clip, seen_at
from dropsight.inference.planning import Plan
from dropsight.intake.candidate import Candidate
from dropsight.intake.clip_examiner import ClipExaminer, ExaminedClip
from dropsight.intake.examiner import Refused
from dropsight.intake.in_hand import CLIPS
from dropsight.intake.trying_alone import TRIALS
from dropsight.journal.recording import Finished
from dropsight.models.spec import Model
from dropsight.status.heartbeats import Heartbeats
from dropsight.video.decoder import ClipBounds, ClipDecoder, lacks_pyav

log = logging.getLogger(__name__)

NAME = "clips"
# As of the process that decodes: lower, and clips would stand still beside any other busy program.
NICENESS = 10
# Without a clip for so long, the process that decodes and the interpreter are given back.
REST_SECONDS = 30.0
# For so long a frame waits for images, all of a clip together for so long, looking this often.
PATIENCE_SECONDS, CLIP_PATIENCE_SECONDS, BUSY_SECONDS = 2.0, 300.0, 0.2


class ClipWorker:
    """`run` belongs on a thread of its own, of a low priority, with an interpreter of its own.

    One that waits for a disk, which may not answer, can be relieved: it goes on with the clip that it has in
    hand once it gets on, and takes no other. `number` counts those that have relieved each other.

    What is noted as in hand is the invoking alone: while the other process decodes, nothing of a clip can end
    this one, and a clip may take minutes, in which much else may.
    """

    def __init__(self, number: int, config: Config, parts: WorkerParts) -> None:
        assert config.video  # noqa: S101 - else there is no such thread
        self.number, self.name = number, f"{NAME}-{number}" if number else NAME
        self.heartbeats, self._heartbeats_apart = Heartbeats(), parts.heartbeats_apart
        self._settings = ClipSettings.of(config.video)
        self._chosen, self._recorder, self._mishaps = parts.chosen, parts.recorder, parts.mishaps
        self._onlooker, self._explanations = parts.onlooker, parts.explanations
        self._backlog, self._in_hand = parts.backlog, parts.in_hand
        self._slot = CLIPS - number
        self._examiner = ClipExaminer(
            self._slot, self.name, replace(parts.examining, heartbeats=self.heartbeats)
        )
        bounds = ClipBounds(
            max_pixels=config.limits.max_pixels, damaged_too=config.limits.damaged == "accept"
        )
        self._decoder = ClipDecoder(bounds, stopping=lambda: self._backlog.stopped, at_disk=self._at_disk)
        self._opened: tuple[Engine, Model] | None = None
        self._killed: Counter[str] = Counter()
        self._told, self._patience = False, 0.0
        self._began = 0
        """The mark in the company of what is large, as of the clip in hand."""
        self._candidate: Candidate | None = None
        self._is_at_disk = self._relieved = False
        self._lock = threading.Lock()

    def relieve(self, *, seconds: float) -> bool:
        """Where it has waited for a disk for so long, have it take no other clip. From any thread."""
        with self._lock:
            waits = self._is_at_disk and self.heartbeats.overdue(seconds)
            if self._relieved or not waits or not self._candidate:
                return False
            self._relieved = True
            self._backlog.clip_hangs(self._candidate)
            self._heartbeats_apart.beat(self.name, at=self._candidate.path)
            return True

    @property
    def is_busy(self) -> bool:
        return self._candidate is not None

    def run(self) -> None:
        # Interpreters' own threads are started by this one, and inherit it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            while not (self._backlog.stopped or self._relieved):
                candidate = self._backlog.take_clip(
                    seconds=REST_SECONDS if self._opened or self._decoder.pid else None
                )
                if candidate is None:
                    self._rest()
                    continue
                try:
                    self._work_on(candidate)
                except BaseException:
                    self._backlog.let_pass(candidate)
                    raise
        finally:
            self._rest()
            self._heartbeats_apart.rest(self.name)

    def _rest(self) -> None:
        self._opened = None
        self._decoder.close()

    def _work_on(self, candidate: Candidate) -> None:
        self._candidate = candidate
        engine, plan = self._chosen()
        found: ExaminedClip | Refused | None = None
        try:
            with self._at_disk():
                found = self._examiner.examine(candidate, plan)
            self._in_hand.clear(self._slot)
            if isinstance(found, ExaminedClip):
                with found.file:
                    self._end_if_late()
                    self._classify(engine, found)
            else:
                self._end_if_late()
                self._mishaps.settled(candidate)
                self._record(found)
        except Exception as error:  # noqa: BLE001 - one clip's, whatever it is
            self._judge(error, candidate, plan, found if isinstance(found, ExaminedClip) else None)
        finally:
            self._candidate = None
            self._in_hand.clear(self._slot)

    @contextmanager
    def _at_disk(self) -> Iterator[None]:
        """Wait for the disk of the clip in hand, and be relieved meanwhile."""
        self.heartbeats.beat(self.name, at=self._candidate.path if self._candidate else "")
        self._is_at_disk = True
        try:
            yield
        finally:
            with self._lock:
                self._is_at_disk = False
            self.heartbeats.rest(self.name)

    def _end_if_late(self) -> None:
        """Raise MachineError where a disk held it up until after the stop: nobody records any more."""
        if self._relieved and self._backlog.stopped:
            raise MachineError("clips wait: stopped")

    def _classify(self, engine: Engine, clip: ExaminedClip) -> None:
        candidate, drop, plan = clip.candidate, clip.drop, clip.plan
        self._tell_of_reader()
        self._patience = CLIP_PATIENCE_SECONDS
        try:  # the other process has deadlines of its own
            lend = partial(self._lend, engine, candidate.path)
            with COMPANY.joined() as self._began:
                answer: ClipAnswer | ImageError = classify_clip(
                    clip.file, self._decoder, plan, self._settings, lend
                )
        except ModelError as error:
            answer = ImageError("model_error", str(error))
        except ImageError as error:
            answer = error
        self._killed.pop(candidate.path, None)
        with self._at_disk():
            changed = clip.file.has_changed()
        self._end_if_late()
        if changed:  # its writer has gone on with it
            self._backlog.postpone(candidate, seconds=candidate.folder.settings.settle_seconds)
        elif isinstance(answer, ClipAnswer):
            self._mishaps.over(candidate)
            why = self._explanation(engine, clip, answer)
            record = clip_records.result(drop, answer, plan, at=time.time(), explanation=why)
            self._onlooker.saw_clip(record, answer)
            self._recorder.put(Finished(candidate, drop.stat, record))
        else:
            refused = self._examiner.refuse(candidate, drop, answer, plan, young=clip.young)
            self._mishaps.settled(candidate)
            self._record(refused)

    def _explanation(self, engine: Engine, clip: ExaminedClip, answer: ClipAnswer) -> str | None:
        """Return where that of the surest frame is going to lie; it is read now, while the clip is here."""
        best = answer.predictions[0]
        if not (self._explanations and self._explanations.wants(clip.candidate, best)):
            return None
        seconds = answer.clip.peak.time
        try:
            pixels = seen_at(clip.file, self._decoder, seconds, by=clip.plan, region=answer.region)
        except ImageError as error:
            log.warning("%s: no explanation: %s", clip.drop.image_path, error)
            return None
        unsure = UnsureAnswer(engine, clip.candidate, clip.drop, best.class_index, lambda: pixels)
        return self._explanations.promise(unsure)

    @contextmanager
    def _lend(self, engine: Engine, path: str) -> Iterator[Model]:
        """Lend the interpreter for a frame, once no image waits for one."""
        self._let_images_by()
        model = self._model_of(engine)
        self._in_hand.note(self._slot, path, "invoke")
        self.heartbeats.beat(self.name, at=path)
        try:
            yield model
        finally:
            self.heartbeats.rest(self.name)
            self._in_hand.clear(self._slot)

    def _let_images_by(self) -> None:
        began = time.monotonic()
        until = began + min(PATIENCE_SECONDS, self._patience)
        while self._backlog.depth() and time.monotonic() < until and not self._backlog.stopped:
            time.sleep(BUSY_SECONDS)
        self._patience -= time.monotonic() - began
        if self._backlog.stopped:
            raise MachineError("clips wait: stopped")

    def _model_of(self, engine: Engine) -> Model:
        if self._opened is None or self._opened[0] is not engine:
            self._opened = None  # not two at a time
            self._opened = engine, engine.models[0].replicate()
        return self._opened[1]

    def _judge(self, error: Exception, candidate: Candidate, plan: Plan, found: ExaminedClip | None) -> None:
        if isinstance(error, MachineError) and self._backlog.stopped:
            self._backlog.let_pass(candidate)
            return
        if isinstance(error, MemoryShortError) and found:
            if COMPANY.had_since(self._began):
                # The kernel ends the largest process, whoever it was that needed too much.
                error = MachineError(str(error))
            elif self._is_killed_too_often(found):
                return
        if failed := self._mishaps.judge(error, candidate, plan, found.drop if found else None):
            self._recorder.put(failed)

    def _is_killed_too_often(self, clip: ExaminedClip) -> bool:
        """Count that it was killed, though nothing else was large; record its failure at the last time."""
        path = clip.candidate.path
        self._killed[path] += 1
        if self._killed[path] < TRIALS:
            return False
        del self._killed[path]
        text = f"it needs more memory than there is: its decoder was killed {TRIALS} times"
        failure = image_records.failure(clip.drop, ImageError("unreadable", text), clip.plan)
        self._recorder.put(Finished(clip.candidate, clip.drop.stat, failure))
        return True

    def _record(self, refused: Refused | None) -> None:
        if refused:
            self._recorder.put(Finished(refused.candidate, refused.stat, refused.record))

    def _tell_of_reader(self) -> None:
        if not self._told and (text := lacks_pyav()):
            log.warning("%s", text)
        self._told = True
