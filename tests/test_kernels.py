"""Whether an interpreter's fast kernels are at work is known when a model is opened, and said."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, command, dropsight
from dropsight.models.backends import open_model
from dropsight.models.spec import Kernels

WITHOUT_PROCESSOR = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t proc -o subset=pid proc /proc && exec "$@"',
    "-",
]
"""What ProcSubset=pid makes of /proc."""


def why_it_cannot_be_hidden() -> str | None:
    if shutil.which("unshare") is None:
        return "needs unshare"
    tried = subprocess.run([*WITHOUT_PROCESSOR, "true"], capture_output=True, text=True, check=False)
    return f"/proc cannot be mounted anew here: {tried.stderr.strip()}" if tried.returncode else None


CANNOT = why_it_cannot_be_hidden()
hides = pytest.mark.skipif(CANNOT is not None, reason=str(CANNOT))


def hidden(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WITHOUT_PROCESSOR, *command(*arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_of_the_bundled_model_xnnpack_computes_all_but_the_last_operator() -> None:
    """Its softmax is of eight bits, which XNNPACK leaves to others."""
    assert open_model("builtin:efficientnet_lite0").spec.kernels == Kernels(xnnpack=60, operators=61)


@pytest.mark.slow
def test_every_command_says_that_the_fast_kernels_are_at_work(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    house.start()
    try:
        assert house.status()["model"]["kernels"] == {"xnnpack": 60, "operators": 61, "fault": None}
        assert (
            "kernels    XNNPACK, for 60 of 61 operators"
            in dropsight("status", "-c", str(house.config)).stdout
        )
        assert "kernels: XNNPACK, for 60 of 61 operators" in house.daemon_log()
    finally:
        house.kill()
    assert "ok    kernels  XNNPACK" in dropsight("check", "-c", str(house.config)).stdout


@pytest.mark.slow
@hides
def test_inspect_check_and_classify_say_that_the_processor_is_hidden(tmp_path: Path) -> None:
    facts = json.loads(hidden("inspect", "builtin:efficientnet_lite0", "--json", cwd=tmp_path).stdout)
    assert facts["kernels"]["xnnpack"] == 0
    assert "ProcSubset=all" in facts["kernels"]["fault"]
    assert "/proc/cpuinfo is hidden" in hidden("inspect", "builtin:efficientnet_lite0", cwd=tmp_path).stdout
    (tmp_path / "dropsight.yaml").write_text("mqtt: null\n")
    checked = hidden("check", "-c", "dropsight.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    assert "FAIL  kernels  the model runs many times slower than it could" in checked.stdout
    assert hidden("classify", str(PHOTOS[0]), cwd=tmp_path).stderr.count("ProcSubset=all") == 1


@pytest.mark.slow
@hides
@pytest.mark.broker
def test_a_daemon_that_cannot_see_its_processor_says_so_everywhere(
    hidden_house: House, broker: Mosquitto
) -> None:
    """It classified a hundred times slower than it could, and nobody heard of it."""
    with Subscriber(broker.port) as subscriber:
        wait_until(lambda: bool(subscriber.topics("/info") and subscriber.topics("/stats")))
        info, stats = (json.loads(subscriber.topics(part)[-1]) for part in ("/info", "/stats"))
    assert "ProcSubset=all" in info["model"]["kernels"]["fault"]
    assert "ProcSubset=all" in stats["troubles"]["kernels"]
    assert "ProcSubset=all" in hidden_house.status()["troubles"]["kernels"]
    shown = dropsight("status", "-c", str(hidden_house.config)).stdout
    assert "trouble    kernels: the model runs many times slower than it could" in shown
    assert hidden_house.daemon_log().count("/proc/cpuinfo is hidden") == 1


@hides
@pytest.mark.broker
@pytest.mark.slow
def test_the_trouble_ends_with_a_reload_to_a_model_that_has_its_fast_kernels(
    hidden_house: House, broker: Mosquitto
) -> None:
    """Within one process XNNPACK does not start a second time; ONNX needs none."""
    pytest.importorskip("onnx")
    from test_onnx import classifier

    classifier(hidden_house.root / "m.onnx")
    mqtt = {"url": broker.url}
    settings = {"device": "test", "mqtt": mqtt, "web": None, "model": {"path": "m.onnx"}}
    hidden_house.config.write_text(json.dumps(settings))
    assert hidden_house.ask("reload")["ok"]
    # It has another number of workers, so that the daemon restarts.
    wait_until(lambda: "restarting with the new config" in hidden_house.daemon_log())
    wait_until(lambda: hidden_house.daemon_log().count("ready: ") == 2 and hidden_house.answers())
    assert hidden_house.status()["model"]["format"] == "onnx"
    assert "kernels" not in hidden_house.status()["troubles"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as started:
        yield started


@pytest.fixture
def hidden_house(tmp_path: Path, broker: Mosquitto) -> Iterator[House]:
    """A daemon that cannot see its processor."""
    house = House(tmp_path, {"mqtt": {"url": broker.url}})
    house.under = WITHOUT_PROCESSOR
    house.start()
    try:
        yield house
    finally:
        house.kill()


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Keras and TensorFlow warn of each other
def test_a_model_of_operators_that_xnnpack_does_not_have_is_no_trouble(tmp_path: Path) -> None:
    """Activations of sixteen bits are the interpreter's own; the machine is as it should be."""
    (tmp_path / "m.tflite").write_bytes(sixteen_bits())
    kernels = open_model(tmp_path / "m.tflite").spec.kernels
    assert kernels is not None
    assert (kernels.xnnpack, kernels.fault) == (0, None)
    assert "supports none of the model's" in str(kernels)


def sixteen_bits() -> bytes:
    tf = pytest.importorskip("tensorflow")
    from builds import SIZE, sequential

    converter = tf.lite.TFLiteConverter.from_keras_model(sequential())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pictures = np.random.default_rng(0).random((4, 1, SIZE, SIZE, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([picture] for picture in pictures)
    both = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [both]
    content: bytes = converter.convert()
    return content


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Keras and TensorFlow warn of each other
def test_where_only_tensorflow_is_installed_its_interpreter_is_taken() -> None:
    """The module of that name is another thing than the attribute."""
    pytest.importorskip("tensorflow")
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None\n"
        "from dropsight.models.backends import open_model\n"
        "spec = open_model('builtin:efficientnet_lite0').spec; print(spec.backend, spec.kernels)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "tensorflow XNNPACK, for 60 of 61 operators\n", done.stderr
