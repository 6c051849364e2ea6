"""A worker: it carries an image from its path to the recorder, or back to the backlog."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
    heartbeats_apart: Heartbeats
    onlooker: CameraListener
    explanations: Explains | None


class _Ahead(NamedTuple):
    """An image that was read by a worker which had been relieved by then."""

    engine: Engine
    image: Examined


class RelievedError(Exception):
    """Another worker has this one's interpreter."""


class Worker:
    """`run` belongs on a thread of its own, as do the number, the name and one of the engine's interpreters.

    While many images wait, some at a time are examined and then classified: the code and the data of the one
    are out of the caches after each turn of the other.

    One that waits for a disk, which may not answer, can be relieved: what it has read by the time that it
    gets on is classified by another.
    """

    def __init__(self, number: int, interpreter: int, parts: WorkerParts) -> None:
        self.name, self.number, self.interpreter = f"worker-{number}", number, interpreter
        self._chosen = parts.chosen
        self._examiner = ImageExaminer(number, self.name, parts.examining)
        self._backlog, self._recorder, self._in_hand = parts.backlog, parts.recorder, parts.in_hand
        self._heartbeats, self._mishaps = parts.heartbeats, parts.mishaps
        self._onlooker, self._explanations = parts.onlooker, parts.explanations
        self._heartbeats_apart = parts.heartbeats_apart
        self._examined: deque[_Ahead] = deque()
        self._to_come: deque[Candidate] = deque()
        self._waits: tuple[Candidate, float] | None = None
        """For the disk of this image, since when."""
        self._relieved = False
        self._lock = threading.Lock()

    def relieve(self, *, seconds: float) -> bool:
        """Where it has waited for a disk for so long, take all else that it has in hand away from it.

        Tell whether its interpreter is free now, for another. From any thread.
        """
        with self._lock:
            if self._relieved or not self._waits or time.monotonic() - self._waits[1] < seconds:
                return False
            self._relieved = True
            self._heartbeats.rest(self.name)
            self._heartbeats_apart.beat(self.name, at=self._waits[0].path)
        while self._examined:
            self._leave_to_others(self._examined.popleft())
        while self._to_come:
            self._backlog.postpone(self._to_come.popleft(), seconds=0.0)
        return True

    def run(self) -> None:
        keep_the_core()
        most = 1
        while not self._relieved and (group := self._backlog.take_group(most)):  # else after a bug
            began = time.monotonic()
            try:
                classified = self._work_through(group)
            except RelievedError:
                self._in_hand.clear(self.number)
                self._heartbeats.rest(self.name)
                self._heartbeats_apart.rest(self.name)
                return
            except BaseException:
                for candidate in group:  # whoever waits for one of them to be done would wait for ever
                    self._backlog.let_pass(candidate)
                raise
            if classified:  # the others cost next to nothing, and say nothing of what the next will cost
                seconds_each = max(time.monotonic() - began, 1e-6) / classified
                most = min(max(int(GROUP_SECONDS / seconds_each), 1), GROUP_IMAGES)

    def _work_through(self, group: Sequence[Candidate]) -> int:
        """Return how many got as far as being classified."""
        self._examined.clear()
        self._to_come = deque(group)
        held = classified = 0
        engine, plan = self._chosen()
        while self._to_come:
            candidate = self._to_come.popleft()
            self._heartbeats.beat(self.name, at=candidate.path)
            held += self._examine_into(candidate, engine, plan)
            if held >= GROUP_BYTES:
                classified += self._classify_all()
                held = 0
        classified += self._classify_all()
        for candidate in group:
            self._backlog.is_through(candidate)
        self._in_hand.clear(self.number)
        self._heartbeats.rest(self.name)
        return classified

    def _examine_into(self, candidate: Candidate, engine: Engine, plan: Plan) -> int:
        """Return how many bytes there are more to hold."""
        ahead, candidate.ahead = candidate.ahead, None
        if isinstance(ahead, _Ahead):
            self._examined.append(ahead)
            return len(ahead.image.data)
        found = self._examine(candidate, plan)
        if isinstance(found, Examined):
            examined = _Ahead(engine, found)
            if not self._relieved:
                self._examined.append(examined)
                return len(found.data)
            self._leave_to_others(examined)
        elif found:
            self._record(found)
        if self._relieved:
            raise RelievedError
        return 0

    def _examine(self, candidate: Candidate, plan: Plan) -> Examined | Refused | None:
        self._waits = candidate, time.monotonic()
        try:
            with self._backlog.slow.at_work(candidate.folder):
                found = self._examiner.examine(candidate, plan)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            self._judge(error, candidate, plan, None)
            return None
        finally:
            with self._lock:
                self._waits = None
        if not isinstance(found, Examined):
            self._mishaps.settled(candidate)
        return found

    def _leave_to_others(self, examined: _Ahead) -> None:
        candidate = examined.image.candidate
        candidate.ahead = examined
        self._backlog.postpone(candidate, seconds=0.0)

    def _classify_all(self) -> int:
        """Empty it; what was read of an image goes before the next is decoded. Return how many there were."""
        count = len(self._examined)
        while self._examined:
            engine, image = self._examined.popleft()
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
        self._in_hand.note(self.number, image.candidate.path, stage)
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
        self._in_hand.note(self.number, work.candidate.path, "invoke")
        try:
            scores = pipeline.invoke(work.engine.models[self.interpreter], work.prepared)
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
