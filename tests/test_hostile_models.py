"""Models that are made to do harm: one clear error each, bounded memory, and nothing of theirs is run."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.overrides import ModelOverrides
from tiny_tflite import tiny

heavy = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Keras and TensorFlow warn of each other
]
GIB = 2**30
Layer = dict[str, Any]


def all_of_them(function: Any) -> Any:
    for mark in heavy:
        function = mark(function)
    return function


def refusal(path: Path, **said: Path) -> str:
    with pytest.raises(ModelError) as refused:
        open_model(path, said=ModelOverrides(**said))  # type: ignore[arg-type] # labels
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "beside"),
    [("labels.txt", {}), ("m.yaml", {}), ("mine.txt", {"labels": "mine.txt"})],
)
def test_a_gigabyte_of_labels_or_sidecar_is_not_read(
    tmp_path: Path, name: str, beside: dict[str, str]
) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tiny([("float32", (1, 16, 16, 3))], [("float32", (1, 3))]))
    with (tmp_path / name).open("wb") as large:
        large.truncate(GIB)
    told = refusal(model, **{key: tmp_path / value for key, value in beside.items()})
    assert str(tmp_path / name) in told
    assert "more than" in told


def test_a_model_cut_off_at_any_sixteenth_is_refused(tmp_path: Path) -> None:
    content = tiny([("float32", (1, 16, 16, 3))], [("float32", (1, 3))])
    for told in cut_off(tmp_path, content, "m.tflite"):
        assert told.endswith(
            ("damaged or truncated", "its first bytes belong to no known format", "the file is empty")
        )


def cut_off(folder: Path, content: bytes, name: str) -> Iterator[str]:
    for part in range(16):
        (path := folder / f"{part}{name}").write_bytes(content[: len(content) * part // 16])
        yield refusal(path)


# -- Keras and TensorFlow -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model in Keras's forms, m.keras, m.h5 and the folder m, small as they get."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("saved")
    layers = [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()]
    model = keras.Sequential(layers)
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.export(str(folder / "m"), verbose=False)
    return folder


def with_layer(source: Path, path: Path, layer: Layer) -> Path:
    """Put a layer before the last one."""

    def changed(text: str) -> str:
        description = json.loads(text)
        description["config"]["layers"].insert(-1, layer)
        return json.dumps(description)

    if source.suffix == ".h5":
        shutil.copy(source, path)
        with import_module("h5py").File(path, "a") as archive:
            archive.attrs["model_config"] = changed(archive.attrs["model_config"])
        return path
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, changed(content.decode()) if name == "config.json" else content)
    return path


def lambda_layer(_: Path) -> Layer:
    import keras

    layer: Layer = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda batch: batch * 2))
    return json.loads(json.dumps(layer))  # type: ignore[no-any-return]


def within_another(_: Path) -> Layer:
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [lambda_layer(_)]}}
    return {"class_name": "TimeDistributed", "config": {"name": "outer", "layer": inner}}


def of_another_file(folder: Path) -> Layer:
    config = {"name": "other", "filepath": str(folder / "m"), "call_endpoint": "serving_default"}
    return {"module": "keras.layers", "class_name": "TFSMLayer", "config": config}


def of_another_module(_: Path) -> Layer:
    config = {"args": ["touch", "touched"]}
    return {
        "module": "subprocess",
        "class_name": "Popen",
        "config": config,
        "registered_name": "Popen",
    }


@all_of_them
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda_layer, "its Lambda layer is code"),
        (within_another, "its Lambda layer is code"),
        (of_another_file, "its TFSMLayer is a model in another file"),
        (of_another_module, "its Popen is code of the module subprocess"),
    ],
)
def test_what_is_code_in_a_keras_model_is_refused_however_deep(
    saved: Path, tmp_path: Path, suffix: str, made: Callable[[Path], Layer], told: str
) -> None:
    path = with_layer(saved / f"m{suffix}", tmp_path / f"m{suffix}", made(saved))
    assert refusal(path).startswith(f"{path}: {told}")
    assert not Path("touched").exists()


@all_of_them
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_is_found_in_a_file_that_is_two_models_at_once(saved: Path, tmp_path: Path, suffix: str) -> None:
    """An archive may begin anywhere in a file: Keras goes by the name."""
    path = with_layer(saved / "m.h5", tmp_path / f"m{suffix}", lambda_layer(saved))
    with path.open("ab") as file:
        file.write((saved / "m.keras").read_bytes())
    assert refusal(path).startswith(f"{path}: its Lambda layer is code")


@all_of_them
def test_why_keras_cannot_load_a_layer_comes_without_its_preamble(saved: Path, tmp_path: Path) -> None:
    config = {"name": "lookup", "vocabulary": "/etc/passwd"}
    layer = {"module": "keras.layers", "class_name": "StringLookup", "config": config}
    told = refusal(with_layer(saved / "m.keras", tmp_path / "m.keras", layer))
    assert "could not be deserialized properly" not in told


@all_of_them
@pytest.mark.parametrize("name", ["config.json", "assets/a.txt"])
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_not_unpacked(
    saved: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(saved / "m.keras") as source, zipfile.ZipFile(path, "w") as other:
        for each in set(source.namelist()) - {name}:
            other.writestr(each, source.read(each))
        other.writestr(name, bytes(10**8), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    assert "the file is damaged: it unpacks to" in refusal(path)


@all_of_them
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_keras_model_cut_off_at_any_sixteenth_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    for told in cut_off(tmp_path, (saved / name).read_bytes(), name):
        assert any(each in told for each in ("Keras cannot load it", "no known format", "the file is empty"))


@all_of_them
def test_a_saved_model_of_which_a_file_is_cut_off_at_any_sixteenth_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    class Weighed(tf.Module):  # type: ignore[misc] # TensorFlow ships no types
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.ones((3, 4), np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, batch: Any) -> Any:
            return tf.reduce_mean(batch, (1, 2)) @ self.weights

    tf.saved_model.save(Weighed(), str(tmp_path / "m"))
    open_model(tmp_path / "m")
    files = [path for path in (tmp_path / "m").rglob("*") if path.name.startswith(("saved_", "variables."))]
    assert len(files) == 3
    for file in files:
        content = file.read_bytes()
        for part in range(16):
            file.write_bytes(content[: len(content) * part // 16])
            assert str(tmp_path / "m") in refusal(tmp_path / "m")
        file.write_bytes(content)


def write_a_file(path: str) -> None:
    import_module("tensorflow").io.write_file(path, "x")


def save_a_checkpoint(path: str) -> None:
    raw = import_module("tensorflow").raw_ops
    raw.SaveV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[1.0])


def end_the_process(_: str) -> None:
    import_module("tensorflow").raw_ops.Abort(exit_without_error=True)


@all_of_them
@pytest.mark.parametrize(
    ("write", "operator"),
    [(write_a_file, "WriteFile"), (save_a_checkpoint, "SaveV2"), (end_the_process, "Abort")],
)
def test_a_saved_model_that_writes_files_is_refused_before_it_does(
    tmp_path: Path, write: Callable[[str], None], operator: str
) -> None:
    """What initializes it would run while it is loaded; what saves its own checkpoint is in each."""
    import tensorflow as tf

    class Writing(tf.Module):  # type: ignore[misc] # TensorFlow ships no types
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, batch: Any) -> Any:
            write(str(tmp_path / "touched"))
            return tf.reduce_mean(batch, (1, 2))

    tf.saved_model.save(Writing(), str(tmp_path / "m"))
    assert refusal(tmp_path / "m").startswith(f"{tmp_path / 'm'}: its {operator} reaches out of the model")
    assert not list(tmp_path.glob("touched*"))


@pytest.mark.parametrize(
    "name",
    [
        "FlexReadFile",
        "FlexPyFunc",
        "FlexCalibrationStatisticsSaver",
        "FlexAbort",
        "FlexPrint",
        "FlexDecodeProtoV2",
    ],
)
def test_an_operator_of_tensorflow_s_own_that_reaches_out_of_a_tflite_model_is_refused(
    tmp_path: Path, name: str
) -> None:
    """TensorFlow before 2.19 would run it."""
    (model := tmp_path / "m.tflite").write_bytes(
        tiny([("float32", (1, 16, 16, 3))], [("float32", (1, 3))], custom=name)
    )
    assert f"its {name.removeprefix('Flex')} reaches out of the model" in refusal(model)


@all_of_them
def test_an_operator_that_fails_while_a_model_runs_is_the_model_s_error(tmp_path: Path) -> None:
    import tensorflow as tf

    class Choosy(tf.Module):  # type: ignore[misc] # TensorFlow ships no types
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, batch: Any) -> Any:
            tf.debugging.assert_less(batch, 0.5)
            return tf.reduce_mean(batch, (1, 2))

    tf.saved_model.save(Choosy(), str(tmp_path / "m"))
    model = open_model(tmp_path / "m")
    with pytest.raises(ModelError, match="assertion failed"):
        model.scores(np.ones((1, 8, 8, 3), np.float32))
