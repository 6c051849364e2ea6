"""Every shape of model with every feature: views, explanations, overlays, evaluation, golden images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from daemons import PHOTOS
from dropsight import ImageInferenceRuntime
from dropsight.classify.engine import open_engine
from dropsight.classify.proved_models import ProvedModels
from dropsight.commands.evaluate import evaluate
from dropsight.config import Config, ModelSettings
from dropsight.errors import ModelError
from dropsight.explain.explaining import Explainer
from dropsight.inference import pipeline
from dropsight.models.backends import open_model
from test_onnx import classifier
from tiny_tflite import Tensor, tiny

SIDE = 32
LABELS = ["class 0", "class 1", "class 2"]
ANSWER: Tensor = ("float32", (1, 3))
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "channels last": ((1, SIDE, SIDE, 3), {}),
    "channels first": ((1, 3, SIDE, SIDE), {}),
    "gray": ((1, SIDE, SIDE, 1), {}),
    "gray without channels": ((1, SIDE, SIDE), {}),
    "flattened": ((1, SIDE * SIDE), {}),
    "a batch of 4": ((4, SIDE, SIDE, 3), {}),
    "two heads": ((1, SIDE, SIDE, 3), {"heads": {"kind": 0, "sex": 1}}),
    "several at once": ((1, SIDE, SIDE, 3), {"thresholds": {"*": 0.4}}),
}


def made(folder: Path, name: str) -> Path:
    """Write a model of this shape, which says that the first class is as likely as all others."""
    if name == "onnx":
        return classifier(folder / "m.onnx")
    shape, sidecar = SHAPES[name]
    answers: list[Tensor] = [("float32", (shape[0], 3))]
    if "heads" in sidecar:
        answers.append(("float32", (shape[0], 2)))
    (folder / "m.tflite").write_bytes(tiny([("float32", shape)], answers))
    (folder / "m.yaml").write_text(yaml.safe_dump(sidecar))
    return folder / "m.tflite"


@pytest.mark.parametrize("name", [*SHAPES, "onnx"])
def test_a_model_of_this_shape_has_every_feature(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(tmp_path, name)
    with ImageInferenceRuntime(model, use_tta=True) as runtime:
        best = runtime.predict(PHOTOS[0])
        assert best.tta == 5
        plan = runtime.plan
        prepared = pipeline.prepare(
            PHOTOS[0].read_bytes(), pipeline.examine(PHOTOS[0].read_bytes(), plan), plan
        )
        shown = plan.preparation.pixels_of(prepared.batch[0])  # of which the daemon makes an overlay
        assert shown.shape == (plan.spec.height, plan.spec.width, 3)
        with runtime.interpreter() as lent:
            explainer = Explainer(lent, "occlusion")
            (found,) = explainer.explain_framed(shown)
        assert found.heatmap.shape == shown.shape[:2]
        assert np.isfinite(found.heatmap).all()
        with runtime.interpreter() as lent, pytest.raises(ModelError, match="occlusion and rise explain"):
            Explainer(lent, "gradcam")
    folder = tmp_path / "photos" / best.label
    folder.mkdir(parents=True)
    shutil.copy(PHOTOS[0], folder)
    evaluate(tmp_path / "photos", tta=False, model=str(model), as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["photos"], report["classes"][0]["recall"]) == (1, 1.0)


@pytest.mark.parametrize("name", [*SHAPES, "onnx"])
def test_a_model_of_this_shape_is_taken_only_if_it_gets_its_golden_images_right(
    tmp_path: Path, name: str
) -> None:
    """At the start as at a reload."""
    model = made(tmp_path, name)
    best = ImageInferenceRuntime(model).predict(PHOTOS[0]).predicted_class
    shutil.copy(PHOTOS[0], tmp_path / "golden.jpg")
    beside = model.with_suffix(".yaml")
    said = yaml.safe_load(beside.read_text()) if beside.exists() else {}
    config = Config(model=ModelSettings(path=str(model)))
    for expected in (best, best + 1):
        beside.write_text(yaml.safe_dump({**said, "golden": [{"image": "golden.jpg", "class": expected}]}))
        if expected == best:
            open_engine(config, ProvedModels(tmp_path / "proved"))
        else:
            with pytest.raises(ModelError, match="classified as"):
                open_engine(config, ProvedModels(tmp_path / "proved"))


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.onnx", "m.tflite", "m.bin", "m"])
def test_what_a_model_is_stands_in_its_bytes_whatever_its_file_is_called(tmp_path: Path, name: str) -> None:
    for folder, source, kind in (
        ("one", made(tmp_path, "channels last"), "tflite"),
        ("two", made(tmp_path, "onnx"), "onnx"),
    ):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / name)
        assert open_model(tmp_path / folder / name).spec.format == kind
