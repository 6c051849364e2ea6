"""What workers carry, what they work with, and what they ask the rest of the daemon."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from dropsight import crashpoints
from dropsight.config import Config
from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.images.header import Header
from dropsight.images.opening import ImageFile
from dropsight.inference import image_records, pipeline
from dropsight.inference.clips import ClipAnswer
from dropsight.inference.image_records import Drop
from dropsight.inference.pipeline import Prepared
from dropsight.inference.planning import Plan
from dropsight.intake.candidate import Candidate
from dropsight.intake.examiner import OnRecord
from dropsight.intake.readiness import Age
from dropsight.intake.trying_alone import Trial
from dropsight.journal.recording import Finished
from dropsight.models.spec import Acceleration, Model
from dropsight.records import Prediction, Result


class Engine(msgspec.Struct, frozen=True, eq=False):
    """What is in force until the next is, and goes with an image from its examination to its record.

    The plan, the plan while many wait, one interpreter per worker, why not the models before, the device
    that computes it, or was to.
    """

    plan: Plan
    hurried: Plan
    models: Sequence[Model]
    instead_of: Sequence[str]
    acceleration: Acceleration | None = None

    def is_like(self, other: "Engine") -> bool:
        """Whether both say the same of every picture, whatever computes them."""
        return self.plan.is_like(other.plan)

    def seen(self, file: ImageFile, record: Result) -> Sequence[Pixels]:
        """Return what the model sees of a record's image: one picture, or several squares; or ImageError."""
        plan = self.plan.of(record.camera)
        pixels = pipeline.pixels_of(*pipeline.read(file, plan), plan).pixels
        return pipeline.parts_of(pixels, plan)[plan.place_of(record.region)]


class InForce:
    """The config, and the engine for the next image to be examined. Thread-safe; a reload swaps both."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._now = (config, engine)

    @property
    def config(self) -> Config:
        return self._now[0]

    @property
    def engine(self) -> Engine:
        return self._now[1]

    def swap(self, config: Config, engine: Engine) -> None:
        """Go on with another engine, which has as many models as the one before."""
        self._now = (config, engine)


class Work(msgspec.Struct, frozen=True):
    """An image that was prepared for an interpreter of this engine."""

    engine: Engine
    plan: Plan
    candidate: Candidate
    drop: Drop
    header: Header
    prepared: Prepared

    def pixels(self, region: str | msgspec.UnsetType) -> Sequence[Pixels]:
        """Return what the model saw of the picture, or of a region: one picture, or several squares."""
        views, squares = list(self.plan.views), self.prepared.squares
        upright = views.index("original") if "original" in views else 0
        place = self.plan.place_of(region)
        first = sum(squares[:place])
        return [
            self.plan.preparation.pixels_of(self.prepared.batch[number * len(views) + upright])
            for number in range(first, first + squares[place])
        ]


class CameraListener(Protocol):
    """Watches what cameras show."""

    def wants_look(self, camera: str) -> bool:
        """Whether a picture of this camera is to be measured."""

    def saw(self, camera: str, prepared: Prepared) -> None:
        """Take note of a picture that a worker has decoded."""

    def saw_clip(self, record: Result, answer: ClipAnswer) -> None:
        """Take note of a clip that was classified."""


class UnsureAnswer(msgspec.Struct, frozen=True):
    """An answer to be explained: of which file, which class, and what the model saw, asked for later.

    Of several squares it is the one that shows this class most surely.
    """

    engine: Engine
    candidate: Candidate
    drop: Drop
    class_index: int
    pixels: Callable[[], Sequence[Pixels]]


class Explains(Protocol):
    def wants(self, candidate: Candidate, best: Prediction) -> bool:
        """Whether this answer is to be explained, and there is time."""

    def promise(self, unsure: UnsureAnswer) -> str:
        """Return where the explanation is going to lie."""


class WorkerServices(msgspec.Struct, frozen=True):
    """Whom the workers ask; `age_of` tells how many seconds ago a file's time was."""

    ledger: OnRecord
    trial: Trial
    onlooker: CameraListener
    explanations: Explains | None
    age_of: Age


class Scored(msgspec.Struct, frozen=True):
    """An image that the model has seen."""

    work: Work
    scores: pipeline.Invoked
    explanations: Explains | None

    @property
    def candidate(self) -> Candidate:
        return self.work.candidate

    @property
    def path(self) -> str:
        return self.candidate.path

    @property
    def stat(self) -> os.stat_result:
        """See `Outcome.stat`."""
        return self.work.drop.stat

    def finish(self) -> Finished:
        """See `Outcome.finish`."""
        work = self.work
        crashpoints.reach_path("in_recording", work.candidate.path)
        try:
            answer = pipeline.answer(self.scores, work.plan)
        except ImageError as error:
            return self.failed(error)
        best, why = answer.best.predictions[0], None
        if self.explanations and self.explanations.wants(work.candidate, best):
            pixels = partial(work.pixels, answer.region)
            unsure = UnsureAnswer(work.engine, work.candidate, work.drop, best.class_index, pixels)
            why = self.explanations.promise(unsure)
        record = image_records.result(
            work.drop, work.header, work.prepared, answer, work.plan, at=self.scores.at, explanation=why
        )
        return Finished(work.candidate, work.drop.stat, record)

    def failed(self, error: ImageError) -> Finished:
        """See `Outcome.failed`."""
        work = self.work
        return Finished(work.candidate, work.drop.stat, image_records.failure(work.drop, error, work.plan))
