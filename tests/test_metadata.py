"""Labels and normalisation out of TFLite metadata, as TF Hub's models carry it."""

from pathlib import Path

import pytest

from dropsight.models.registry import locate, open_model
from dropsight.records import Normalization

pytest.importorskip("ai_edge_litert.schema_py_generated")

from tflite_metadata import metadata, with_metadata


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


def test_damaged_metadata_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, b"\xff" * 64, {}))
    assert open_model(path).spec.normalization_from == "default"
