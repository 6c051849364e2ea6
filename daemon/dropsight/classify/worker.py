"""A worker: it carries an image from its path to the recorder, or back to the backlog."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from stat import S_ISDIR, S_ISLNK

from dropsight import crashpoints
from dropsight.classify.scheduling import keep_the_core
from dropsight.classify.work import DaemonQueries, Engine, Examined, Scored, Work
from dropsight.errors import ClosedError, ImageError, ModelError
from dropsight.images.decoding import is_large
from dropsight.images.opening import ImageFile
from dropsight.inference import pipeline
from dropsight.inference.pipeline import Drop, Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.in_hand import InHand
from dropsight.intake.readiness import (
    seconds_to_next_part,
    seconds_to_wait,
    seconds_young,
    still_seconds,
    wait_for_next_part,
)
from dropsight.journal.kept_files import digest_of
from dropsight.journal.mishaps import Mishaps, drop_of, refusal
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import Finished
from dropsight.status.heartbeats import Heartbeats

GROUP_IMAGES = 8
# Nobody is to wait longer behind a group, nor is one to fill the memory.
GROUP_SECONDS = 0.25
GROUP_BYTES = 4 * 2**20
# Between two looks at a file that we may not read.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What all workers have in common: `max_age` is in seconds."""

    in_force: Callable[[], tuple[Engine, Plan]]
    once: bool
    max_age: float | None
    backlog: Backlog
    recorder: Recorder
    in_hand: InHand
    mishaps: Mishaps
    heartbeats: Heartbeats
    questions: DaemonQueries


class Worker:
    """`run` belongs on a thread of its own, as do the number, the name and one of the engine's interpreters.

    While many images wait, some at a time are examined and then classified: the code and the data of the one
    are out of the caches after each turn of the other.
    """

    def __init__(self, number: int, line: WorkerParts) -> None:
        self.name = f"worker-{number}"
        self._number, self._max_age = number, line.max_age
        self._in_force, self._once = line.in_force, line.once
        self._backlog, self._recorder, self._in_hand = line.backlog, line.recorder, line.in_hand
        self._refusals = line.recorder.refusals
        self._heartbeats, self._ask, self._mishaps = line.heartbeats, line.questions, line.mishaps

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
        examined: deque[Examined] = deque()
        held = classified = 0
        for candidate in group:
            self._heartbeats.beat(self.name, at=candidate.path)
            held += self._examine_into(examined, candidate)
            if held >= GROUP_BYTES:
                classified += self._classify_all(examined)
                held = 0
        classified += self._classify_all(examined)
        self._in_hand.clear(self._number)
        self._heartbeats.rest(self.name)
        return classified

    def _examine_into(self, examined: deque[Examined], candidate: Candidate) -> int:
        """Return how many bytes there are more to hold."""
        try:
            found = self._examine(candidate)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            self._judge(error, candidate, self._in_force()[1], None)
            return 0
        if found is None:
            return 0
        examined.append(found)
        return len(found.data)

    def _examine(self, candidate: Candidate) -> Examined | None:
        suspect = self._in_hand.suspect(candidate.path)
        if suspect and suspect.is_untouchable and not self._in_hand.has_another_try(suspect):
            self._backlog.drop(candidate)
            return None
        if suspect and suspect.is_guilty:
            self._refuse_unopened(candidate, refusal(suspect))
            return None
        self._in_hand.note(self._number, candidate.path, "examine")
        crashpoints.reach_path("in_examining", candidate.path)
        try:
            file = candidate.folder.open_image(candidate.path)
        except FileNotFoundError:
            self._in_hand.acquit(candidate.path)
            self._drop(candidate)
        except ClosedError:
            self._wait_for_a_right(candidate)
        except ImageError as error:
            self._refuse_unopened(candidate, error)
        else:
            with file:
                return self._examine_open(candidate, file)
        return None

    def _examine_open(self, candidate: Candidate, file: ImageFile) -> Examined | None:
        self._refusals.opened(candidate.path)
        wait = seconds_to_wait(candidate, file.fd, file.stat, self._ask.age_of)
        if wait := wait or seconds_to_next_part(candidate):
            self._backlog.postpone(candidate, seconds=wait)
            return None
        candidate.digest = None
        # Its writer may have written and gone since it was opened: the id and the filing go by what is read.
        file.look_again()
        if self._ask.on_record(candidate, file.stat):
            self._backlog.drop(candidate)
            return None
        engine, plan = self._in_force()
        drop = drop_of(candidate, file.stat, plan.device)
        age_seconds = time.monotonic() - candidate.since
        if self._max_age is not None and age_seconds > self._max_age:
            record = pipeline.expired(drop, plan, age_seconds=age_seconds, max_age_seconds=self._max_age)
            self._recorder.put(Finished(candidate, file.stat, record))
            return None
        try:
            self._try_alone(candidate)
            self._in_hand.note(self._number, candidate.path, "decode")
            data = file.read(plan.bounds)
            if candidate.folder.settings.after == "keep":
                candidate.digest = digest_of(data)
            header = pipeline.examine(data, plan)
        except ImageError as error:
            self._refuse(candidate, drop, error, plan, young=self._young(candidate, file.stat))
            return None
        return Examined(engine, plan, candidate, drop, data, header, self._young(candidate, file.stat))

    def _classify_all(self, examined: deque[Examined]) -> int:
        """Empty it; what was read of an image goes before the next is decoded. Return how many there were."""
        count = len(examined)
        while examined:
            image = examined.popleft()
            if is_large(image.header) and not self._backlog.may_decode_large(image.candidate):
                continue
            self._heartbeats.beat(self.name, at=image.candidate.path)
            try:
                work = self._prepare(image)
            except Exception as error:  # noqa: BLE001 - one image's, whatever it is
                self._judge(error, image.candidate, image.plan, image.drop)
                continue
            finally:
                self._backlog.decoded(image.candidate)
            if work:
                self._invoke(work)
        return count

    def _prepare(self, image: Examined) -> Work | None:
        drop = image.drop
        self._in_hand.note(self._number, image.candidate.path, "decode")
        try:
            look = self._ask.wants_look(drop.camera)
            prepared = pipeline.prepare(image.data, image.header, image.plan, look=look)
        except ImageError as error:
            self._refuse(image.candidate, drop, error, image.plan, young=image.young)
            return None
        self._ask.saw(drop.camera, prepared)
        return Work(image.engine, image.plan, image.candidate, drop, image.header, prepared)

    def _invoke(self, work: Work) -> None:
        self._in_hand.note(self._number, work.candidate.path, "invoke")
        try:
            scores = pipeline.invoke(work.engine.models[self._number], work.prepared)
        except ModelError as error:
            self._fail(work.candidate, work.drop, ImageError("model_error", str(error)), work.plan)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            self._judge(error, work.candidate, work.plan, work.drop)
        else:
            self._mishaps.over()
            if not self._ask.explains:
                work.prepared.release()
            self._recorder.put(Scored(work, scores, self._ask.explains))
        self._in_hand.clear(self._number)

    def _judge(self, error: Exception, candidate: Candidate, plan: Plan, drop: Drop | None) -> None:
        if failed := self._mishaps.judge(error, candidate, plan, drop):
            self._recorder.put(failed)

    def _try_alone(self, candidate: Candidate) -> None:
        """Raises ImageError for an image that killed the daemon, and now a process of its own as well."""
        suspect = self._in_hand.suspect(candidate.path)
        if suspect is None or suspect.stage not in {"decode", "invoke"}:
            return
        # It has a deadline of its own: to the watchdog, that restarts us, this is no hanging.
        self._heartbeats.excuse(self.name)
        try:
            self._mishaps.try_alone(candidate.path, suspect, self._ask.survives)
        finally:
            self._heartbeats.beat(self.name)

    def _young(self, candidate: Candidate, stat: os.stat_result) -> float:
        return seconds_young(candidate, stat, self._ask.age_of)

    def _refuse(
        self, candidate: Candidate, drop: Drop, error: ImageError, plan: Plan, *, young: float
    ) -> None:
        # What was touched just before it was read may be half of what is to come.
        wait = wait_for_next_part(candidate, drop.stat, self._ask.age_of, error, once=self._once)
        if (young := max(young, wait)) > 0:
            self._backlog.postpone(candidate, seconds=young)
        else:
            self._fail(candidate, drop, error, plan)

    def _refuse_unopened(self, candidate: Candidate, error: ImageError) -> None:
        try:
            stat = candidate.folder.look(candidate.path)
        except OSError:
            self._backlog.drop(candidate)
            return
        link = S_ISLNK(stat.st_mode) and candidate.folder.leads_back(candidate.path)
        # A link back into the inbox is passed by; of a folder in the file's place, what is in it has events.
        if link or S_ISDIR(stat.st_mode):
            self._backlog.drop(candidate)
        else:
            _, plan = self._in_force()
            self._fail(candidate, drop_of(candidate, stat, plan.device), error, plan)

    def _wait_for_a_right(self, candidate: Candidate) -> None:
        """Have a file wait that we may not read; once it is no longer young, this is told."""
        try:
            stat = candidate.folder.look(candidate.path)
        except FileNotFoundError:
            self._drop(candidate)
            return
        except OSError:  # of a closed folder
            still = LONGEST_SECONDS
        else:
            still = still_seconds(candidate, stat, self._ask.age_of)
        if still >= candidate.folder.settings.settle_seconds:
            self._refusals.closed(candidate.folder, candidate.path)
        self._backlog.postpone(candidate, seconds=min(max(still, SHORTEST_SECONDS), LONGEST_SECONDS))

    def _drop(self, candidate: Candidate) -> None:
        self._refusals.opened(candidate.path)
        self._backlog.drop(candidate)

    def _fail(self, candidate: Candidate, drop: Drop, error: ImageError, plan: Plan) -> None:
        self._recorder.put(Finished(candidate, drop.stat, pipeline.failure(drop, error, plan)))
