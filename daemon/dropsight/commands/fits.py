"""`dropsight inspect MODEL --photos DIR`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from dropsight.commands.places import need_folder
from dropsight.config.editing import with_keys
from dropsight.errors import ConfigError, DropsightError, ImageError, reason
from dropsight.files.disk import put_at
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, open_named
from dropsight.inference.fitting import Fit, Truth, doubt_of, fit_of
from dropsight.inference.labelled import PHOTOS, labelled
from dropsight.inference.probing import Answers, PreparationVariant, answers, candidates, framed_otherwise
from dropsight.models.guesses import DEFAULT
from dropsight.models.sidecar import sidecar_path
from dropsight.models.spec import Model, ModelSpec
from dropsight.names import as_shown

MOST_PHOTOS = 50
_HOLDS = "of photos, best in a sub-folder for each class"


class TriedVariant(msgspec.Struct, frozen=True):
    """A way that was tried; `right` is None where no classes are known."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color_order: str
    resize: str
    central: float
    score: float
    sure: float
    steady: float
    right: int | None


class ProbeReport(msgspec.Struct, frozen=True):
    """`tried` has the best first; `doubt` says why it is not certain, `written` is the sidecar.

    `frame_known`: whether the frame, too, is the best for certain.
    """

    model: str
    photos: int
    labelled: bool
    tried: list[TriedVariant]
    doubt: str | None
    frame_known: bool
    written: str | None = None


class _Photos(msgspec.Struct, frozen=True):
    pixels: list[Pixels]
    truth: Truth | None


class _Trial(msgspec.Struct, frozen=True):
    candidate: PreparationVariant
    answers: Answers
    fit: Fit


def probe(model: Model, folder: Path, *, write: bool, as_json: bool) -> None:
    """Print how well each of the usual ways fits; with `write`, put the best into the sidecar."""
    need_folder(folder, _HOLDS)
    spec = model.spec
    if write and spec.normalization_from != DEFAULT:
        where = f"its normalization is known, from {spec.normalization_from}"
        raise ConfigError([f"{spec.path}: {where}; to have it guessed again, take it out there"])
    if write:
        _need_writable(sidecar_path(spec.path))
    photos = _photos(folder, spec)
    trials, doubt, frame_known = _tried(model, photos)
    written = None
    if write and not doubt:
        written = _write(trials[0].candidate, spec, framing=frame_known)
    report = ProbeReport(
        model=str(spec.path),
        photos=len(photos.pixels),
        labelled=photos.truth is not None,
        tried=[_row(each) for each in trials],
        doubt=doubt or None,
        frame_known=frame_known,
        written=written,
    )
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    else:
        print("\n".join([*_table(report), "", _verdict(report, spec)]))
    if write and doubt:
        raise DropsightError(
            f"nothing is written to {sidecar_path(spec.path)}, because the result is not certain"
        )


def _tried(model: Model, photos: _Photos) -> tuple[list[_Trial], str, bool]:
    """Return all trials, the best first; why that is not certain, or nothing; whether its frame is.

    The framing comes last, for the best of the rest: photos whose class nobody told cannot tell it.
    """
    spec = model.spec
    ways = candidates(spec)
    more = len(framed_otherwise(ways[0]))
    total = (len(ways) + more) * len(photos.pixels)
    with tqdm(total=total, unit="photo", disable=None, leave=False) as bar:
        ranked = _ranked(model, ways, photos, bar.update)
        framings = framed_otherwise(ranked[0].candidate)
        others = _ranked(model, framings, photos, bar.update)
    doubt = _doubt(ranked, photos.truth)
    if doubt and not _doubt(ranked, None):  # few labels tell less than what the views have to say
        doubt = ""
    framed = sorted([ranked[0], *others], key=lambda each: -each.fit.score)
    if photos.truth is not None and not doubt and not _doubt(framed, photos.truth):
        return [*framed, *ranked[1:]], doubt, True
    return [ranked[0], *others, *ranked[1:]], doubt, False


def _ranked(
    model: Model, ways: list[PreparationVariant], photos: _Photos, done: Callable[[], object]
) -> list[_Trial]:
    trials = []
    for way in ways:
        found = answers(model, way, photos.pixels, done=done)
        trials.append(_Trial(way, found, fit_of(found, photos.truth)))
    return sorted(trials, key=lambda each: -each.fit.score)


def _doubt(ranked: list[_Trial], truth: Truth | None) -> str:
    text, rival = doubt_of([each.answers for each in ranked], truth)
    if not rival:
        return text
    one, other = (_named(_row(ranked[place])) for place in (0, rival))
    return f"{one} and {other}: {text}"


def _photos(folder: Path, spec: ModelSpec) -> _Photos:
    """Read them, at most MOST_PHOTOS, evenly spread; what cannot be read is named on stderr."""
    known: dict[str, int] = {}
    try:
        known = {each.path: each.class_index for each in labelled(folder, spec.labels)}
    except ConfigError as error:
        if any(each.is_dir() for each in folder.iterdir()):
            print(as_shown(f"dropsight: its sub-folders are not used as classes: {error}"), file=sys.stderr)
        paths = [str(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in PHOTOS]
    else:
        paths = list(known)
    if not paths:
        raise ConfigError([f"{folder}: no photos; give a folder {_HOLDS}"])
    places = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), MOST_PHOTOS)).round().astype(int))
    pixels, truth = [], []
    for path in (paths[place] for place in places):
        try:
            pixels.append(_read(path, spec))
            truth.append(known.get(path, 0))
        except (ImageError, OSError) as error:
            print(as_shown(f"dropsight: {path}: {error}"), file=sys.stderr)
    if not pixels:
        raise ConfigError([f"{folder}: none of its {len(places)} photos can be read"])
    return _Photos(pixels, np.array(truth, np.int64) if known else None)


def _read(path: str, spec: ModelSpec) -> Pixels:
    """Return a photo large enough for any of the framings."""
    with open_named(path) as file:
        data = file.read(Bounds())
    header = read_header(data)
    check_bounds(header, Bounds())
    return decode(data, header, at_least=(spec.height, spec.width), how="crop")


def _row(trial: _Trial) -> TriedVariant:
    way, fit = trial.candidate, trial.fit
    return TriedVariant(
        name=way.name,
        mean=way.normalization.mean,
        std=way.normalization.std,
        color_order=way.color_order,
        resize=way.framing.resize,
        central=way.framing.central,
        score=round(fit.score, 3),
        sure=round(fit.sure, 4),
        steady=round(fit.steady, 4),
        right=fit.right,
    )


def _table(report: ProbeReport) -> list[str]:
    right = f"{'right':>8}" if report.labelled else ""
    lines = [f"{'normalization':<30}{'colors':<8}{'frame':<12}{'fits':>7}{'sure':>8}{'steady':>8}{right}"]
    for row in report.tried:
        counted = "" if row.right is None else f"{row.right:>8}"
        figures = f"{row.score:>7.2f}{row.sure:>8.1%}{row.steady:>8.1%}{counted}"
        lines.append(f"{row.name:<30}{row.color_order:<8}{_frame(row):<12}{figures}")
    return lines


def _verdict(report: ProbeReport, spec: ModelSpec) -> str:
    count = f"{report.photos} photos"
    if report.doubt:
        return f"not certain, by {count}: {report.doubt}"
    told = f"best, by {count}: {_named(report.tried[0])}"
    if report.written:
        told += f"; written to {report.written}"
    elif spec.normalization_from == DEFAULT:
        told += f"; --write puts it into {sidecar_path(spec.path)}"
    if report.frame_known:
        return told
    why = (
        "these cannot tell" if report.labelled else "only photos in folders named after their class can tell"
    )
    return f"{told}\nits frame is left as it is: {why}"


def _named(row: TriedVariant) -> str:
    return f"{row.name}, {row.color_order}, {_frame(row)}"


def _frame(row: TriedVariant) -> str:
    return f"crop {row.central:g}" if row.resize == "crop" else row.resize


def _write(best: PreparationVariant, spec: ModelSpec, *, framing: bool) -> str:
    """Leave all else in the sidecar as it is; return its path."""
    target = sidecar_path(spec.path)
    mean, std = best.normalization.mean, best.normalization.std
    values: dict[str, object] = {"normalization": {"mean": list(mean), "std": list(std)}}
    if spec.channels == 3:
        values["color_order"] = best.color_order
    if framing:
        values |= {"resize": best.framing.resize, "central": best.framing.central}
    try:
        text = target.read_text(encoding="utf-8") if target.exists() else ""
        put_at(target, with_keys(text, values).encode())
    except ConfigError as error:
        raise ConfigError([f"{target}: {fault}" for fault in error.faults]) from error
    except OSError as error:
        raise DropsightError(f"{target}: cannot be written: {reason(error)}") from error
    return str(target)


def _need_writable(path: Path) -> None:
    """Raise DropsightError before all the work, where it would be for nothing."""
    if not os.access(path.parent, os.W_OK):
        raise DropsightError(f"{path}: cannot be written: permission denied, or on a read-only disk")
