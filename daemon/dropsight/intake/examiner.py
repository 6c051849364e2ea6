"""From a path to an image that is whole, new and read; or to why not, or to when to look again."""

import logging
import math
import os
import time
from collections.abc import Callable
from functools import partial
from stat import S_ISDIR, S_ISLNK
from typing import Generic, Protocol, TypeVar

import msgspec

from dropsight import crashpoints
from dropsight.errors import ClosedError, ImageError
from dropsight.images.header import Header
from dropsight.images.opening import ImageFile
from dropsight.inference import image_records, pipeline
from dropsight.inference.image_records import UNTAGGED, Drop
from dropsight.inference.planning import Plan
from dropsight.intake import readiness
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate, digest_of, wants_digest
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.in_hand import InHand, Suspect
from dropsight.intake.links import inode
from dropsight.intake.tagging import tags_of
from dropsight.intake.trying_alone import TRIED_ALONE, Suspects, refusal
from dropsight.intake.used_names import UsedNames
from dropsight.names import as_text
from dropsight.records import Expired, Failure, Kind
from dropsight.status.heartbeats import Heartbeats
from dropsight.video.sniffing import HEAD_BYTES, is_clip

log = logging.getLogger(__name__)

# Between two looks at a file that we may not read.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.25, 5.0
# What a clip under an image's name is refused for.
MAYBE_CLIPS = {"not_an_image", "unsupported_format", "too_large"}


class OnRecord(Protocol):
    def holds(
        self, candidate: Candidate, stat: os.stat_result, *, gets_on: Callable[[], None] = lambda: None
    ) -> bool:
        """Whether this very file, which stays in its folder, is on record already.

        `gets_on` is called with each piece that has to be read of it to tell.
        """

    def knows_its_name(self, candidate: Candidate) -> bool:
        """Whether an image that stays in its folder, perhaps another, is on record by this path."""


class Examined(msgspec.Struct, frozen=True):
    """An image that is whole, new and read, on its way to being decoded.

    `read_at` is in monotonic seconds.
    """

    plan: Plan
    candidate: Candidate
    drop: Drop
    data: bytes
    header: Header
    read_at: float


class Refused(msgspec.Struct, frozen=True):
    """An image whose record is made already: it failed, or came too late."""

    candidate: Candidate
    stat: os.stat_result
    record: Failure | Expired


class ExaminerParts(msgspec.Struct, frozen=True):
    """What all examiners have in common: `max_age` is in seconds; it may be over `once` all is done."""

    backlog: Backlog
    in_hand: InHand
    suspects: Suspects
    refusals: Refusals
    ledger: OnRecord
    heartbeats: Heartbeats
    age_of: readiness.Age
    max_age: float | None
    once: bool
    clips: bool = False
    """Whether clips are taken."""
    used_names: UsedNames = msgspec.field(default_factory=UsedNames)


Taken = TypeVar("Taken")


class NotMineError(Exception):
    """It belongs in the other lane."""


class Examiner(Generic[Taken]):
    """For one thread, by its slot and name. What is not ready, or not ours, goes back to the backlog."""

    def __init__(self, number: int, name: str, parts: ExaminerParts) -> None:
        self._number, self._name = number, name
        self._backlog, self._in_hand, self._refusals = parts.backlog, parts.in_hand, parts.refusals
        self._suspects, self._ledger, self._heartbeats = parts.suspects, parts.ledger, parts.heartbeats
        self._age_of, self._max_age, self._once = parts.age_of, parts.max_age, parts.once
        self._used_names = parts.used_names

    def take(self, candidate: Candidate, file: ImageFile, drop: Drop, plan: Plan) -> Taken | None:
        """Take it out of the file, or put it off; raises ImageError, MachineError, NotMineError."""
        raise NotImplementedError

    def seconds_to_wait(self, candidate: Candidate, file: ImageFile) -> float:
        """Return 0 when the file is complete, else after how long to look again."""
        return readiness.seconds_to_wait(candidate, file.fd, file.stat, self._age_of)

    def examine(self, candidate: Candidate, plan: Plan) -> Taken | Refused | None:
        suspect = self._in_hand.suspect(candidate.path) if self._in_hand.suspects else None
        if suspect and self._is_put_off(candidate, suspect):
            return None
        if suspect and suspect.is_guilty:
            return self._refuse_unopened(candidate, refusal(suspect, suspect.ends), plan)
        self._in_hand.note(self._number, candidate.path, "examine")
        candidate.inbox = inode(candidate.folder.inbox.true)
        crashpoints.reach_path("in_examining", candidate.path)
        try:
            file = candidate.folder.open_image(candidate.path)
        except FileNotFoundError:
            self._in_hand.acquit(candidate.path)
            self._drop(candidate)
        except ClosedError:
            self._wait_for_a_right(candidate)
        except ImageError as error:
            return self._refuse_unopened(candidate, error, plan)
        else:
            with file:
                return self._examine_open(candidate, file, plan, suspect)
        return None

    def refuse(
        self, candidate: Candidate, drop: Drop, error: ImageError, plan: Plan, *, young: float
    ) -> Refused | None:
        """Return the record of an image that cannot be used; None where it may yet be gone on with."""
        if isinstance(error, ClosedError):  # a share may ask for a right at reading only
            self._wait_for_a_right(candidate)
            return None
        # What was touched just before it was read may be half of what is to come.
        wait = readiness.wait_for_next_part(candidate, drop.stat, self._age_of, error, once=self._once)
        if (young := max(young, wait)) > 0:
            self._backlog.postpone(candidate, seconds=young)
            return None
        return Refused(candidate, drop.stat, image_records.failure(drop, error, plan))

    def _examine_open(
        self, candidate: Candidate, file: ImageFile, plan: Plan, suspect: Suspect | None
    ) -> Taken | Refused | None:
        self._refusals.opened(candidate.path)
        if self._is_not_to_be_taken(candidate, file):
            return None
        drop = drop_of(candidate, file.stat, plan.device)
        if self._max_age is not None:
            age = time.monotonic() - candidate.came_at(file.stat, self._age_of)
            if age > self._max_age:
                record = image_records.expired(drop, plan, age_seconds=age, max_age_seconds=self._max_age)
                return Refused(candidate, file.stat, record)
        try:
            if suspect and suspect.stage in TRIED_ALONE:
                self._in_hand.note(self._number, candidate.path, "apart")
                self._try_alone(candidate, suspect)
            self._in_hand.note(self._number, candidate.path, "decode")
            return self.take(candidate, file, drop, plan)
        except NotMineError:
            self._backlog.other_lane(candidate)
            return None
        except ImageError as error:
            return self.refuse(candidate, drop, error, plan, young=self.seconds_young(candidate, file))

    def _is_not_to_be_taken(self, candidate: Candidate, file: ImageFile) -> bool:
        """Put off what is not whole, or waits for its one name or its sidecar; drop what is on record."""
        wait = self.seconds_to_wait(candidate, file) or readiness.seconds_to_next_part(candidate)
        if not wait:
            candidate.digest = None
            # Its writer may have written and gone since it was opened: id and filing go by what is read.
            file.look_again()
            if self._ledger.holds(candidate, file.stat, gets_on=partial(self.gets_on, candidate)):
                self._backlog.drop(candidate)
                return True
            is_named_again = partial(self._used_names.has, candidate, self._ledger.knows_its_name)
            one_name = readiness.seconds_to_one_name(candidate, file.stat, self._age_of, once=self._once)
            wait = one_name or readiness.seconds_to_sidecar(
                candidate, file.stat, self._age_of, once=self._once, is_named_again=is_named_again
            )
        if wait:
            self._backlog.postpone(candidate, seconds=wait)
        elif candidate.folder.settings.sidecar_wait_seconds is not None:
            self._used_names.note(candidate)
        return wait > 0

    def gets_on(self, candidate: Candidate) -> None:
        """It takes long, and is not hanging."""
        self._heartbeats.beat(self._name, at=candidate.path)

    def seconds_young(self, candidate: Candidate, file: ImageFile) -> float:
        """Return for how long a file that does not decode is still given the benefit of the doubt."""
        return readiness.seconds_young(candidate, file.stat, self._age_of)

    def seconds_still(self, candidate: Candidate, file: ImageFile) -> float:
        """Return for how long it has not changed."""
        return readiness.still_seconds(candidate, file.stat, self._age_of)

    def _is_put_off(self, candidate: Candidate, suspect: Suspect) -> bool:
        """What was in hand at two deaths waits until this life has lasted: they may have been others' doing.

        A single run is begun by somebody, or by a clock, and never lasts.
        """
        if suspect.is_untouchable:
            self._backlog.drop(candidate)
            return True
        if self._once or self._in_hand.may_try(suspect):
            return False
        seconds = self._in_hand.seconds_of_rest()
        text = "%s was in hand at %d ends of the daemon: it waits for %.0f s, until this start has lasted"
        log.warning(text, as_text(candidate.path), suspect.ends, seconds)
        self._backlog.postpone(candidate, seconds=seconds)
        return True

    def _try_alone(self, candidate: Candidate, suspect: Suspect) -> None:
        """Raises ImageError for an image that killed the daemon, and now a process of its own as well."""
        if candidate.is_clip:  # a process of its own decodes it anyway
            return
        # It has a deadline of its own: to the watchdog, that restarts us, this is no hanging.
        self._heartbeats.excuse(self._name)
        try:
            self._suspects.try_alone(candidate.path, suspect)
        finally:
            self._heartbeats.beat(self._name)

    def _refuse_unopened(self, candidate: Candidate, error: ImageError, plan: Plan) -> Refused | None:
        try:
            stat = candidate.folder.look(candidate.path)
        except OSError:
            self._backlog.drop(candidate)
            return None
        link = S_ISLNK(stat.st_mode) and candidate.folder.leads_back(candidate.path)
        # A link back into the inbox is passed by; of a folder in the file's place, what is in it has events.
        if link or S_ISDIR(stat.st_mode):
            self._backlog.drop(candidate)
            return None
        drop = drop_of(candidate, stat, plan.device)
        return Refused(candidate, stat, image_records.failure(drop, error, plan))

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
            still = readiness.still_seconds(candidate, stat, self._age_of)
        if still >= candidate.folder.settings.settle_seconds:
            self._refusals.closed(candidate.folder, candidate.path)
        self._backlog.postpone(candidate, seconds=min(max(still, SHORTEST_SECONDS), LONGEST_SECONDS))

    def _drop(self, candidate: Candidate) -> None:
        self._refusals.opened(candidate.path)
        self._backlog.drop(candidate)


class ImageExaminer(Examiner[Examined]):
    """Reads images into memory."""

    def __init__(self, number: int, name: str, parts: ExaminerParts) -> None:
        super().__init__(number, name, parts)
        self._clips = parts.clips

    def take(self, candidate: Candidate, file: ImageFile, drop: Drop, plan: Plan) -> Examined | None:
        """See Examiner."""
        try:
            data = file.read(plan.bounds)
            if file.has_changed():  # its writer has gone on with it
                self._backlog.postpone(candidate, seconds=candidate.folder.settings.settle_seconds)
                return None
            # For a single run, which waits for no uploads, each file has been there for long.
            age_seconds = math.inf if self._once else self._age_of(file.stat.st_mtime)
            may_wait = candidate.folder in self._backlog.have_waited
            if may_wait or wants_digest(candidate, file.stat, age_seconds=age_seconds):
                candidate.digest = digest_of(data)
            header = pipeline.examine(data, plan)
        except ImageError as error:
            if self._clips and error.code in MAYBE_CLIPS and is_clip(file.head(HEAD_BYTES)):
                raise NotMineError from error
            raise
        return Examined(plan.of(drop.camera), candidate, drop, data, header, time.monotonic())

    def was_young(self, image: Examined) -> float:
        """Return for how long it had the benefit of the doubt, if any, as of when it was read."""
        candidate, since = image.candidate, time.monotonic() - image.read_at
        still = readiness.still_seconds(candidate, image.drop.stat, self._age_of) - since
        return max(candidate.folder.settings.settle_seconds - still, 0.0)


def drop_of(candidate: Candidate, stat: os.stat_result, device: str) -> Drop:
    wait_ms = (time.monotonic() - candidate.ready_at) * 1e3
    camera = as_text(candidate.camera)
    kind: Kind = "clip" if candidate.is_clip else "image"
    below, pattern = candidate.relative, candidate.folder.settings.name_pattern
    relative = os.fsencode(below)
    untagged = pattern is None and candidate.sidecar is None
    tagged = UNTAGGED if untagged else tags_of(below, candidate.sidecar, pattern)
    return Drop.of(relative, camera, stat, device=device, wait_ms=wait_ms, kind=kind, tagged=tagged)
