"""Temperature, trust, and accuracy on labelled folders."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from clips import make_clip, of_photos
from daemons import SAMPLES, dropsight
from dropsight import ImageInferenceRuntime
from dropsight.commands.calibrate import calibrate
from dropsight.commands.evaluate import report_of
from dropsight.commands.measuring import Measured
from dropsight.errors import ConfigError, ModelError
from dropsight.inference.calibration import fit_temperature, nll, trust
from dropsight.inference.guarantees import (
    binomial_bounds,
    confidence_for,
    known_up_to,
    least_in_set,
    set_sizes,
)
from dropsight.inference.labelled import labelled
from dropsight.inference.ranking import softmax
from dropsight.models.backends import locate, open_model
from dropsight.models.label_files import unnamed

Synthetic = tuple[NDArray[np.float64], NDArray[np.int64]]
CLASSES = {"giant panda": "panda", "88": "scarlet_macaw", "Koala": "koala", "tabby": "chelsea"}


def drawn(temperature: float, *, count: int = 20_000) -> Synthetic:
    """Logits of a model that is too sure by this factor, and a truth drawn from what it should say."""
    chance = np.random.default_rng(7)
    honest = chance.normal(0, 2, (count, 10))
    probabilities = softmax(honest).astype(np.float64)
    edges = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
    truth = (chance.random((count, 1)) > edges).sum(axis=1)
    return honest * temperature, np.minimum(truth, 9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_recovered_within_two_percent(temperature: float) -> None:
    logits, truth = drawn(temperature)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.02)


def test_calibrating_lowers_the_likelihood_s_loss_and_the_calibration_error() -> None:
    logits, truth = drawn(3.0)
    before, after = trust(logits, truth, 1.0), trust(logits, truth, fit_temperature(logits, truth))
    assert after.nll < before.nll
    assert after.ece < before.ece / 3
    assert after.brier < before.brier
    assert sum(each.count for each in after.bins) == len(truth)


def test_the_measures_of_a_coin_are_known() -> None:
    """Two classes at 1/2, right half of the time."""
    found = trust(np.zeros((4, 2)), np.array([0, 0, 1, 1]), 1.0)
    assert (found.nll, found.ece, found.brier) == pytest.approx((np.log(2), 0.0, 0.5))


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=9, unique=True), st.floats(1.1, 10))
def test_temperature_leaves_the_best_class_and_moves_its_confidence(logits: list[float], by: float) -> None:
    batch = np.array([logits])
    plain, hot, cold = softmax(batch), softmax(batch / by), softmax(batch * by)
    assert all(each[0, batch.argmax()] == each.max() for each in (plain, hot, cold))
    assert hot.max() <= plain.max() + 1e-6
    assert cold.max() >= plain.max() - 1e-6


def test_no_images_have_no_temperature() -> None:
    with pytest.raises(ValueError, match="no images"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
    assert nll(np.array([[1000.0, 0.0]]), np.array([1]), 1.0) == pytest.approx(1000.0)


def test_the_bounds_of_a_share_are_clopper_s_and_pearson_s() -> None:
    """Of 10 trials by their table; none and all of n have bounds in closed form, 1 - 0.025^(1/n)."""
    assert binomial_bounds(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert binomial_bounds(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert binomial_bounds(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert binomial_bounds(9_800, 10_000) == pytest.approx((0.9771, 0.9827), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40), st.floats(0.1, 0.99))
def test_the_confidence_for_a_precision_is_the_least_that_keeps_it(
    answers: list[tuple[int, bool]], wanted: float
) -> None:
    sure = np.array([level / 10 for level, _ in answers])
    right = np.array([hit for _, hit in answers])
    kept = [level for level in set(sure) if right[sure >= level].mean() >= wanted]
    found = confidence_for(sure, right, wanted)
    assert (found.threshold if found else None) == min(kept, default=None)
    if found:
        answered = sure >= found.threshold
        assert (found.answered, found.share) == (answered.sum(), answered.mean())
        assert found.precision == right[answered].mean() >= wanted
        assert found.low <= found.precision <= found.high


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 0.95), st.integers(60, 200))
def test_sets_cover_a_new_picture_as_often_as_promised(coverage: float, photos: int) -> None:
    """Whatever the model: each of n + 1 exchangeable scores is the new one's with the same chance."""
    scores = np.random.default_rng(photos).random(photos + 1).round(2)
    covered = [
        scores[one] >= (least_in_set(np.delete(scores, one), coverage) or 0.0) for one in range(photos + 1)
    ]
    assert np.mean(covered) >= coverage
    assert np.mean([_is_known(scores, one, coverage) for one in range(photos + 1)]) >= coverage


def _is_known(scores: NDArray[np.float64], one: int, share: float) -> bool:
    limit = known_up_to(np.delete(scores, one), share)
    return limit is None or scores[one] <= limit


def test_too_few_photos_promise_nothing_and_a_set_holds_one_class_at_least() -> None:
    assert least_in_set(np.full(8, 0.5), 0.9) is None
    assert least_in_set(np.linspace(0.1, 0.9, 9), 0.9) == pytest.approx(0.1)
    assert known_up_to(np.full(48, 0.5)) is None
    assert known_up_to(np.linspace(0.01, 0.49, 49)) == pytest.approx(0.49)
    assert set_sizes(np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]), 0.4).tolist() == [1, 2]
    assert set_sizes(np.array([[0.3, 0.3, 0.4]]), 0.9).tolist() == [1]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, stem in CLASSES.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        shutil.copy(SAMPLES / f"{stem}.jpg", tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_evaluate_reports_accuracy_classes_and_confusions(photos: Path) -> None:
    (photos / "tabby" / "bad.jpg").write_bytes(b"bad")
    done = dropsight("evaluate", str(photos), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["photos"] == 4
    assert report["top_5"] == 1.0
    assert report["top_1"] == 0.75
    assert report["confusions"] == [{"truth": "tabby", "answer": "tiger cat", "photos": 1, "clips": 0}]
    assert list(report["kinds"]) == ["photos"]
    assert "bad.jpg" in done.stderr
    assert "giant panda" in dropsight("evaluate", str(photos)).stdout


def test_evaluate_measures_five_views_where_they_are_asked_for(photos: Path) -> None:
    once, views = (
        json.loads(dropsight("evaluate", str(photos), *more, "--json").stdout) for more in ([], ["--tta"])
    )
    assert views["kinds"]["photos"]["confidence"] == pytest.approx(_mean_confidence(photos), abs=1e-4)
    assert views["kinds"]["photos"]["confidence"] != once["kinds"]["photos"]["confidence"]


def _mean_confidence(photos: Path) -> float:
    with ImageInferenceRuntime(use_tta=True) as runtime:
        return float(np.mean([runtime.predict(path).confidence for path in sorted(photos.rglob("*.jpg"))]))


@pytest.mark.slow
def test_evaluate_measures_labelled_clips_among_photos_by_the_sampling_that_is_asked_for(
    photos: Path,
) -> None:
    panda, cat = of_photos([SAMPLES / "panda.jpg", SAMPLES / "chelsea.jpg"])
    make_clip(photos / "giant panda" / "first.mp4", [*[panda] * 10, *[cat] * 30])
    (photos / "tabby" / "no.mkv").write_bytes(b"no clip")
    found = {}
    for how in ("top_k_mean", "ema"):
        done = dropsight("evaluate", str(photos), "--aggregate", how, "--json")
        found[how] = json.loads(done.stdout)
        assert "no.mkv: " in done.stderr
    best = found["top_k_mean"]
    assert (best["photos"], best["clips"]) == (4, 1)
    assert best["kinds"]["clips"]["top_1"] == 1.0
    surest = best["kinds"]["clips"]["confidence"]
    assert best["kinds"]["clips"]["calibration_error"] == pytest.approx(1 - surest)
    assert found["ema"]["kinds"]["clips"]["top_1"] == 0.0
    (wrong,) = (each for each in found["ema"]["confusions"] if each["clips"])
    assert (wrong["truth"], wrong["photos"], wrong["answer"][-3:]) == ("giant panda", 0, "cat")
    assert best["kinds"]["photos"] == found["ema"]["kinds"]["photos"]
    told = dropsight("evaluate", str(photos)).stdout.splitlines()
    assert told[0].startswith("4 photos: top-1 75.0%")
    assert told[1].startswith("1 clips: top-1 100.0%")
    assert told[1].endswith("(top_k_mean)")
    assert told[2] == "together: top-1 80.0%, top-5 100.0%"


def test_evaluate_counts_what_is_unknown_apart_and_says_how_often_the_group_is_right() -> None:
    report = report_of(
        Measured(
            np.array(
                [row(281, 0.4, 282, 0.5), row(388, 0.9), np.full(1000, 1e-3), row(88, 0.3, 87, 0.6)],
                np.float32,
            ),
            np.array([281, 388, 105, 88]),
            np.zeros(4, np.bool_),
            np.array(["a", "b", "c", "d"]),
        ),
        open_model("builtin:efficientnet_lite0").spec,
    )
    assert report.top_1 == 0.25  # as ever: of best classes
    assert report.group_top_1 == 0.75
    assert report.unknown is not None
    assert (report.unknown.files, report.unknown.would_be_right) == (1, 0.0)
    assert report.unknown.top_1_of_others == pytest.approx(1 / 3)


def row(*classes_and_shares: float) -> NDArray[np.float64]:
    found = np.zeros(1000)
    for number, share in zip(classes_and_shares[::2], classes_and_shares[1::2], strict=True):
        found[int(number)] = share
    return found


def test_calibrate_says_that_clips_are_passed_over(photos: Path, tmp_path: Path) -> None:
    make_clip(photos / "giant panda" / "clip.mp4", of_photos([SAMPLES / "panda.jpg"]) * 5)
    done = dropsight("calibrate", str(photos), "-o", str(tmp_path / "out.yaml"))
    assert "1 clip is passed over: a temperature is fitted to photos" in done.stderr
    assert done.stdout.startswith("4 photos")
    model, beside = locate("builtin:efficientnet_lite0"), tmp_path / "out.tflite"
    assert f"it is read with a model beside it: cp {model} {beside}\n" in done.stdout


@pytest.mark.slow
def test_calibrate_writes_a_sidecar_that_the_model_is_opened_with_and_draws_a_diagram(
    photos: Path, tmp_path: Path
) -> None:
    model = locate("builtin:efficientnet_lite0")
    for path in (model, model.with_suffix(".yaml"), model.parent / "imagenet_labels.txt"):
        shutil.copy(path, tmp_path)
    mine = tmp_path / model.name
    beside = mine.with_suffix(".yaml")
    said = f"{beside.read_text()}temperature: 1.0  # measured by hand\n# golden: later\n"
    beside.write_text(said)
    done = dropsight("calibrate", str(photos), "--model", str(mine))
    assert done.returncode == 0, done.stderr
    assert "4 photos are few: the temperature fits these better than others; give 100 or more" in done.stderr
    sidecar = yaml.safe_load(mine.with_suffix(".yaml").read_text())
    assert beside.read_text() == said.replace("1.0  #", f"{sidecar['temperature']}  #")
    assert f"temperature    {sidecar['temperature']:g}" in dropsight("inspect", str(mine)).stdout
    pytest.importorskip("matplotlib")
    picture = mine.with_suffix(".reliability.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_calibrate_writes_through_no_link_that_lies_beside_a_model(photos: Path, tmp_path: Path) -> None:
    """A model's folder may be a stranger's: what its links led to was overwritten."""
    pytest.importorskip("matplotlib")
    model = locate("builtin:efficientnet_lite0")
    mine, mine_too = tmp_path / "model" / model.name, tmp_path / "elsewhere"
    for folder in (mine.parent, mine_too):
        folder.mkdir()
    for path in (model, model.parent / "imagenet_labels.txt"):
        shutil.copy(path, mine.parent)
    names = [mine.with_suffix(suffix) for suffix in (".yaml", ".yaml.part", ".reliability.png")]
    for name in names:
        elsewhere = mine_too / name.name
        elsewhere.write_bytes(model.with_suffix(".yaml").read_bytes())
        name.symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in mine_too.iterdir()}
    done = dropsight("calibrate", str(photos), "--model", str(mine))
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in mine_too.iterdir()} == before
    assert yaml.safe_load(names[0].read_text())["temperature"]
    assert names[2].read_bytes().startswith(b"\x89PNG")
    assert not [path for path in mine.parent.iterdir() if path.is_symlink()]


@pytest.mark.slow
def test_calibrating_on_the_sample_photos_lowers_their_calibration_error(tmp_path: Path) -> None:
    with (SAMPLES / "expected.csv").open() as file:
        for row in csv.DictReader(file):
            if row["expected_id"]:
                (tmp_path / "photos" / row["expected_id"]).mkdir(parents=True)
                shutil.copy(SAMPLES / row["file"], tmp_path / "photos" / row["expected_id"])
    done = dropsight("calibrate", str(tmp_path / "photos"), "-o", str(tmp_path / "out.yaml"))
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[2:4]}
    before, after = ([float(number) for number in found[name]] for name in ("before", "after"))
    assert all(mine < theirs for mine, theirs in zip(after[1:], before[1:], strict=True))


def test_folders_named_after_labels_that_the_model_has_not_is_one_line_with_the_way_out(
    tmp_path: Path,
) -> None:
    for name in ("1", "cat", "dog"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError) as caught:
        labelled(tmp_path, unnamed(3))
    (line,) = caught.value.faults
    assert line.startswith(f"{tmp_path / 'cat'}: nothing says what the model's classes are called; put their")


def test_calibrate_does_not_change_the_built_in_model(photos: Path) -> None:
    done = dropsight("calibrate", str(photos))
    assert done.returncode == 2
    assert "-o FILE.yaml" in done.stderr


def brightness(path: Path) -> Path:
    """Write a model of one sigmoid: the brighter a picture, the more likely it is of the second class."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "steep"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["output"]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [2], [-1, 1]),
        helper.make_tensor("steep", TensorProto.FLOAT, [1], [20.0]),
        helper.make_tensor("middle", TensorProto.FLOAT, [1], [-10.0]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(nodes, "g", [images], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    path.with_suffix(".yaml").write_text("labels: names.txt\nnormalization: {mean: [0], std: [255]}\n")
    (path.parent / "names.txt").write_text("dark\nbright\n")
    return path


@pytest.mark.slow
def test_a_model_of_one_sigmoid_is_evaluated_and_calibrated_as_one_of_two_classes(tmp_path: Path) -> None:
    """NLL by hand: logits of -10 to 10 by the mean of the pixels, and a truth that they get wrong once."""
    model, photos = brightness(tmp_path / "m.onnx"), tmp_path / "photos"
    levels = {"dark": (100, 120, 140), "bright": (110, 150, 160)}
    for name, grays in levels.items():
        (photos / name).mkdir(parents=True)
        for gray in grays:
            cv2.imwrite(str(photos / name / f"{gray}.png"), np.full((8, 8, 3), gray, np.uint8))
    report = json.loads(dropsight("evaluate", str(photos), "--model", str(model), "--json").stdout)
    assert {each["label"]: (each["recall"], each["precision"]) for each in report["classes"]} == {
        "dark": (2 / 3, 2 / 3),
        "bright": (2 / 3, 2 / 3),
    }
    done = dropsight("calibrate", str(photos), "--model", str(model))
    assert done.returncode == 0, done.stderr
    found = float(yaml.safe_load(model.with_suffix(".yaml").read_text())["temperature"])
    logits = np.array([20 * gray / 255 - 10 for grays in levels.values() for gray in grays])
    signed = logits * np.repeat([-1, 1], 3)
    temperatures = np.exp(np.linspace(np.log(0.05), np.log(20), 20_000))
    losses = np.log1p(np.exp(-signed[:, np.newaxis] / temperatures)).mean(axis=0)
    assert found == pytest.approx(temperatures[losses.argmin()], rel=0.01)


def test_a_folder_that_names_no_class_is_a_fault(photos: Path) -> None:
    (photos / "unicorn").mkdir()
    done = dropsight("evaluate", str(photos))
    assert done.returncode == 2
    assert "unicorn: not a class of the model" in done.stderr
    (photos / "unicorn").rename(photos / "panda")
    known = dropsight("evaluate", str(photos)).stderr
    assert (
        "panda: not a class of the model; did you mean giant panda? name it after a label or a number"
        in known
    )


def test_calibrate_prints_the_confidence_for_a_precision_and_writes_what_records_are_made_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten of the sixty dark pictures are so bright that the model gets them wrong, and vice versa."""
    model, photos = brightness(tmp_path / "m.onnx"), tmp_path / "photos"
    levels = {"dark": [*range(40, 115, 3)] * 2 + [130] * 10, "bright": [*range(140, 215, 3)] * 2 + [125] * 10}
    for name, grays in levels.items():
        (photos / name).mkdir(parents=True)
        for number, gray in enumerate(grays):
            cv2.imwrite(str(photos / name / f"{number}.png"), np.full((8, 8, 3), gray, np.uint8))
    calibrate(photos, model=str(model), output=None, precision=0.95, coverage=0.9)
    told = capsys.readouterr().out
    assert "precision 0.95: from a confidence of 0." in told
    assert "certainty), and" in told
    said = yaml.safe_load(model.with_suffix(".yaml").read_text())
    assert list(said) == ["labels", "normalization", "temperature", "unknown", "prediction_set"]
    assert said["prediction_set"]["coverage"] == 0.9
    with ImageInferenceRuntime(model, unknown="auto") as runtime:
        gray, black = (runtime.predict(np.full((8, 8, 3), level, np.uint8)) for level in (128, 0))
    assert (gray.label, black.label) == ("unknown", "dark")
    assert black.prediction_set == ["dark"]
    calibrate(photos, model=str(model), output=None)  # the sets are fitted again: they go by the temperature
    assert "prediction sets" in capsys.readouterr().out
    assert yaml.safe_load(model.with_suffix(".yaml").read_text()) == said
    with pytest.raises(ModelError, match=r"--coverage 0.999: 120 photos are too few; give 999 or more"):
        calibrate(photos, model=str(model), output=None, coverage=0.999)
