"""`dropsight calibrate`."""

import sys
from pathlib import Path

import numpy as np

from dropsight.commands.measuring import LABELLED, measure
from dropsight.commands.places import need_folder, need_place
from dropsight.config.editing import with_keys
from dropsight.errors import ConfigError, DropsightError, ModelError, reason
from dropsight.inference.calibration import Trust, fit_temperature, trust
from dropsight.inference.figures import reliability_diagram
from dropsight.inference.labelled import CLIPS
from dropsight.inference.ranking import logits_of
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.models.sidecar import Sidecar, read_sidecar, sidecar_path

FEW = 100
"""Fewer photos than that hold hardly any wrong answer, of which a temperature is learned."""


def calibrate(folder: Path, *, model: str | None, output: Path | None) -> None:
    """Fit the temperature, write the sidecar and the diagram beside it; raises DropsightError."""
    need_folder(folder, LABELLED)
    if output is not None:
        need_place(output)
    runtime = ImageInferenceRuntime(model or DEFAULT_MODEL)
    spec = runtime.spec
    target = output or sidecar_path(spec.path)
    if output is None and (model or DEFAULT_MODEL).startswith("builtin:"):
        raise ConfigError(["the built-in model cannot be changed; name the sidecar to write: -o FILE.yaml"])
    if spec.multi_label:
        raise ModelError(
            f"{spec.path}: several of its classes may be there at once (multi-label), which one temperature "
            "cannot calibrate; set model.thresholds, and see dropsight evaluate for what they give"
        )
    if clips := sum(each.suffix.lower() in CLIPS for each in folder.rglob("*")):
        told = f"{clips} clips are passed over: a temperature is fitted to photos, and holds for frames, too"
        print(f"dropsight: {told}", file=sys.stderr)
    measured = measure(runtime, folder)
    logits = logits_of(measured.scores, spec)
    if spec.activation == "logistic":  # of two classes -x and x, twice as far apart as softmax has them
        logits = logits / 2
    temperature = fit_temperature(logits, measured.truth)
    before, after = (
        trust(logits, measured.truth, spec.temperature),
        trust(logits, measured.truth, temperature),
    )
    count = len(measured.truth)
    print(f"{count} photos, {len(np.unique(measured.truth))} classes")
    if count < FEW:
        few = f"{count} photos are few: the temperature fits these better than others; give {FEW} or more"
        print(f"dropsight: {few}", file=sys.stderr)
    print(f"{'':<8}{'T':>8}{'NLL':>9}{'ECE':>9}{'Brier':>9}")
    _print("before", before)
    _print("after", after)
    _write(target, spec.path, round(temperature, 4))
    print(f"written to {target}")
    try:
        reliability_diagram(target.with_suffix(".reliability.png"), before, after)
        print(f"diagram in {target.with_suffix('.reliability.png')}")
    except DropsightError as error:
        print(f"dropsight: {error}", file=sys.stderr)


def _print(name: str, found: Trust) -> None:
    print(f"{name:<8}{found.temperature:>8.3f}{found.nll:>9.4f}{found.ece:>9.4f}{found.brier:>9.4f}")


def _write(target: Path, model: Path, temperature: float) -> None:
    """Keep what the model's sidecar says already."""
    known, beside = read_sidecar(model) or Sidecar(), sidecar_path(model)
    values: dict[str, object] = {"temperature": temperature}
    elsewhere = target.parent.resolve() != model.parent.resolve()
    if known.labels is not None and elsewhere and not known.labels.startswith("builtin:"):
        values["labels"] = str((model.parent / known.labels).resolve())
    try:
        text = beside.read_text(encoding="utf-8") if beside.exists() else ""
        target.write_text(with_keys(text, values), encoding="utf-8")
    except ConfigError as error:
        raise ConfigError([f"{target}: {fault}" for fault in error.faults]) from error
    except OSError as error:
        raise DropsightError(f"{target}: cannot be written: {reason(error)}") from error
