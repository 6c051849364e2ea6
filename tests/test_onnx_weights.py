"""ONNX models with their weights in a file beside them, as PyTorch writes them, or elsewhere."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from dropsight.errors import ModelError
from dropsight.models import backends
from dropsight.models.backends import signatures
from test_onnx import SIZE, classifier

DATA = "m.onnx.data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, whole.onnx, and the same in two files."""
    model = onnx.load(str(classifier(tmp_path / "whole.onnx")))
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location=DATA, size_threshold=0)
    return tmp_path


def named(folder: Path, **said: str) -> Path:
    """Have the first of its weights say something else of where it is."""
    model = onnx.load(str(folder / "m.onnx"), load_external_data=False)
    for each in model.graph.initializer[0].external_data:
        each.value = said.get(each.key, each.value)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        backends.open_model(path)
    return str(refused.value)


def test_weights_in_a_file_beside_a_model_are_its_weights(folder: Path) -> None:
    batch = np.random.default_rng(3).random((2, 3, SIZE, SIZE), np.float32)
    (folder / "linked").mkdir()
    (link := folder / "linked" / "m.onnx").symlink_to(folder / "m.onnx")
    whole, parted, linked = map(backends.open_model, (folder / "whole.onnx", folder / "m.onnx", link))
    np.testing.assert_array_equal(parted.scores(batch), whole.scores(batch))
    np.testing.assert_array_equal(linked.replicate().scores(batch), whole.scores(batch))


def test_weights_that_are_copied_anew_make_another_model_of_it(folder: Path) -> None:
    before = signatures(folder / "m.onnx")
    os.utime(folder / DATA, ns=(0, 0))
    assert signatures(folder / "m.onnx") != before


@pytest.mark.parametrize("place", ["../m.onnx.data", "{folder}/m.onnx.data", "m.onnx", "s\0.data", "", ".."])
def test_weights_are_read_from_no_other_place_than_the_model_s_folder(folder: Path, place: str) -> None:
    told = refusal(named(folder, location=place.format(folder=folder)))
    assert "only files beside it on .data, _data, .bin or .weights are read; write both into one:" in told


def test_weights_that_are_a_link_a_folder_or_a_pipe_are_refused_and_not_waited_for(folder: Path) -> None:
    path, data = folder / "m.onnx", folder / DATA
    data.rename(folder / "other")
    assert refusal(path) == f"{path}: its weights are in {DATA}: put that file beside it, too"
    data.symlink_to(folder / "other")
    assert f"its weights, {DATA}, cannot be read" in refusal(path)
    for make in (os.mkfifo, os.mkdir):
        data.unlink()
        make(data)
        assert f"its weights, {DATA}, are no file" in refusal(path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"offset": "99999999"}, "is cut off, or another model's"),
        ({"length": "99999999"}, "is cut off, or another model's"),
        ({"length": "-1"}, "damaged"),
        ({"offset": "9" * 5000}, "damaged"),
        ({"length": "3"}, "ONNX Runtime cannot load it"),
    ],
)
def test_places_that_are_not_in_the_file_are_refused(folder: Path, said: dict[str, str], told: str) -> None:
    assert told in refusal(named(folder, **said))


def test_a_terabyte_of_weights_is_not_read(folder: Path) -> None:
    os.truncate(folder / DATA, 2**40)
    told = refusal(named(folder, length=str(2**39)))
    assert told.endswith("with its weights it has more than 2,147,483,648 bytes")
