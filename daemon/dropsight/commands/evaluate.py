"""`dropsight evaluate`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from dropsight.commands.measuring import LABELLED, Measured, measure
from dropsight.commands.places import need_folder
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime

CONFUSIONS = 10


class ClassReport(msgspec.Struct, frozen=True):
    """`precision` is None for a class that was never answered."""

    label: str
    photos: int
    recall: float
    precision: float | None


class Confusion(msgspec.Struct, frozen=True):
    truth: str
    answer: str
    photos: int


class Report(msgspec.Struct, frozen=True):
    photos: int
    top_1: float
    top_5: float
    classes: list[ClassReport]
    confusions: list[Confusion]


def evaluate(folder: Path, *, model: str | None, as_json: bool) -> None:
    """Print accuracy, one line per class, and the most frequent confusions."""
    need_folder(folder, LABELLED)
    runtime = ImageInferenceRuntime(model or DEFAULT_MODEL)
    report = report_of(measure(runtime, folder), runtime.spec.labels)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        return
    print(f"{report.photos} photos: top-1 {report.top_1:.1%}, top-5 {report.top_5:.1%}\n")
    print(f"{'class':<32}{'photos':>8}{'recall':>9}{'precision':>11}")
    for each in report.classes:
        precision = "-" if each.precision is None else f"{each.precision:.1%}"
        print(f"{each.label[:31]:<32}{each.photos:>8}{each.recall:>9.1%}{precision:>11}")
    if report.confusions:
        print("\nmost often confused:")
    for pair in report.confusions:
        print(f"{pair.photos:>6}  {pair.truth} for {pair.answer}")


def report_of(measured: Measured, labels: Sequence[str]) -> Report:
    """Rank by score, the lower class first among equals."""
    truth = measured.truth
    ranked = np.argsort(-measured.scores, axis=1, kind="stable")[:, :5]
    answers = ranked[:, 0]
    wrong = Counter(
        (int(right), int(answer)) for right, answer in zip(truth, answers, strict=True) if right != answer
    )
    return Report(
        photos=len(truth),
        top_1=float((answers == truth).mean()),
        top_5=float((ranked == truth[:, np.newaxis]).any(axis=1).mean()),
        classes=[_class(int(number), measured, answers, labels) for number in np.unique(truth)],
        confusions=[
            Confusion(labels[right], labels[answer], photos)
            for (right, answer), photos in wrong.most_common(CONFUSIONS)
        ],
    )


def _class(number: int, measured: Measured, answers: "np.ndarray", labels: Sequence[str]) -> ClassReport:
    mine, answered = measured.truth == number, answers == number
    right = int((mine & answered).sum())
    precision = right / int(answered.sum()) if answered.any() else None
    return ClassReport(labels[number], int(mine.sum()), right / int(mine.sum()), precision)
