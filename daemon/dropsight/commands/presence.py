"""`dropsight evaluate`, of a model by which several classes may be there at once."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.commands.measuring import Measured
from dropsight.models.spec import ModelSpec


class PresentClass(msgspec.Struct, frozen=True):
    """`precision` is None for a class that was never found."""

    label: str
    photos: int
    clips: int
    recall: float
    precision: float | None
    threshold: float


class PresenceReport(msgspec.Struct, frozen=True):
    """`all_right`: the share of files of which no class was missed, and none was found that is not there."""

    photos: int
    clips: int
    multi_label: bool
    all_right: float
    classes: list[PresentClass]


def presence_of(measured: Measured, spec: ModelSpec) -> PresenceReport:
    """Count what is there by the thresholds; a file that lies in several folders is of all their classes."""
    first: dict[bytes, int] = {}
    rows = [first.setdefault(_digest(path), number) for number, path in enumerate(measured.paths)]
    once = sorted(first.values())
    truth = np.zeros(measured.scores.shape, bool)
    truth[rows, measured.truth] = True
    truth, clips = truth[once], measured.clips[once]
    found = measured.scores[once] >= np.asarray(spec.thresholds, np.float32)
    return PresenceReport(
        photos=int((~clips).sum()),
        clips=int(clips.sum()),
        multi_label=True,
        all_right=float((truth == found).all(axis=1).mean()),
        classes=[
            _class(spec, int(number), truth[:, number], found[:, number], clips)
            for number in np.flatnonzero(truth.any(axis=0))
        ],
    )


def show(report: PresenceReport) -> None:
    files = " and ".join(
        f"{count} {name}" for name, count in (("photos", report.photos), ("clips", report.clips)) if count
    )
    print(f"{files}, several classes at once: {report.all_right:.1%} with all of them right")
    print("(what lies in several folders is taken to show all of their classes)")
    head = f"{'photos':>8}{'clips':>8}{'recall':>9}{'precision':>11}{'threshold':>11}"
    print(f"\n{'class':<32}{head}")
    for each in report.classes:
        precision = "-" if each.precision is None else f"{each.precision:.1%}"
        counts = f"{each.photos:>8}{each.clips:>8}"
        print(f"{each.label[:31]:<32}{counts}{each.recall:>9.1%}{precision:>11}{each.threshold:>11g}")


def _class(
    spec: ModelSpec, number: int, truth: NDArray[np.bool_], found: NDArray[np.bool_], clips: NDArray[np.bool_]
) -> PresentClass:
    right = int((truth & found).sum())
    return PresentClass(
        label=spec.labels[number],
        photos=int((truth & ~clips).sum()),
        clips=int((truth & clips).sum()),
        recall=right / int(truth.sum()),
        precision=right / int(found.sum()) if found.any() else None,
        threshold=spec.thresholds[number],
    )


def _digest(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
