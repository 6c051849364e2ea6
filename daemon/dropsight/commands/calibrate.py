"""`dropsight calibrate`."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import yaml

from dropsight.commands.measuring import LABELLED, measure
from dropsight.commands.places import need_folder, need_place
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
    if spec.activation == "logistic":
        raise ModelError(f"{spec.path}: its classes are not mutually exclusive; calibrate needs a softmax")
    if clips := sum(each.suffix.lower() in CLIPS for each in folder.rglob("*")):
        told = f"{clips} clips are passed over: a temperature is fitted to photos, and holds for frames, too"
        print(f"dropsight: {told}", file=sys.stderr)
    measured = measure(runtime, folder)
    logits = logits_of(measured.scores, spec)
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
    known = read_sidecar(model) or Sidecar()
    labels = known.labels
    if labels is not None and target.parent.resolve() != model.parent.resolve():
        labels = str((model.parent / labels).resolve())
    sidecar = msgspec.structs.replace(known, labels=labels, temperature=temperature)
    said = {name: value for name, value in msgspec.to_builtins(sidecar).items() if value is not None}
    try:
        target.write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise DropsightError(f"{target}: cannot be written: {reason(error)}") from error
