"""A worker: it carries an image from its path to the recorder, or back to the backlog."""

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from dropsight.classify.scheduling import keep_the_core
from dropsight.classify.work import CameraListener, Engine, Explains, Scored, Work
from dropsight.errors import ImageError, ModelError
from dropsight.images.apart import KINDS
from dropsight.images.decoders import coming_again
from dropsight.inference import image_records, pipeline
from dropsight.inference.image_records import Drop
from dropsight.inference.planning import Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.examiner import Examined, ExaminerParts, ImageExaminer, Refused
from dropsight.intake.in_hand import InHand, Stage
from dropsight.journal.mishaps import Mishaps
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import Finished
from dropsight.status.heartbeats import Heartbeats

GROUP_IMAGES = 8
# Nobody is to wait longer behind a group, nor is one to fill the memory.
GROUP_SECONDS = 0.25
GROUP_BYTES = 4 * 2**20


class WorkerParts(msgspec.Struct, frozen=True):
    """What all workers have in common; `chosen` is by what the next images are to be classified."""

    chosen: Callable[[], tuple[Engine, Plan]]
    examining: ExaminerParts
    backlog: Backlog
    recorder: Recorder
    in_hand: InHand
    mishaps: Mishaps
    heartbeats: Heartbeats
    onlooker: CameraListener
    explanations: Explains | None


class Worker:
    """`run` belongs on a thread of its own, as do the number, the name and one of the engine's interpreters.

    While many images wait, some at a time are examined and then classified: the code and the data of the one
    are out of the caches after each turn of the other.
    """

    def __init__(self, number: int, parts: WorkerParts) -> None:
        self.name = f"worker-{number}"
        self._number, self._chosen = number, parts.chosen
        self._examiner = ImageExaminer(number, self.name, parts.examining)
        self._backlog, self._recorder, self._in_hand = parts.backlog, parts.recorder, parts.in_hand
        self._heartbeats, self._mishaps = parts.heartbeats, parts.mishaps
        self._onlooker, self._explanations = parts.onlooker, parts.explanations

    def run(self) -> None:
        keep_the_core()
        most = 1
        while group := self._backlog.take_group(most):
            began = time.monotonic()
            try:
                classified = self._work_through(group)
            except BaseException:
                for candidate in group:  # whoever waits for one of them to be done would wait for ever
                    self._backlog.let_pass(candidate)
                raise
            if classified:  # the others cost next to nothing, and say nothing of what the next will cost
                seconds_each = max(time.monotonic() - began, 1e-6) / classified
                most = min(max(int(GROUP_SECONDS / seconds_each), 1), GROUP_IMAGES)

    def _work_through(self, group: Sequence[Candidate]) -> int:
        """Return how many got as far as being classified."""
        examined: deque[tuple[Engine, Examined]] = deque()
        held = classified = 0
        engine, plan = self._chosen()
        for candidate in group:
            self._heartbeats.beat(self.name, at=candidate.path)
            held += self._examine_into(examined, candidate, engine, plan)
            if held >= GROUP_BYTES:
                classified += self._classify_all(examined)
                held = 0
        classified += self._classify_all(examined)
        for candidate in group:
            self._backlog.is_through(candidate)
        self._in_hand.clear(self._number)
        self._heartbeats.rest(self.name)
        return classified

    def _examine_into(
        self, examined: deque[tuple[Engine, Examined]], candidate: Candidate, engine: Engine, plan: Plan
    ) -> int:
        """Return how many bytes there are more to hold."""
        try:
            with self._backlog.slow.at_work(candidate.folder):
                found = self._examiner.examine(candidate, plan)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            self._judge(error, candidate, plan, None)
            return 0
        if not isinstance(found, Examined):
            self._mishaps.settled(candidate)
            self._record(found)
            return 0
        examined.append((engine, found))
        return len(found.data)

    def _classify_all(self, examined: deque[tuple[Engine, Examined]]) -> int:
        """Empty it; what was read of an image goes before the next is decoded. Return how many there were."""
        count = len(examined)
        while examined:
            engine, image = examined.popleft()
            large = image.plan.holds_up_others(image.header)
            if large and not self._backlog.may_decode_large(image.candidate):
                continue
            self._heartbeats.beat(self.name, at=image.candidate.path)
            try:
                work = self._prepare(engine, image)
            except Exception as error:  # noqa: BLE001 - one image's, whatever it is
                self._judge(error, image.candidate, image.plan, image.drop)
                continue
            finally:
                if large:
                    self._backlog.decoded(image.candidate)
            if work:
                self._invoke(work)
        return count

    def _prepare(self, engine: Engine, image: Examined) -> Work | None:
        drop = image.drop
        stage: Stage = "apart" if image.header.format in KINDS else "decode"
        self._in_hand.note(self._number, image.candidate.path, stage)
        try:
            look = image.plan.looks and self._onlooker.wants_look(drop.camera)
            with coming_again(image.candidate.folder):
                prepared = pipeline.prepare(image.data, image.header, image.plan, look=look)
        except ImageError as error:
            young = self._examiner.was_young(image)
            refused = self._examiner.refuse(image.candidate, drop, error, image.plan, young=young)
            self._mishaps.settled(image.candidate)
            self._record(refused)
            return None
        if prepared.is_shown:
            self._onlooker.saw(drop.camera, prepared)
        return Work(engine, image.plan, image.candidate, drop, image.header, prepared)

    def _invoke(self, work: Work) -> None:
        self._in_hand.note(self._number, work.candidate.path, "invoke")
        try:
            scores = pipeline.invoke(work.engine.models[self._number], work.prepared)
        except ModelError as error:
            failure = image_records.failure(work.drop, ImageError("model_error", str(error)), work.plan)
            self._recorder.put(Finished(work.candidate, work.drop.stat, failure))
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            self._judge(error, work.candidate, work.plan, work.drop)
        else:
            self._mishaps.over(work.candidate)
            if not self._explanations:
                work.prepared.release()
            self._recorder.put(Scored(work, scores, self._explanations))

    def _judge(self, error: Exception, candidate: Candidate, plan: Plan, drop: Drop | None) -> None:
        if failed := self._mishaps.judge(error, candidate, plan, drop):
            self._mishaps.settled(candidate)
            self._recorder.put(failed)

    def _record(self, refused: Refused | None) -> None:
        if refused:
            self._recorder.put(Finished(refused.candidate, refused.stat, refused.record))
