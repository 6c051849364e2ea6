"""Keras models without TensorFlow: on JAX, each time in a process of its own, as Keras keeps its backend."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemons import dropsight

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (find_spec("keras") and find_spec("jax")), reason="needs Keras and JAX"),
]

WITHOUT_TENSORFLOW = """
import importlib.util, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "tensorflow" else found(name, *more)
"""
MADE = """
import json, os, sys
import keras, numpy as np
layers = keras.layers
folder, pictures = sys.argv[1], np.load(sys.argv[2])

def ending(last):
    return [layers.Conv2D(4, 3, strides=2, activation="relu"), layers.GlobalAveragePooling2D(), *last]

def network(*first, last):
    keras.utils.set_random_seed(1)
    inputs = tensor = keras.Input((32, 32, 3))
    for layer in [*first, *ending(last)]:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)

def dense(activation=None):
    return layers.Dense(3, activation=activation)

softmax = [dense(), layers.Reshape((3,)), layers.Softmax(), layers.Reshape((3,))]
inner = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, offset=-1)])
imagenet = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506])
less = [-123.7, -116.8, -103.9]
models = {
    "softmax": (network(last=softmax), 255, "softmax"),
    "logits": (network(last=[dense()]), 255, "none"),
    "labels": (network(last=[dense("sigmoid")]), 255, "logistic"),
    "operator": (network(last=[dense(), keras.ops.softmax]), 255, "softmax"),
    "inner": (network(inner, layers.RandomFlip(), last=[dense("softmax")]), 1, "softmax"),
    "imagenet": (network(layers.Rescaling(1 / 255), imagenet, last=[dense("softmax")]), 1, "softmax"),
    "operators": (network(lambda x: x / 127.5, lambda x: x - 1, last=[dense("softmax")]), 1, "softmax"),
    "unit": (network(imagenet, last=[dense("softmax")]), 255, "softmax"),
    "mean": (network(layers.Rescaling(1.0, offset=less), last=[dense("softmax")]), 1, "softmax"),
    "ahead": (keras.Sequential([keras.Input((32, 32, 3)), *ending([dense("softmax")])]), 255, "softmax"),
}
nested = keras.Sequential([keras.Input((32, 32, 3)), models["logits"][0]])
nested.save(f"{folder}/nested.keras")

def features(model, pictures):
    (pool,) = [each for each in model.layers if isinstance(each, layers.GlobalAveragePooling2D)]
    return np.asarray(keras.Model(model.inputs, pool.output)(pictures, training=False))

wanted = {name: features(models[name][0], pictures) for name in ("softmax", "labels")}
np.savez(f"{folder}/features.npz", **wanted)
told = {}
for name, (model, std, activation) in models.items():
    for form in ("keras", "h5") if name in {"softmax", "ahead"} else ("keras",):
        path = f"{folder}/{name}.{form}"
        model.save(path)
        told[path] = std, activation, np.asarray(model(pictures / np.float32(std), training=False)).tolist()
unknown = network(last=[layers.Lambda(lambda x: x)])
unknown.save(f"{folder}/lambda.keras")
unknown.save(f"{folder}/lambda.h5")
json.dump(told, open(f"{folder}/told.json", "w"))
"""
ASKED = """
import json, sys
import numpy as np
from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explainer, default_method
from dropsight.models.backends import open_model
from dropsight.models.spec import ModelOptions

folder, pictures = sys.argv[1], np.load(sys.argv[2])
answers = {}
for path in json.load(open(f"{folder}/told.json")):
    model = open_model(path)
    spec = model.spec
    batch = (pictures / np.float32(spec.normalization.std[0])).astype(np.float32)
    facts = [spec.backend, spec.format, spec.normalization.std[0], spec.normalization_from, spec.activation]
    answers[path] = *facts, model.scores(batch).tolist(), default_method(spec)
wanted = ModelOptions(embeddings=True)
for name, expected in np.load(f"{folder}/features.npz").items():
    model = open_model(f"{folder}/{name}.keras", options=wanted)
    scores = model.scores(pictures.astype(np.float32))
    assert (model.spec.columns, model.spec.features, scores.shape) == (3, 4, (3, 7)), name
    assert np.allclose(scores[:, 3:], expected, rtol=1e-4), name
refusals = []
for attempt in (
    lambda: open_model(f"{folder}/nested.keras", options=wanted),
    lambda: open_model(f"{folder}/lambda.keras"),
    lambda: open_model(f"{folder}/lambda.h5"),
    lambda: Explainer(open_model(f"{folder}/softmax.keras"), "gradcam"),
):
    try:
        attempt()
        refusals.append("none")
    except DropsightError as error:
        refusals.append(str(error))
maps = Explainer(open_model(f"{folder}/softmax.keras"), "occlusion").explain(pictures[0])
shape = maps[0].heatmap.shape
print(json.dumps([answers, refusals, shape, "tensorflow" in sys.modules]))
"""


def python(program: str, *arguments: object, environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    pictures = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    np.save(folder / "pictures.npy", pictures)
    python(MADE, folder, folder / "pictures.npy", environ={"KERAS_BACKEND": "jax"})
    return folder


@pytest.fixture(scope="module")
def answered(folder: Path) -> Any:
    """What dropsight says where there is no TensorFlow, of all models."""
    environment = {"KERAS_BACKEND": "", "HOME": str(folder)}
    program = f"import os; del os.environ['KERAS_BACKEND']\n{WITHOUT_TENSORFLOW}{ASKED}"
    return json.loads(python(program, folder, folder / "pictures.npy", environ=environment).splitlines()[-1])


def test_without_tensorflow_jax_says_what_keras_itself_says(folder: Path, answered: Any) -> None:
    answers, _, _, imported = answered
    told = json.loads((folder / "told.json").read_text())
    for path, (std, activation, expected) in told.items():
        backend, form, found_std, source, found_activation, scores, _ = answers[path]
        assert (backend, form, found_activation) == ("jax", "keras", activation), path
        assert found_std == std, path
        rescales = Path(path).stem in {"inner", "imagenet", "operators", "unit", "mean"}
        assert source == ("graph" if rescales else "default"), path
        assert np.allclose(scores, expected, atol=1e-5), path
    assert len(told) == 12
    assert not imported


def test_without_tensorflow_maps_by_gradients_say_what_they_need_and_others_work(answered: Any) -> None:
    answers, (*_, refused), shape, _ = answered
    assert "gradcam needs TensorFlow" in refused
    assert "rise explain it" in refused
    assert {answer[-1] for answer in answers.values()} == {"rise"}
    assert shape == [32, 32]


def test_without_tensorflow_embeddings_are_of_the_layer_before_the_last_or_refused(answered: Any) -> None:
    """What they are is compared within the process that asks."""
    _, (of_nested, *_), _, _ = answered
    assert (
        "gives no embeddings: its classifier is in a nested model, which can be traced with TensorFlow"
        in of_nested
    )


def test_lambda_layers_are_run_by_no_backend(answered: Any) -> None:
    _, (_, of_keras, of_h5, _), _, _ = answered
    assert "Lambda" in of_keras
    assert "Lambda" in of_h5


def test_the_backend_of_keras_is_shown_and_one_that_is_not_there_named(folder: Path) -> None:
    path = str(folder / "softmax.keras")
    shown = dropsight("inspect", path, environ={"KERAS_BACKEND": "jax"})
    assert "jax" in shown.stdout, shown.stderr
    refused = dropsight("inspect", path, environ={"KERAS_BACKEND": "theano"})
    assert refused.returncode != 0
    assert "KERAS_BACKEND is theano, not tensorflow, jax or torch" in refused.stderr
