"""Measure when an answer should be none, how right those above a confidence are, what groups cost.

    python scripts/bench_answers.py LABELLED       # a folder with a sub-folder of photos for each class

Garbage is made by this script, 50 pictures a kind: noise, flat colours, text, photos out of focus and at
night. Thresholds are fitted on one half of the photos, drawn by chance, and tried on the other, 20 times.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight import ImageInferenceRuntime
from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.inference.calibration import fit_temperature
from dropsight.inference.guarantees import (
    KNOWN,
    confidence_for,
    known_up_to,
    least_in_set,
    set_sizes,
)
from dropsight.inference.judging import ranked
from dropsight.inference.labelled import labelled
from dropsight.inference.ranking import logits_of, probabilities
from dropsight.inference.wording import GroupSums, Namer, flatness
from dropsight.models.spec import ModelSpec
from dropsight.records import Prediction

HEIGHT, WIDTH = 240, 320
EACH = 50
SPLITS = 20
Photos = Callable[[], Pixels]
Rows = NDArray[np.float32]


def noise(chance: np.random.Generator, _: Photos) -> Pixels:
    """Of single pixels, or of patches."""
    rows, columns = (HEIGHT, WIDTH) if chance.random() < 0.7 else tuple(chance.integers(4, 40, 2))
    made = chance.integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    return _picture(cv2.resize(made, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def flat(chance: np.random.Generator, _: Photos) -> Pixels:
    """One colour, or one that becomes another, with a sensor's noise."""
    first, last = chance.integers(0, 256, (2, 3))
    course = np.linspace(0, chance.integers(0, 2), WIDTH)[np.newaxis, :, np.newaxis]
    colours = np.ones((HEIGHT, 1, 1)) * (first * (1 - course) + last * course)
    return _picture(colours + chance.normal(0, chance.uniform(0, 3), (HEIGHT, WIDTH, 3)))


def text(chance: np.random.Generator, _: Photos) -> Pixels:
    made = np.full((HEIGHT, WIDTH, 3), chance.integers(180, 256), np.uint8)
    step, size, face = int(chance.integers(14, 30)), float(chance.uniform(0.3, 0.8)), int(chance.integers(8))
    for row in range(step, HEIGHT, step):
        line = "".join(chr(97 + sign) if sign < 26 else " " for sign in chance.integers(0, 31, 40))
        cv2.putText(made, line, (5, row), face, size, (30, 30, 30), 1, cv2.LINE_AA)
    return made


def blur(chance: np.random.Generator, photo: Photos) -> Pixels:
    return _picture(cv2.GaussianBlur(photo(), (0, 0), float(chance.uniform(12, 40))))


def night(chance: np.random.Generator, photo: Photos) -> Pixels:
    """Too dark for anything but the sensor's noise."""
    light, grain = chance.uniform(0.005, 0.04), chance.normal(6, chance.uniform(1, 5), (HEIGHT, WIDTH, 3))
    return _picture(photo() * light + grain)


KINDS = (noise, flat, text, blur, night)


def _picture(made: NDArray[np.generic]) -> Pixels:
    return np.clip(made.astype(np.float64), 0, 255).astype(np.uint8)


def asked(runtime: ImageInferenceRuntime, images: list[str] | list[Pixels]) -> Rows:
    found = [scores for _, scores in runtime.scores(images, show_progress=True)]
    if faulty := [each for each in found if isinstance(each, ImageError)]:
        raise SystemExit(str(faulty[0]))
    return np.array(found)


def auroc(garbage: NDArray[np.float64], photos: NDArray[np.float64]) -> float:
    """Return how often a piece of garbage has more of it than a photo, ties counting half."""
    ordered = np.sort(photos)
    below = np.searchsorted(ordered, garbage, "left") + np.searchsorted(ordered, garbage, "right")
    return float(below.mean() / 2 / len(photos))


def by_kind(rows: NDArray[np.float64], measure: Callable[[NDArray[np.float64]], float]) -> str:
    parts = zip(KINDS, np.split(rows, len(KINDS)), strict=True)
    return ", ".join(f"{kind.__name__} {measure(part):.3f}" for kind, part in parts)


def tell_of_unknown(photos: Rows, garbage: Rows, right: NDArray[np.bool_], spec: ModelSpec) -> None:
    mine, theirs = (np.array([flatness(row) for row in rows]) for rows in (photos, garbage))
    surest = auroc(-garbage.max(axis=1), -photos.max(axis=1))
    print(f"\n{len(photos)} photos, {right.mean():.1%} right; {len(garbage)} pieces of garbage")
    print(f"AUROC of the entropy {auroc(theirs, mine):.3f}, of the largest probability {surest:.3f}")
    print(f"of the entropy, by kind: {by_kind(theirs, lambda rows: auroc(rows, mine))}")
    limits = {"the model's own": spec.unknown, f"for {KNOWN:.0%} of photos": known_up_to(mine)}
    for name, limit in limits.items():
        if limit is not None:
            print(
                f"threshold {limit:.4f} ({name}): unknown are {(mine > limit).mean():.1%} of photos, ", end=""
            )
            print(f"of which {right[mine > limit].mean():.0%} would be right, and of garbage ", end="")
            shares = by_kind((theirs > limit).astype(np.float64), lambda rows: float(rows.mean()))
            print(f"{(theirs > limit).mean():.1%}: {shares}")


def tell_of_groups(photos: Rows, truth: NDArray[np.int64], spec: ModelSpec) -> None:
    sums, best = GroupSums(spec.groups).of(photos), photos.argmax(axis=1)
    members = np.zeros((len(spec.groups), photos.shape[1]), np.bool_)
    for row, group in zip(members, spec.groups, strict=True):
        row[list(group.classes)] = True
    first = sums.argmax(axis=1)
    shown, right = members[first, best], members[first, truth]
    print(f"\n{len(spec.groups)} groups: {shown.mean():.1%} of answers show one, ", end="")
    print(f"{right[shown].mean():.1%} of these are right")
    print("of the others, whose best class is not in the surest group, ", end="")
    print(
        f"{(best == truth)[~shown].mean():.0%} have the right class, {right[~shown].mean():.0%} the right one"
    )
    print(f"mean confidence {photos.max(axis=1).mean():.1%}, by groups {sums.max(axis=1).mean():.1%}")


def tell_of_promises(
    scores: Rows, truth: NDArray[np.int64], spec: ModelSpec, *, precision: float, coverage: float
) -> None:
    """Fit on one half, try on the other."""
    chance, found = np.random.default_rng(1), []
    for _ in range(SPLITS):
        mine, theirs = np.array_split(chance.permutation(len(truth)), 2)
        temperature = fit_temperature(logits_of(scores[mine], spec), truth[mine])
        shares = probabilities(scores, replace(spec, temperature=temperature), 1.0).astype(np.float64)
        right, sure = shares.argmax(axis=1) == truth, shares.max(axis=1)
        chosen = confidence_for(sure[mine], right[mine], precision)
        least = least_in_set(shares[mine, truth[mine]], coverage)
        if chosen is None or least is None:
            raise SystemExit("too few photos for these promises")
        answered = sure[theirs] >= chosen.threshold
        covered = shares[theirs, truth[theirs]] >= least
        sizes = set_sizes(shares[theirs], least)
        found.append((right[theirs][answered].mean(), answered.mean(), covered.mean(), sizes.mean()))
    kept, share, covered, size = np.mean(found, axis=0)
    print(
        f"\non the other half, mean of {SPLITS}: precision {precision:g} wanted, {kept:.3f} found, ", end=""
    )
    print(f"{share:.0%} answered; coverage {coverage:g} wanted, {covered:.3f} found, by {size:.2f} classes")


def tell_of_cost(runtime: ImageInferenceRuntime, photos: Rows, image: str) -> None:
    """Take the least of several rounds: what else the machine does is not meant."""
    plan = runtime.plan
    answers = [(row, ranked(row, plan).predictions) for row in photos[:200]]
    namers = {
        "neither": replace(plan.namer, sums=None),
        "groups": plan.namer,
        "groups and unknown": replace(plan.namer, unknown=0.5),
    }

    def seconds(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    costs = {}
    for name, namer in namers.items():
        costs[name] = min(seconds(partial(_name, namer, answers)) for _ in range(10)) / len(answers)
    whole = min(seconds(partial(runtime.predict, image)) for _ in range(50))
    told = ", ".join(f"{name} {cost * 1e6:.1f} us ({cost / whole:.2%})" for name, cost in costs.items())
    print(f"\none image on one core: {whole * 1e3:.2f} ms; of that, to name the answer, {told}")


def _name(namer: Namer, answers: Sequence[tuple[Rows, Sequence[Prediction]]]) -> None:
    for row, likely in answers:
        namer.name(row, likely)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--model", default="builtin:efficientnet_lite0")
    options.add_argument("--precision", type=float, default=0.98)
    options.add_argument("--coverage", type=float, default=0.9)
    said = options.parse_args()
    chance = np.random.default_rng(3)
    with ImageInferenceRuntime(said.model, threads=1) as runtime:
        spec = runtime.spec
        files = labelled(said.folder, spec.labels)
        truth = np.array([file.class_index for file in files])

        def photo() -> Pixels:
            read = cv2.imread(files[chance.integers(len(files))].path)
            if read is None:
                return photo()
            return _picture(cv2.resize(read, (WIDTH, HEIGHT))[:, :, ::-1])

        scores = asked(runtime, [file.path for file in files])
        garbage = asked(runtime, [kind(chance, photo) for kind in KINDS for _ in range(EACH)])
        photos = probabilities(scores, spec, 1.0)
        tell_of_unknown(photos, probabilities(garbage, spec, 1.0), photos.argmax(axis=1) == truth, spec)
        if spec.groups:
            tell_of_groups(photos, truth, spec)
        tell_of_promises(scores, truth, spec, precision=said.precision, coverage=said.coverage)
        tell_of_cost(runtime, photos, files[0].path)


if __name__ == "__main__":
    main()
