"""Exporting an architecture from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daemons import PHOTOS, ROOT
from dropsight import ImageInferenceRuntime
from dropsight.records import Normalization

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SCRIPT = str(ROOT / "scripts" / "export_model.py")


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("tensorflow")
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_an_exported_architecture_carries_its_labels_and_its_own_normalization(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    done = export(
        tmp_path,
        *("--arch", "MobileNetV2", "--classes", "3", "--labels", "names.txt"),
        *("--formats", "keras", "float32", "-o", "out"),
    )
    assert done.returncode == 0, done.stderr
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


def test_integers_without_representative_photos_are_refused_at_once(tmp_path: Path) -> None:
    done = export(tmp_path, "--arch", "MobileNetV2", "--classes", "3", "--formats", "int8")
    assert done.returncode == 2
    assert "need --representative" in done.stderr
