"""Overlays beside processed images with unsure predictions, made while no image waits."""

import base64
import itertools
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight import crashpoints
from dropsight.classify.work import Engine, InForce, UnsureAnswer
from dropsight.config import Explain, Watch
from dropsight.errors import DropsightError, MachineError, ModelError
from dropsight.files.beneath import Top, write
from dropsight.images.company import COMPANY
from dropsight.images.framing import Pixels
from dropsight.inference.clips import seen_at
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.journal.filed import overlay_beside
from dropsight.journal.reader import JournalReader, RecordedFile
from dropsight.names import as_text
from dropsight.records import Prediction, Result, decode
from dropsight.status.supervision import Supervision
from dropsight.video.decoder import ClipDecoder
from dropsight.web.pictures import find_image
from dropsight.web.stills import STILL_BOUNDS

if TYPE_CHECKING:  # a service that explains nothing starts without
    from dropsight.explain.explaining import Explainer
    from dropsight.explain.heatmap import Heatmap

log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]
Shown: TypeAlias = "tuple[Pixels, Heatmap]"

ASKED, PROMISED, END = range(3)
ANSWER_SECONDS = 120
LONGEST_QUEUE = 4
SQUARE, STEP = 48, 24
SHOWN_PIXELS = 448
LOWEST_PRIORITY = 19
BUSY_SECONDS = 0.05
PATIENCE_SECONDS = 0.5  # a group of invokes
STOP_SECONDS = 30.0  # at the lowest priority, one may take as long; systemd waits for 45 in all


class Explanations:
    """`promise` never waits; one thread of the lowest priority does the work, while no image waits."""

    def __init__(
        self,
        settings: Explain | None,
        *,
        in_force: InForce,
        backlog: Backlog,
        supervision: Supervision,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._settings, self._in_force, self._backlog = settings, in_force, backlog
        self._jobs: queue.PriorityQueue[tuple[int, int, Job | None]] = queue.PriorityQueue()
        self._turn, self._count = itertools.count(), itertools.count(1)
        self._made_for: Engine | None = None
        self._explainer: Explainer | None = None
        self._stopping = False
        self._stop_seconds, self._ends_at = stop_seconds, math.inf
        self._thread = supervision.start("explain", self._run, daemon=False)

    def wants(self, candidate: Candidate, best: Prediction) -> bool:
        """See `Explains`."""
        settings = self._settings
        if settings is None or candidate.folder.settings.after != "move":
            return False
        nth = settings.every and next(self._count) % settings.every == 0
        unsure = nth or best.confidence < settings.below_confidence
        return bool(unsure) and self._jobs.qsize() < LONGEST_QUEUE

    def promise(self, unsure: UnsureAnswer) -> str:
        """See `Explains`."""
        relative = overlay_beside(os.fsdecode(unsure.drop.relative), unsure.drop.id)
        self._put(PROMISED, partial(self._overlay, unsure, relative))
        return as_text(unsure.candidate.folder.settings.processed / relative)

    def stop(self) -> None:
        """Finish what was promised in a record, without regard to what waits; give up what takes too long."""
        self._stopping, self._ends_at = True, time.monotonic() + self._stop_seconds
        self._put(END, None)
        self._thread.join()

    def of_record(self, record_id: str | None, journal: Path, watches: Sequence[Watch]) -> object:
        """Answer the command `explain`; raises DropsightError where record or image are gone."""
        reader = JournalReader(journal)
        try:
            found = reader.find(record_id or "")
        finally:
            reader.close()
        if found is None:
            raise DropsightError(f"no record {record_id} in the journal")
        record = decode(found.line)
        if not isinstance(record, Result) or not record.predictions:
            raise DropsightError(f"{record_id} has no prediction to explain: {record.image_path}")
        best = record.predictions[0]  # also of an answer that was too flat to be one
        shown = self._asked(partial(self._shown, found, record, watches))
        moment = {"seconds": record.clip.peak.time} if record.clip else {}
        return {
            "id": record.id,
            **moment,
            "label": best.label,
            "confidence": best.confidence,
            "method": "occlusion",
            "image_jpeg_base64": base64.b64encode(_jpeg(*shown)).decode(),
        }

    def _shown(self, found: RecordedFile, record: Result, watches: Sequence[Watch]) -> "Shown":
        """Of all who ask, one has a picture in memory at a time: it may be as large as there are any."""
        self._in_time()
        engine = self._in_force.engine
        pixels = _picture(found, record, watches, engine)
        return self._heatmap(engine, pixels, record.predictions[0].class_index)

    def _put(self, urgency: int, job: Job | None) -> None:
        self._jobs.put((urgency, next(self._turn), job))

    def _asked(self, work: "Callable[[], Shown]") -> "Shown":
        """Have it done by the thread of the lowest priority: the caller's competes with classification."""
        future: Future[Shown] = Future()

        def answer() -> None:
            try:
                future.set_result(work())
            except DropsightError as error:
                future.set_exception(error)
            except Exception:
                future.set_exception(DropsightError("internal error; see the daemon's log"))
                raise

        self._put(ASKED, answer)
        try:
            return future.result(0 if self._stopping else ANSWER_SECONDS)
        except TimeoutError as error:
            raise DropsightError("the daemon had no time to explain it; try again") from error

    def _run(self) -> None:
        # The interpreter's own threads are started by this one, and inherit it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        while job := self._jobs.get()[2]:
            crashpoints.reach("in_explaining")
            job()

    def _overlay(self, unsure: UnsureAnswer, relative: str) -> None:
        try:
            self._in_time()
            pixels = unsure.pixels()
            overlay = _jpeg(*self._heatmap(unsure.engine, pixels, unsure.class_index))
            _write(unsure.candidate.folder.processed, relative, overlay)
        except (ModelError, MachineError, OSError) as error:
            log.warning("%s: no explanation: %s", as_text(relative), error)

    def _heatmap(self, engine: Engine, squares: Sequence[Pixels], class_index: int) -> "Shown":
        """Return the square that shows the class most surely, and where in it."""
        from dropsight.explain.explaining import Explainer
        from dropsight.explain.perturbation import OcclusionMap

        if self._explainer is None or self._made_for is not engine:
            self._explainer = Explainer(engine.models[0].replicate(), "occlusion")
            self._made_for = engine
        explainer = self._explainer

        def classify(batch: NDArray[np.uint8]) -> NDArray[np.floating]:
            # Later, as long as images wait; but not for ever, where they always do.
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self._backlog.depth() and not self._stopping and time.monotonic() < deadline:
                time.sleep(BUSY_SECONDS)
            self._in_time()
            return explainer.classify(batch)

        pixels = squares[0] if len(squares) == 1 else explainer.surest(squares, class_index)
        return pixels, OcclusionMap(classify, square=SQUARE, step=STEP).compute_heatmap(pixels, class_index)

    def _in_time(self) -> None:
        if time.monotonic() > self._ends_at:
            raise MachineError("the daemon stops, and it takes too long")


def _picture(
    found: RecordedFile, record: Result, watches: Sequence[Watch], engine: Engine
) -> Sequence[Pixels]:
    try:
        with find_image(found, record.id, watches) as file:
            if not record.clip:
                return engine.seen(file, record)
            bounds = replace(STILL_BOUNDS, max_pixels=engine.plan.bounds.max_pixels)
            with COMPANY.joined(), ClipDecoder(bounds) as decoder:
                plan = engine.plan.of(record.camera)
                return seen_at(file, decoder, record.clip.peak.time, by=plan, region=record.region)
    except FileNotFoundError as error:
        raise DropsightError(f"{record.image_path} no longer exists, so it cannot be explained") from error


def _jpeg(pixels: Pixels, heatmap: "Heatmap") -> bytes:
    from dropsight.explain.heatmap import overlay

    shown = overlay(pixels, heatmap)
    factor = max(SHOWN_PIXELS // max(shown.shape[:2]), 1)
    large = cv2.resize(shown, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", cv2.cvtColor(large, cv2.COLOR_RGB2BGR))[1].tobytes()


def _write(processed: Top, relative: str, data: bytes) -> None:
    below, name = os.path.split(relative)
    with processed.inside(below, make=True) as fd:
        write(fd, name, data, part=f"{name}.part", durable=True)
