"""`dropsight calibrate`."""

import shlex
import sys
from math import ceil, floor
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight.commands.as_daemon import Classifying
from dropsight.commands.measuring import LABELLED, Measured, measure
from dropsight.commands.places import need_folder, need_place
from dropsight.config.editing import with_keys
from dropsight.errors import ConfigError, DropsightError, ModelError, reason
from dropsight.files.disk import put_at
from dropsight.inference.calibration import CalibrationMetrics, fit_temperature, trust
from dropsight.inference.figures import reliability_diagram
from dropsight.inference.guarantees import KNOWN, confidence_for, known_up_to, least_in_set, set_sizes
from dropsight.inference.labelled import CLIPS
from dropsight.inference.ranking import logits_of, probabilities
from dropsight.inference.runtime import DEFAULT_MODEL
from dropsight.inference.wording import flatness
from dropsight.models.backends import locate
from dropsight.models.sidecar import Sidecar, read_sidecar, sidecar_path
from dropsight.models.spec import ModelSpec

FEW = 100
"""Fewer photos than that hold hardly any wrong answer, of which a temperature is learned."""
LEAST_IN_SET = 0.005
"""Of a set's classes: 200 of them at most, which is many for a record."""


def calibrate(
    folder: Path,
    *,
    file: Path | None = None,
    camera: str | None = None,
    model: str | None,
    output: Path | None,
    precision: float | None = None,
    coverage: float | None = None,
) -> None:
    """Fit what the sidecar is to hold, write it and the diagram beside it; raises DropsightError."""
    need_folder(folder, LABELLED)
    if output is not None:
        need_place(output)
    runtime = Classifying(file, camera, model=model, tta=False).of_all
    spec, times = runtime.spec, runtime.plan.inference.temperature
    target = _target(spec, output)
    if clips := sum(each.suffix.lower() in CLIPS for each in folder.rglob("*")):
        what = "1 clip is" if clips == 1 else f"{clips} clips are"
        _tell(f"{what} passed over: a temperature is fitted to photos, and holds for frames, too")
    measured = measure(runtime, folder)
    print(f"{len(measured.truth)} photos, {len(np.unique(measured.truth))} classes")
    before, after = _temperature(measured, spec, times)
    # The config's own is multiplied with that of the sidecar.
    values: dict[str, object] = {"temperature": round(after.temperature / times, 4)}
    calibrated = replace(spec, temperature=round(after.temperature / times, 4))
    found = probabilities(measured.scores, calibrated, times).astype(np.float64)
    values |= _unknown(found)
    if precision is not None:
        _precision(found, measured.truth, precision)
    if coverage := coverage or (spec.sets.coverage if spec.sets else None):
        values |= _sets(found, measured.truth, coverage)
    _write(target, spec.path, values)
    _tell_written(target, spec, before, after)


def _target(spec: ModelSpec, output: Path | None) -> Path:
    """Return the sidecar to write; raises DropsightError where the model can have none that helps."""
    if output is None and spec.path.parent == locate(DEFAULT_MODEL).parent:
        raise ConfigError(["the built-in model cannot be changed; name the sidecar to write: -o FILE.yaml"])
    if spec.multi_label:
        raise ModelError(
            f"{spec.path}: several of its classes may be there at once (multi-label), which one temperature "
            "cannot calibrate; set model.thresholds, and see dropsight evaluate for what they give"
        )
    return output or sidecar_path(spec.path)


def _tell_written(
    target: Path, spec: ModelSpec, before: CalibrationMetrics, after: CalibrationMetrics
) -> None:
    """Say where the sidecar is and how it takes effect, and draw the diagram beside it."""
    print(f"written to {target}")
    if target.resolve() != sidecar_path(spec.path).resolve():
        beside = target.with_suffix(spec.path.suffix)
        print(
            f"it is read with a model beside it: cp {shlex.quote(str(spec.path))} {shlex.quote(str(beside))}"
        )
    diagram = target.with_suffix(".reliability.png")
    try:
        put_at(diagram, reliability_diagram(before, after))
        print(f"diagram in {diagram}")
    except DropsightError as error:
        _tell(str(error))
    except OSError as error:
        _tell(f"{diagram}: cannot be written: {reason(error)}")


def _temperature(
    measured: Measured, spec: ModelSpec, times: float
) -> tuple[CalibrationMetrics, CalibrationMetrics]:
    """Return how far confidences can be trusted as it is, and by the temperature that fits these photos."""
    logits = logits_of(measured.scores, spec)
    if spec.activation == "logistic":  # of two classes -x and x, twice as far apart as softmax has them
        logits = logits / 2
    before = trust(logits, measured.truth, spec.temperature * times)
    after = trust(logits, measured.truth, fit_temperature(logits, measured.truth))
    if (count := len(measured.truth)) < FEW:
        _tell(f"{count} photos are few: the temperature fits these better than others; give {FEW} or more")
    print(f"{'':<8}{'T':>8}{'NLL':>9}{'ECE':>9}{'Brier':>9}")
    _print("before", before)
    _print("after", after)
    return before, after


def _unknown(found: NDArray[np.float64]) -> dict[str, object]:
    flat = np.array([flatness(row) for row in found])
    threshold = known_up_to(flat)
    if threshold is None:
        least = ceil(KNOWN / (1 - KNOWN))
        _tell(f"no threshold for unknown: {len(flat)} photos are too few for it; give {least} or more")
        return {}
    written = min(ceil(threshold * 1e4) / 1e4, 1.0)
    print(
        f"unknown: an answer flatter than {written:.4f}, as {(flat > written).mean():.1%} of these are; "
        "inference.unknown: auto uses it"
    )
    return {"unknown": written}


def _precision(found: NDArray[np.float64], truth: NDArray[np.int64], wanted: float) -> None:
    right = found.argmax(axis=1) == truth
    chosen = confidence_for(found.max(axis=1), right, wanted)
    if chosen is None:
        surest = right[found.max(axis=1) == found.max()].mean()
        print(f"precision {wanted:g}: no confidence is enough; of the surest answers {surest:.1%} are right")
        return
    print(
        f"precision {wanted:g}: from a confidence of {chosen.threshold:.4f} on, {chosen.precision:.1%} of "
        f"answers are right (of others like these {chosen.low:.1%} to {chosen.high:.1%}, with 95 % "
        f"certainty), and {chosen.share:.1%} of photos are answered"
    )


def _sets(found: NDArray[np.float64], truth: NDArray[np.int64], coverage: float) -> dict[str, object]:
    of_truth = found[np.arange(len(truth)), truth]
    least = least_in_set(of_truth, coverage)
    if least is None:
        enough = ceil(coverage / (1 - coverage))
        raise ModelError(f"--coverage {coverage:g}: {len(truth)} photos are too few; give {enough} or more")
    written = floor(least * 1e6) / 1e6
    if written < LEAST_IN_SET:
        raise ModelError(
            f"--coverage {coverage:g}: sets would have to hold classes of a probability of {written:g}, "
            "hundreds of them; give a lower coverage"
        )
    sizes = set_sizes(found, written)
    print(
        f"prediction sets: classes from a probability of {written:.4f} on; of these photos "
        f"{(of_truth >= written).mean():.1%} are covered, by {sizes.mean():.2f} classes on average, "
        f"{sizes.max()} at most; in records as prediction_set"
    )
    return {"prediction_set": {"coverage": coverage, "least": written}}


def _print(name: str, found: CalibrationMetrics) -> None:
    print(f"{name:<8}{found.temperature:>8.3f}{found.nll:>9.4f}{found.ece:>9.4f}{found.brier:>9.4f}")


def _tell(text: str) -> None:
    print(f"dropsight: {text}", file=sys.stderr)


def _write(target: Path, model: Path, values: dict[str, object]) -> None:
    """Keep what the model's sidecar says already."""
    known, beside = read_sidecar(model) or Sidecar(), sidecar_path(model)
    elsewhere = target.parent.resolve() != model.parent.resolve()
    if known.labels is not None and elsewhere and not known.labels.startswith("builtin:"):
        values["labels"] = str((model.parent / known.labels).resolve())
    try:
        text = beside.read_text(encoding="utf-8") if beside.exists() else ""
        edited = with_keys(text, values).encode()
        if target == beside:
            put_at(target, edited)
        else:
            target.write_bytes(edited)
    except ConfigError as error:
        raise ConfigError([f"{target}: {fault}" for fault in error.faults]) from error
    except OSError as error:
        raise DropsightError(f"{target}: cannot be written: {reason(error)}") from error
