"""Another model while images are on their way: each is recorded under the one that it was prepared for."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from brokers import wait_until
from daemons import PHOTOS
from dropsight.classify.engine import open_engine
from dropsight.classify.work import Engine, InForce, WorkerServices
from dropsight.classify.workers import HURRY_DEPTH, Workers
from dropsight.config import Config, Inference, Watch
from dropsight.errors import ModelError
from dropsight.inference.clips import ClipAnswer
from dropsight.inference.pipeline import Prepared
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand, Verdict
from dropsight.journal.recorder import Recorder
from dropsight.journal.recording import Finished
from dropsight.models.backends import locate
from dropsight.models.litert import open_tflite
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import Batch, Model, ModelOptions, Scores
from dropsight.records import Failure, Result
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(Config(inference=Inference(tta=("original", "horizontal_flip"), workers=1)))


def named(engine: Engine, name: str) -> Engine:
    plan = replace(engine.plan, spec=replace(engine.plan.spec, name=name))
    return replace(engine, plan=plan, hurried=plan.in_a_hurry())


@dataclass
class Failing:
    """A model that is swapped for another in the middle of an invoke, which fails."""

    model: Model
    swap: Callable[[], None]

    @property
    def spec(self) -> object:
        return self.model.spec

    def scores(self, batch: Batch) -> Scores:
        self.swap()
        raise ModelError(f"no answer to {len(batch)}")


@dataclass
class Notes:
    """Stands where the recorder is."""

    state: Path
    put_in: list[Finished] = field(default_factory=list)
    troubles: Troubles = field(default_factory=lambda: Troubles(logging.getLogger(__name__)))

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.state, self.troubles)

    def put(self, outcome: Finished) -> None:
        self.put_in.append(outcome)


@dataclass(frozen=True)
class Around:
    """Stands where all are whom the workers ask."""

    at_look: Callable[[], None] = lambda: None

    def holds(
        self, _candidate: Candidate, _stat: os.stat_result, *, gets_on: Callable[[], None] = lambda: None
    ) -> bool:
        gets_on()
        return False

    def knows_its_name(self, _candidate: Candidate) -> bool:
        return False

    def try_alone(self, _path: str) -> Verdict:
        return "survived"

    def wants_look(self, _camera: str) -> bool:
        self.at_look()
        return False

    def saw(self, _camera: str, _prepared: Prepared) -> None:
        return

    def saw_clip(self, _record: Result, _answer: ClipAnswer) -> None:
        return


@dataclass
class Floor:
    """Workers between a backlog and notes; `at_look` is called as an image is about to be decoded."""

    root: Path
    engine: Engine
    at_look: Callable[[], None] = lambda: None
    once: bool = True

    def __post_init__(self) -> None:
        self.backlog, self.notes = Backlog(), Notes(self.root)
        self.folder = DropFolder.open(Watch(path=self.root))
        self.in_force = InForce(Config(), self.engine)
        self.workers = Workers(
            self.in_force,
            once=self.once,
            backlog=self.backlog,
            recorder=cast("Recorder", self.notes),
            in_hand=InHand(self.root / "in-hand"),
            services=WorkerServices(
                ledger=Around(),
                trial=Around(),
                onlooker=Around(self.at_look),
                explanations=None,
                age_of=lambda _: 1000.0,
            ),
            supervision=Supervision(self.notes.troubles),
        )

    def swap(self, engine: Engine) -> None:
        self.in_force.swap(self.in_force.config, engine)

    def model_of_failure(self, content: bytes, code: str) -> str:
        path = self.root / "a.jpg"
        path.write_bytes(content)
        self.backlog.hint(self.folder, str(path), closed=True)
        self.workers.start()
        wait_until(lambda: bool(self.notes.put_in))
        self.backlog.stop()
        self.workers.finish()
        (finished,) = self.notes.put_in
        record = finished.record
        assert isinstance(record, Failure)
        assert record.error.code == code
        assert record.model
        return record.model.name


def test_an_image_on_which_the_model_fails_is_recorded_under_that_model_though_another_is_in_force(
    tmp_path: Path, engine: Engine
) -> None:
    failing = Failing(engine.models[0], lambda: floor.swap(named(engine, "second")))
    floor = Floor(tmp_path, replace(named(engine, "first"), models=[cast("Model", failing)]))
    assert floor.model_of_failure(PHOTOS[0].read_bytes(), "model_error") == "first"


def test_an_image_that_cannot_be_decoded_is_recorded_under_the_model_that_it_was_meant_for(
    tmp_path: Path, engine: Engine
) -> None:
    floor = Floor(tmp_path, named(engine, "first"), lambda: floor.swap(named(engine, "second")))
    _, png = cv2.imencode(".png", np.full((64, 64, 3), 7, np.uint8))
    content = png.tobytes()
    data = content.index(b"IDAT") + 4
    broken = content[:data] + b"\xff" * 8 + content[data + 8 :]
    assert floor.model_of_failure(broken, "unreadable") == "first"


def test_a_swap_pairs_no_model_with_the_plan_of_another(tmp_path: Path, engine: Engine) -> None:
    floor = Floor(tmp_path, named(engine, "first"), once=False)
    for number in range(HURRY_DEPTH):
        floor.backlog.hint(floor.folder, f"{tmp_path}/{number}.jpg", closed=True)
    both, over, switching = (
        [named(engine, name) for name in ("first", "second")],
        threading.Event(),
        sys.getswitchinterval(),
    )

    def swap() -> None:
        while not over.is_set():
            for each in both:
                floor.swap(each)

    other = threading.Thread(target=swap)
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        for _ in range(20_000):
            taken, plan = floor.workers._chosen()  # noqa: SLF001 - what each image is given
            assert plan.hurried
            assert plan.spec is taken.plan.spec
    finally:
        sys.setswitchinterval(switching)
        over.set()
        other.join()


def test_models_that_are_loaded_at_the_same_time_leave_stderr_as_it_was() -> None:
    before = os.fstat(2)
    model = open_tflite(
        locate("builtin:efficientnet_lite0"), said=ModelOverrides(None, None), options=ModelOptions()
    )

    def load() -> None:
        for _ in range(10):
            model.replicate()

    loads = [threading.Thread(target=load) for _ in range(4)]
    for each in loads:
        each.start()
    for each in loads:
        each.join()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
