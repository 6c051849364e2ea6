"""Backends: which one a file is for, and those that other packages bring."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemons import PHOTOS, House, dropsight, faults
from dropsight.classify.proved_models import ProvedModels
from dropsight.errors import ModelError
from dropsight.models.backends import open_first
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import BACKENDS, GROUP, format_of
from dropsight.models.spec import ModelOptions

EXAMPLE = Path(__file__).parent / "backend_example"
WITH_EXAMPLE = {"PYTHONPATH": os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")]).rstrip(":")}
MODEL = "COLOURS 8 8\nred 255 0 0\ngreen 0 255 0\nblue 0 0 255\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "three.colours"
    path.write_text(MODEL)
    return path


@pytest.fixture
def green(tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    cv2.imwrite(str(path), np.full((20, 30, 3), (10, 240, 10), np.uint8))
    return path


def package(folder: Path, entries: str, **modules: str) -> dict[str, str]:
    """Install a package into a folder of its own; return the environment that knows it."""
    facts = folder / "broken_colours-2.1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-colours\nVersion: 2.1\n")
    (facts / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(100), "tflite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "keras"),
    ],
)
def test_a_file_is_told_by_its_first_bytes_whatever_its_name(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    found = format_of(tmp_path / "m.onnx")
    assert (found.name, found.backend, found.package) == (expected, BACKENDS[expected], None)


def test_a_folder_is_told_by_the_graph_inside(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder without saved_model\.pb is not a model$"):
        format_of(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert format_of(tmp_path).name == "saved_model"


def test_without_another_package_an_unknown_file_is_what_it_always_was(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"GIF89a")
    with pytest.raises(ModelError, match=r"not a model: its first bytes belong to no known format$"):
        format_of(tmp_path / "m")
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(ModelError, match=r"m: the file is empty$"):
        format_of(tmp_path / "m")


def test_the_backend_of_another_package_classifies_on_the_command_line(model: Path, green: Path) -> None:
    done = dropsight("classify", "--json", "--model", str(model), str(green), environ=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["label"] == "green"
    assert found["confidence"] > 0.99
    alone = dropsight("classify", "--model", str(model), str(green))
    assert "no known format" in alone.stderr


@pytest.mark.slow
def test_inspect_tries_the_backend_of_another_package_and_shows_it(model: Path) -> None:
    """In a process of its own first, which knows the package as well."""
    done = dropsight("inspect", str(model), environ=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr
    shown = {line[:14].strip(): line[15:] for line in done.stdout.splitlines()}
    assert shown["format"] == shown["interpreter"] == "colours"
    assert shown["labels"] == "3 (red, green, blue) from metadata"
    assert shown["layout"] == "NHWC: channels last, from shape"
    damaged = model.with_name("damaged")
    damaged.write_text("COLOURS 8 8\nred 255")
    refused = dropsight("inspect", str(damaged), environ=WITH_EXAMPLE)
    assert refused.returncode == 1
    assert "a line is a name, red, green and blue" in refused.stderr


@pytest.mark.slow
def test_the_daemon_runs_the_backend_of_another_package(tmp_path: Path, model: Path, green: Path) -> None:
    house = House(
        tmp_path, {"model": {"path": model.name}, "inference": {"tta": ["original", "horizontal_flip"]}}
    )
    shutil.move(green, house.inbox)
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once", environ=WITH_EXAMPLE)
    assert done.returncode == 0, done.stderr
    records = {record["image_path"]: record for record in house.records()}
    assert records["green.png"]["label"] == "green"
    assert records["green.png"]["model"]["format"] == "colours"
    assert records[PHOTOS[0].name]["status"] == "ok"
    checked = dropsight("check", "-c", str(house.config), environ=WITH_EXAMPLE)
    assert "three, float32, 3 classes" in checked.stdout


def test_python_may_ask_for_the_format_of_another_package(model: Path, green: Path) -> None:
    asked = "from dropsight import ImageInferenceRuntime as Runtime; import sys; "
    asked += "print(Runtime(sys.argv[1], 'colours').predict(sys.argv[2]).label)"
    command = [sys.executable, "-c", asked, str(model), str(green)]
    done = subprocess.run(
        command, env=os.environ | WITH_EXAMPLE, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "green\n", done.stderr


@pytest.mark.parametrize(
    ("entries", "module", "words"),
    [
        ("colours = gone:BACKEND", "", "ModuleNotFoundError: No module named 'gone'"),
        ("colours = broken:BACKEND", "x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("colours = broken:BACKEND", "BACKEND = 7", "broken:BACKEND is not a dropsight.models.registry"),
        ("tflite = broken:BACKEND", "", "dropsight has a backend of this name itself"),
    ],
)
def test_a_package_that_is_broken_is_named_by_all_who_open_models(
    tmp_path: Path, model: Path, entries: str, module: str, words: str
) -> None:
    environ = package(tmp_path / "site", entries, broken=module)
    house = House(tmp_path, {"model": {"path": model.name}})
    inspected = dropsight("inspect", str(model), environ=environ)
    checked = dropsight("check", "-c", str(house.config), environ=environ)
    assert (inspected.returncode, checked.returncode) == (1, 1)
    (line,) = faults(inspected)
    name = entries.partition(" ")[0]
    for told in (line, checked.stdout):
        assert f"the backend {name} of broken-colours 2.1 does not work: " in told
        assert words in told
        assert "upgrade or uninstall that package" in told


BROKEN = """
import colours, msgspec
from dropsight.models.registry import Backend

BACKEND = Backend("broken:detect", "broken:open_it")

def detect(path, head):
    return head.startswith(b"COLOURS")

def open_it(path, **facts):
    model = colours.open_colours(path, **facts)
    model.spec = msgspec.structs.replace(model.spec, format="mine")
    {step}
    return model
"""


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("raise OSError('no such device')", "OSError: no such device"),
        ("model = 7", "AttributeError: 'int' object has no attribute 'spec'"),
        ("model.scores = lambda batch: 1 / 0", "ZeroDivisionError: division by zero"),
        ("model.spec = 7", "TypeError: its model's spec must be a ModelSpec of the format mine"),
    ],
)
def test_a_backend_that_fails_over_a_model_is_a_model_error_that_names_its_package(
    tmp_path: Path, model: Path, step: str, words: str
) -> None:
    site = tmp_path / "site"
    package(site, "mine = broken:BACKEND", broken=BROKEN.format(step=step))
    shutil.copy(EXAMPLE / "colours.py", site)
    done = dropsight("inspect", str(model), environ={"PYTHONPATH": str(site)})
    (line,) = faults(done)
    assert done.returncode == 1
    assert f"{model}: the backend mine of broken-colours 2.1 does not work: {words}" in line


def test_a_model_that_ours_open_does_not_wait_for_other_packages(tmp_path: Path) -> None:
    """A package that is broken, or slow to be found, does not matter to who does not use it."""
    environ = package(tmp_path / "site", "colours = gone:BACKEND")
    program = "import sys; from dropsight.models.backends import open_model; "
    program += "open_model('builtin:efficientnet_lite0'); print('importlib.metadata' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=os.environ | environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_a_device_is_said_to_compute_no_models_of_a_backend_that_has_none(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    opened = open_first([model], options=ModelOptions(accelerator="gpu"))
    assert str(opened.acceleration) == "the CPU, not the GPU: it computes no colours models"


def test_a_model_is_tried_anew_after_its_package_was_upgraded(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Path(shutil.copytree(EXAMPLE, tmp_path / "site"))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    proved = ProvedModels(tmp_path / "proved")

    def key_after_a_trial() -> str:
        proved.trial(ModelOverrides())(model, ModelOptions())
        proved.passed()
        return (tmp_path / "proved").read_text()

    first = key_after_a_trial()
    assert key_after_a_trial() == first
    facts = site / "colours-1.0.dist-info" / "METADATA"
    facts.write_text(facts.read_text().replace("1.0", "1.1"))
    assert len(key_after_a_trial().split()) == 2
