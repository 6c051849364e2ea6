"""`dropsight evaluate`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight.commands.as_daemon import Classifying
from dropsight.commands.measuring import LABELLED, Measured, measure_all
from dropsight.commands.places import need_folder
from dropsight.commands.presence import PresenceReport, presence_of, show
from dropsight.inference.calibration import calibration_error
from dropsight.inference.runtime_options import ClipOptions
from dropsight.inference.wording import flatness
from dropsight.models.spec import Group, ModelSpec

CONFUSIONS = 10


class ClassReport(msgspec.Struct, frozen=True):
    """`precision` is None for a class that was never answered."""

    label: str
    photos: int
    clips: int
    recall: float
    precision: float | None


class Confusion(msgspec.Struct, frozen=True):
    truth: str
    answer: str
    photos: int
    clips: int


class KindReport(msgspec.Struct, frozen=True):
    """`confidence` is the mean one of the best class; `calibration_error` (ECE), how far it is from top_1."""

    files: int
    top_1: float
    top_5: float
    confidence: float
    calibration_error: float


class UnknownReport(msgspec.Struct, frozen=True):
    """Files whose answer is flatter than the model's threshold, and how right the others' answers are.

    `would_be_right` is the share of them whose best class is the right one all the same.
    """

    threshold: float
    files: int
    would_be_right: float | None
    top_1_of_others: float | None


class Report(msgspec.Struct, frozen=True):
    """`kinds` has a line for `photos` and for `clips`, where there are any.

    `group_top_1` is how often the group of the best class is right, of a model that has groups; `unknown`,
    of one that has a threshold for it, counts apart: top_1 and all the rest are of best classes.
    """

    photos: int
    clips: int
    top_1: float
    top_5: float
    kinds: dict[str, KindReport]
    classes: list[ClassReport]
    confusions: list[Confusion]
    group_top_1: float | None = None
    unknown: UnknownReport | None = None


def evaluate(
    folder: Path,
    *,
    file: Path | None = None,
    camera: str | None = None,
    model: str | None,
    tta: bool,
    as_json: bool,
    **sampling: Unpack[ClipOptions],
) -> None:
    """Print accuracy and calibration, one line per class, and the most frequent confusions."""
    need_folder(folder, LABELLED)
    runtime = Classifying(file, camera, model=model, tta=tta).of_all
    unknown = runtime.plan.namer.unknown
    spec = runtime.spec if unknown is None else replace(runtime.spec, unknown=unknown)
    measured = measure_all(runtime, folder, sampling)
    report = presence_of(measured, spec) if spec.multi_label else report_of(measured, spec)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    elif isinstance(report, PresenceReport):
        show(report)
    else:
        _print(report, sampling.get("aggregate", ""))


def _print(report: Report, aggregate: str) -> None:
    for kind, found in report.kinds.items():
        print(
            f"{found.files} {kind}: top-1 {found.top_1:.1%}, top-5 {found.top_5:.1%}; mean confidence "
            f"{found.confidence:.1%}, calibration error (ECE) {found.calibration_error:.1%}"
            f"{f' ({aggregate})' if kind == 'clips' else ''}"
        )
    if len(report.kinds) > 1:
        print(f"together: top-1 {report.top_1:.1%}, top-5 {report.top_5:.1%}")
    if report.group_top_1 is not None:
        print(f"by group: {report.group_top_1:.1%} right")
    if unknown := report.unknown:
        others = "-" if unknown.top_1_of_others is None else f"{unknown.top_1_of_others:.1%}"
        print(f"flatter than {unknown.threshold:g}, unknown: {unknown.files}; of the others top-1 {others}")
    print(f"\n{'class':<32}{'photos':>8}{'clips':>8}{'recall':>9}{'precision':>11}")
    for each in report.classes:
        precision = "-" if each.precision is None else f"{each.precision:.1%}"
        counts = f"{each.photos:>8}{each.clips:>8}"
        print(f"{each.label[:31]:<32}{counts}{each.recall:>9.1%}{precision:>11}")
    if report.confusions:
        print("\nmost often confused:")
    for pair in report.confusions:
        print(f"{pair.photos + pair.clips:>6}  {pair.truth} for {pair.answer}")


def report_of(measured: Measured, spec: ModelSpec) -> Report:
    """Rank by score, the lower class first among equals."""
    truth, clips, labels = measured.truth, measured.clips, spec.labels
    ranked = np.argsort(-measured.scores, axis=1, kind="stable")[:, :5]
    answers = ranked[:, 0]
    kinds = {
        name: _kind(measured.scores[these], ranked[these], truth[these])
        for name, these in (("photos", ~clips), ("clips", clips))
        if these.any()
    }
    return Report(
        photos=int((~clips).sum()),
        clips=int(clips.sum()),
        top_1=float((answers == truth).mean()),
        top_5=float((ranked == truth[:, np.newaxis]).any(axis=1).mean()),
        kinds=kinds,
        classes=[_class(int(number), measured, answers, labels) for number in np.unique(truth)],
        confusions=_confusions(measured, answers, labels),
        group_top_1=_by_group(answers, truth, spec.groups),
        unknown=None if spec.unknown is None else _unknown(measured, answers == truth, spec.unknown),
    )


def _by_group(answers: NDArray[np.intp], truth: NDArray[np.int64], groups: Sequence[Group]) -> float | None:
    """Return how often a group that holds the answer holds the right class, too."""
    if not groups:
        return None
    members = np.zeros((len(groups), max(int(answers.max()), int(truth.max())) + 1), np.bool_)
    for row, group in zip(members, groups, strict=True):
        row[[each for each in group.classes if each < len(row)]] = True
    return float((members[:, answers] & members[:, truth]).any(axis=0).mean())


def _unknown(measured: Measured, right: NDArray[np.bool_], threshold: float) -> UnknownReport:
    flat = np.array([flatness(row) for row in measured.scores]) > threshold
    return UnknownReport(
        threshold,
        int(flat.sum()),
        float(right[flat].mean()) if flat.any() else None,
        float(right[~flat].mean()) if not flat.all() else None,
    )


def _kind(scores: NDArray[np.float32], ranked: NDArray[np.intp], truth: NDArray[np.int64]) -> KindReport:
    right = ranked[:, 0] == truth
    confidence = scores.max(axis=1).astype(np.float64)
    return KindReport(
        files=len(truth),
        top_1=float(right.mean()),
        top_5=float((ranked == truth[:, np.newaxis]).any(axis=1).mean()),
        confidence=float(confidence.mean()),
        calibration_error=calibration_error(confidence, right),
    )


def _class(number: int, measured: Measured, answers: "np.ndarray", labels: Sequence[str]) -> ClassReport:
    mine, answered = measured.truth == number, answers == number
    right = int((mine & answered).sum())
    precision = right / int(answered.sum()) if answered.any() else None
    clips = int((mine & measured.clips).sum())
    return ClassReport(labels[number], int(mine.sum()) - clips, clips, right / int(mine.sum()), precision)


def _confusions(measured: Measured, answers: "np.ndarray", labels: Sequence[str]) -> list[Confusion]:
    wrong = answers != measured.truth
    pairs = Counter(zip(measured.truth[wrong].tolist(), answers[wrong].tolist(), strict=True))
    clips = wrong & measured.clips
    of_clips = Counter(zip(measured.truth[clips].tolist(), answers[clips].tolist(), strict=True))
    return [
        Confusion(labels[right], labels[answer], files - of_clips[right, answer], of_clips[right, answer])
        for (right, answer), files in pairs.most_common(CONFUSIONS)
    ]
