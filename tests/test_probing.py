"""`inspect --photos` finds how a model wants its pictures, or says that it cannot tell."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from daemons import PHOTOS, SAMPLES, dropsight
from dropsight.commands.fits import probe
from dropsight.config.editing import with_keys
from dropsight.errors import ConfigError
from dropsight.inference.fitting import doubt_of, fit_of
from dropsight.inference.probing import Answers, candidates
from dropsight.models.backends import locate, open_model
from dropsight.models.spec import ModelOptions
from dropsight.records import Normalization
from float_models import float_model

MEANS = {
    "[0, 1]": ((0.0,), (255.0,)),
    "[-1, 1]": ((127.5,), (127.5,)),
    "0 to 255": ((0.0,), (1.0,)),
    "ImageNet's mean and deviation": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
CAFFE = ((103.939, 116.779, 123.68), (1.0,), "BGR")


SMALL = "input_size: [160, 160]\n"
"""Half the pixels that the model was trained with take half the time."""


def small_model(folder: Path, *facts: object) -> Path:
    (folder / "m.yaml").write_text(SMALL)
    return float_model(folder, "m", *facts, any_size=True)


def some(folder: Path, count: int) -> Path:
    photos = folder / "photos"
    photos.mkdir()
    for path in PHOTOS[:count]:
        (photos / path.name).symlink_to(path)
    return photos


@pytest.mark.slow
@pytest.mark.parametrize("name", ["[0, 1]", "0 to 255", "ImageNet's mean and deviation"])
def test_of_the_same_weights_the_normalization_that_each_was_made_for_is_found(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By eight photos of which nobody said what they show; ImageNet's, close to [-1, 1], by fourteen."""
    photos = some(tmp_path, len(PHOTOS) if "ImageNet" in name else 8)
    model = open_model(small_model(tmp_path, *MEANS[name]), options=ModelOptions(2))
    probe(model, photos, write=False, as_json=True)
    report = json.loads(capsys.readouterr().out)
    best = report["tried"][0]
    assert (best["name"], best["color_order"], report["doubt"]) == (name, "RGB", None)
    assert [best["mean"], best["std"]] == [list(each) for each in MEANS[name]]
    # The frame cannot be told by such photos: the model's comes first, then the others.
    first, *others = [(each["resize"], each["central"]) for each in report["tried"][:3]]
    assert first == ("crop", 0.875)
    assert set(others) == {("crop", 1.0), ("stretch", 0.875)}
    assert not report["frame_known"]
    assert len(report["tried"]) == 12


@pytest.mark.slow
def test_what_was_found_is_written_beside_what_stood_in_the_sidecar(tmp_path: Path) -> None:
    """Of a model in Caffe's manner: blue first."""
    model = small_model(tmp_path, *CAFFE)
    sidecar = tmp_path / "m.yaml"
    sidecar.write_text(f"# of 2015\n{SMALL}temperature: 1.1  # measured\n")
    done = dropsight("inspect", str(model), "--photos", str(SAMPLES), "--write")
    assert done.returncode == 0, done.stderr
    assert (
        f"best, by 14 photos: ImageNet's mean (Caffe), BGR, crop 0.875; written to {sidecar}" in done.stdout
    )
    assert sidecar.read_text() == (
        f"# of 2015\n{SMALL}temperature: 1.1  # measured\n"
        "normalization: {mean: [103.939, 116.779, 123.68], std: [1.0]}\ncolor_order: BGR\n"
    )
    shown = dropsight("inspect", str(model)).stdout
    assert "guess" not in shown
    assert f"BGR from {sidecar}" in shown
    again = dropsight("inspect", str(model), "--photos", str(SAMPLES), "--write")
    assert again.returncode == 2
    assert f"its normalization is known, from {sidecar}" in again.stderr


@pytest.mark.slow
def test_where_folders_are_classes_the_right_answers_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    with (SAMPLES / "expected.csv").open() as file:
        for row in csv.DictReader(file):
            folder = photos / row["expected_id"]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLES / row["file"], folder)
    model = open_model(float_model(tmp_path, "m", *MEANS["[-1, 1]"]), options=ModelOptions(2))
    probe(model, photos, write=False, as_json=False)
    header, best, *others, _, told, frame = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "right"
    assert best.startswith("[-1, 1]                       RGB")
    assert int(best.split()[-1]) >= 10
    assert any(int(line.split()[-1]) <= 2 for line in others)
    assert told.startswith("best, by 13 photos: [-1, 1], RGB, crop 0.875; --write puts it into")
    assert frame == "its frame is left as it is: these cannot tell"


@pytest.mark.slow
def test_a_few_photos_are_not_enough_and_nothing_is_written(tmp_path: Path) -> None:
    model = float_model(tmp_path, "m", *MEANS["[0, 1]"])
    photos = some(tmp_path, 1)
    (photos / "odd.jpg").write_bytes(b"no picture")
    done = dropsight("inspect", str(model), "--photos", str(photos), "--write")
    assert done.returncode == 1
    assert "not certain, by 1 photos: 1 photos are too few: give at least 8" in done.stdout
    assert f"{photos / 'odd.jpg'}: " in done.stderr
    assert f"nothing is written to {tmp_path / 'm.yaml'}" in done.stderr
    assert not (tmp_path / "m.yaml").exists()


@pytest.mark.slow
def test_what_cannot_be_asked_for_is_refused_before_any_work(tmp_path: Path) -> None:
    model = str(locate("builtin:efficientnet_lite0"))
    for arguments, told in (
        ((model, "--write"), "--write needs --photos"),
        ((model, "--photos", str(tmp_path / "none")), "there is no such folder"),
        ((model, "--photos", str(tmp_path)), "no photos; give a folder"),
        ((model, "--photos", str(SAMPLES), "--write"), "its normalization is known, from"),
    ):
        done = dropsight("inspect", *arguments)
        assert done.returncode == 2
        assert told in done.stderr


def answers(*confidences: float, photos: int = 20, constant: bool = False, steady: bool = True) -> Answers:
    """Of 20 classes, one a photo; each view has a confidence."""
    found = np.zeros((photos, len(confidences), 20), np.float32)
    for photo in range(photos):
        for view, confidence in enumerate(confidences):
            answer = 0 if constant else (photo + (0 if steady else view)) % 20
            found[photo, view] = (1 - confidence) / 19
            found[photo, view, answer] = confidence
    return found


def test_an_answer_that_is_sure_but_always_the_same_or_another_in_each_view_fits_worse() -> None:
    """Confidence alone prefers inputs on which a network saturates."""
    right, nine = answers(*[0.6] * 9), [0.99] * 9
    for wrong in (answers(*nine, constant=True), answers(*nine, steady=False)):
        assert fit_of(wrong, None).score < fit_of(right, None).score
        assert fit_of(wrong, None).sure > fit_of(right, None).sure
        assert not doubt_of([right, wrong], None)[0]
    assert (fit_of(right, None).steady, fit_of(wrong, None).steady) == (1, 0)


def test_two_that_cannot_be_told_apart_are_said_to_be() -> None:
    one = answers(0.6, 0.6)
    text, rival = doubt_of([one, answers(0.3, 0.3), one.copy()], None)
    assert (text.partition(":")[0], rival) == ("these 20 photos cannot tell them apart", 2)
    truth = np.arange(20) % 20
    assert doubt_of([one, one.copy()], truth)[1] == 1
    assert doubt_of([one, answers(0.3, 0.3)], truth) == ("", 0)


def test_where_classes_are_known_only_the_photo_as_it_is_counts_not_its_views() -> None:
    """Turned digits are no digits: their views prefer numbers that are far too large."""
    truth = np.arange(20) % 20
    one, other = answers(0.9, 0.1), answers(0.8, 0.99)
    assert fit_of(one, truth).score == pytest.approx(np.log(0.9), abs=1e-6)
    assert fit_of(one, truth).score > fit_of(other, truth).score
    assert fit_of(one, None).score < fit_of(other, None).score


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (answers(0.6, 0.6, photos=7), "7 photos are too few"),
        (answers(0.6, 0.6, constant=True), "nearly all photos get the same answer"),
        (answers(0.06, 0.06), "the answers hardly depend on the photo"),
        (answers(0.99, 0.99, steady=False), "the answers change with the view of a photo"),
    ],
)
def test_what_photos_or_model_cannot_tell_is_said(found: Answers, told: str) -> None:
    assert doubt_of([found, answers(0.051, 0.051, photos=len(found))], None)[0].startswith(told)


def test_what_is_in_force_is_among_what_is_tried() -> None:
    """And integers of a quantization of their own are tried with it."""
    spec = open_model("builtin:efficientnet_lite0").spec
    first = candidates(spec)[0]
    assert (first.name, first.normalization) == ("as it is now", Normalization((127.0,), (128.0,)))
    assert len(candidates(spec)) == 12


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "a: {mean: [1.0]}\nb: BGR\n"),
        ("c: 1", "c: 1\na: {mean: [1.0]}\nb: BGR\n"),
        ("# top\na:  # old\n  mean: [2]\n  std: [3]\n# next\nc: 1\n", None),
        ("a: {mean: [2]}  # kept\nb: RGB # kept\n", "a: {mean: [1.0]}  # kept\nb: BGR # kept\n"),
        ("{c: 1}\n", None),
        ("a:\n- x\n- y: 1\n  z: [2]\n# end\n", None),
    ],
)
def test_keys_of_the_outermost_level_are_set_and_all_the_rest_is_left(text: str, wanted: str | None) -> None:
    values: dict[str, Any] = {"a": {"mean": [1.0]}, "b": "BGR"}
    found = with_keys(text, values)
    assert yaml.safe_load(found) == {**(yaml.safe_load(text) or {}), **values}
    if wanted is not None:
        assert found == wanted
    for comment in ("# top", "# old", "# next", "# kept", "# end"):
        assert found.count(comment) == text.count(comment)


def test_a_text_that_cannot_be_edited_line_by_line_is_left_with_the_lines_to_write() -> None:
    with pytest.raises(ConfigError, match="write there yourself:\nb: BGR"):
        with_keys("c: 1\n...\n", {"b": "BGR"})
