"""Labels and normalisation out of TFLite metadata, as TF Hub's models carry it."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import flatbuffers
import pytest
import yaml

from daemons import dropsight
from dropsight.bounded import LABELS_BYTES
from dropsight.errors import ModelError
from dropsight.models.backends import locate, open_model
from dropsight.models.overrides import ModelOverrides
from dropsight.records import Normalization

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

from tflite_metadata import metadata, with_metadata  # noqa: E402


def test_normalization_and_labels_of_the_metadata_are_used_and_named(tmp_path: Path) -> None:
    names = "\n".join(f"thing {number}." for number in range(1000))
    block = metadata(127.5, 63.75, "names.txt")
    path = tmp_path / "hub.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, block, {"names.txt": names}))
    (tmp_path / "hub.yaml").write_text("normalization: {mean: [1], std: [1]}")
    spec = open_model(path).spec
    assert spec.normalization == Normalization((127.5,), (63.75,))
    assert spec.labels[281] == "thing 281."
    assert (spec.normalization_from, spec.labels_from) == ("metadata", "metadata")


def test_damaged_metadata_reads_as_none_and_is_said(tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, b"\xff" * 64, {}))
    spec = open_model(path).spec
    assert spec.normalization_from == "quantization"
    assert spec.faults == ("its metadata is damaged: its labels and normalization are ignored",)


def hub(folder: Path, *, mean: float = 127.5, std: float = 63.75, files: Mapping[str, str]) -> Path:
    """A model as TF Hub has it."""
    path = folder / "hub.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, metadata(mean, std, "names.txt"), dict(files)))
    return path


NAMES = {"names.txt": "\n".join(f"thing {number}." for number in range(1000))}


@pytest.mark.slow
def test_damaged_labels_within_a_model_are_said_once_by_each_command_and_the_daemon(tmp_path: Path) -> None:
    path = hub(tmp_path, files=NAMES)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"thing 281.", b"thing 2B1."))
    spec = open_model(path).spec
    assert spec.labels_from == "default"
    (fault,) = spec.faults
    assert fault.startswith("names.txt, the labels in its metadata, cannot be read: Bad CRC-32")
    config = tmp_path / "dropsight.yaml"
    config.write_text(yaml.safe_dump({"mqtt": None, "web": None, "model": {"path": str(path)}}))
    assert dropsight("check", "-c", str(config)).stdout.count(f"warn  model    {fault}") == 1
    assert dropsight("inspect", str(path)).stderr.count(f"{path}: {fault}") == 1
    assert dropsight("run", "-c", str(config), "--once").stderr.count(f"{path}: {fault}") == 1


@pytest.mark.parametrize("files", [{}, {"names.txt": "x" * (LABELS_BYTES + 1)}], ids=["gone", "too large"])
def test_labels_within_a_model_that_are_gone_or_too_large_are_said(
    tmp_path: Path, files: dict[str, str]
) -> None:
    (fault,) = open_model(hub(tmp_path, files=files)).spec.faults
    assert fault.startswith("names.txt, the labels in its metadata, cannot be read: ")


@pytest.mark.parametrize(
    ("mean", "std"), [(math.nan, 1), (math.inf, 1), (1, math.nan), (1, math.inf), (1, 0)]
)
def test_a_normalization_that_is_no_number_is_refused_unless_the_config_has_another(
    tmp_path: Path, mean: float, std: float
) -> None:
    path = hub(tmp_path, mean=mean, std=std, files=NAMES)
    with pytest.raises(ModelError, match=r"metadata.*finite numbers"):
        open_model(path)
    said = ModelOverrides(normalization=Normalization((1.0,), (2.0,)))
    assert open_model(path, said=said).spec.normalization_from == "config"
    (tmp_path / "plain.yaml").write_text(f"normalization: {{mean: [{yaml_number(mean)}], std: [.inf]}}")
    plain = Path(shutil.copy(locate("builtin:efficientnet_lite0"), tmp_path / "plain.tflite"))
    with pytest.raises(ModelError, match=r"plain\.yaml.*finite numbers"):
        open_model(plain)


def yaml_number(value: float) -> str:
    return str(yaml.safe_dump(float(value)).split()[0])


@pytest.mark.parametrize("scale", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("side", ["input", "output"])
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, side: str, scale: float) -> None:
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(locate("builtin:efficientnet_lite0").read_bytes(), 0)
    )
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.inputs[0] if side == "input" else graph.outputs[0]]
    tensor.quantization.scale = [scale]
    builder = flatbuffers.Builder(6_000_000)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "odd.tflite"
    path.write_bytes(builder.Output())
    with pytest.raises(ModelError, match=rf"odd\.tflite: .*({scale:g}|cannot load)"):
        open_model(path)
