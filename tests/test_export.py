"""Exporting an architecture from the command line."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daemons import PHOTOS
from dropsight import ImageInferenceRuntime
from dropsight.records import Normalization

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


Export = Callable[..., object]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Run the script with these arguments in this process; return its exit code."""
    pytest.importorskip("tensorflow")
    import export_model

    def run(*arguments: str) -> object:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["export_model.py", *arguments])
        try:
            export_model.main()
        except SystemExit as ended:
            return ended.code
        return 0

    return run


def test_an_exported_architecture_carries_its_labels_and_its_own_normalization(
    tmp_path: Path, export: Export
) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    code = export(
        *("--arch", "MobileNetV2", "--classes", "3", "--labels", "names.txt"),
        *("--formats", "keras", "float32", "-o", "out"),
    )
    assert code == 0
    lite, full = (
        ImageInferenceRuntime(tmp_path / "out" / name, top_k=3)
        for name in ("mobilenetv2_float32.tflite", "mobilenetv2.keras")
    )
    assert lite.spec.labels == full.spec.labels == ("ant", "bee", "cat")
    assert lite.spec.normalization == Normalization((127.5,), (127.5,))
    one, other = (
        {each.label: each.confidence for each in r.predict(PHOTOS[0]).predictions} for r in (lite, full)
    )
    assert np.abs([one[label] - other[label] for label in one]).max() <= 1e-4


def test_integers_without_representative_photos_are_refused_at_once(
    export: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--arch", "MobileNetV2", "--classes", "3", "--formats", "int8") == 2
    assert "need --representative" in capsys.readouterr().err
