"""The thread for clips: from its path to the recorder, frame by frame, while images overtake."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from dropsight.classify.work import CameraListener, Engine, Explains, UnsureAnswer
from dropsight.config import Config
from dropsight.errors import ImageError, MachineError, MemoryShortError, ModelError
from dropsight.images.company import COMPANY
from dropsight.inference import clip_records, image_records
from dropsight.inference.clips import ClipAnswer, ClipSettings, classify_clip, seen_at
from dropsight.inference.planning import Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.clip_examiner import ClipExaminer, ExaminedClip
from dropsight.intake.examiner import ExaminerParts, Refused
from dropsight.intake.in_hand import CLIPS
from dropsight.intake.trying_alone import TRIALS
from dropsight.journal.mishaps import Mishaps
from dropsight.journal.recorder import Recorder
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

    What is noted as in hand is the invoking alone: while the other process decodes, nothing of a clip can end
    this one, and a clip may take minutes, in which much else may.
    """

    def __init__(
        self,
        config: Config,
        *,
        chosen: Callable[[], tuple[Engine, Plan]],
        examining: ExaminerParts,
        recorder: Recorder,
        mishaps: Mishaps,
        onlooker: CameraListener,
        explanations: Explains | None,
    ) -> None:
        assert config.video  # noqa: S101 - else there is no such thread
        self.heartbeats = Heartbeats()
        self._settings = ClipSettings.of(config.video)
        self._chosen, self._recorder, self._mishaps = chosen, recorder, mishaps
        self._onlooker, self._explanations = onlooker, explanations
        self._backlog: Backlog = examining.backlog
        self._in_hand = examining.in_hand
        self._examiner = ClipExaminer(CLIPS, NAME, replace(examining, heartbeats=self.heartbeats))
        bounds = ClipBounds(
            max_pixels=config.limits.max_pixels, damaged_too=config.limits.damaged == "accept"
        )
        self._decoder = ClipDecoder(bounds, stopping=lambda: self._backlog.stopped)
        self._opened: tuple[Engine, Model] | None = None
        self._killed: Counter[str] = Counter()
        self._told, self._patience = False, 0.0
        self._began = 0
        """The mark in the company of what is large, as of the clip in hand."""

    def run(self) -> None:
        # Interpreters' own threads are started by this one, and inherit it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            while not self._backlog.stopped:
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

    def _rest(self) -> None:
        self._opened = None
        self._decoder.close()

    def _work_on(self, candidate: Candidate) -> None:
        self.heartbeats.beat(NAME, at=candidate.path)
        engine, plan = self._chosen()
        found: ExaminedClip | Refused | None = None
        try:
            found = self._examiner.examine(candidate, plan)
            self._in_hand.clear(CLIPS)
            if isinstance(found, ExaminedClip):
                with found.file:
                    self._classify(engine, found)
            else:
                self._mishaps.settled(candidate)
                self._record(found)
        except Exception as error:  # noqa: BLE001 - one clip's, whatever it is
            self._judge(error, candidate, plan, found if isinstance(found, ExaminedClip) else None)
        finally:
            self._in_hand.clear(CLIPS)
            self.heartbeats.rest(NAME)

    def _classify(self, engine: Engine, clip: ExaminedClip) -> None:
        candidate, drop, plan = clip.candidate, clip.drop, clip.plan
        self._tell_of_reader()
        self._patience = CLIP_PATIENCE_SECONDS
        self.heartbeats.rest(NAME)  # the other process has deadlines of its own
        try:
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
        clip.file.look_again()
        if _changed(drop.stat, clip.file.stat):  # its writer has gone on with it
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
        self._in_hand.note(CLIPS, path, "invoke")
        self.heartbeats.beat(NAME, at=path)
        try:
            yield model
        finally:
            self.heartbeats.rest(NAME)
            self._in_hand.clear(CLIPS)

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


def _changed(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)
