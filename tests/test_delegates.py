"""A device that computes the model, or the CPU and a word of why."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema_of

from brokers import wait_until
from daemons import House, command, dropsight
from dropsight.classify.engine import open_engine
from dropsight.classify.proved_models import ProvedModels
from dropsight.config import Config, Delegate, Inference, ModelSettings, dump, load, schema
from dropsight.errors import ConfigError, ModelError
from dropsight.models.backends import locate, open_first
from dropsight.models.isolated import try_model
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import Acceleration, Kernels, ModelOptions
from dropsight.sinks.reports import info
from tiny_tflite import tiny

BUILTIN = "builtin:efficientnet_lite0"
SOURCE = Path(__file__).with_name("delegate.c")
COMPILER = shutil.which("cc")
VULKAN = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
compiles = pytest.mark.skipif(
    COMPILER is None, reason="needs cc, a C compiler (apt-get install gcc libc6-dev)"
)
draws = pytest.mark.skipif(not VULKAN.exists(), reason="needs Chromium's Vulkan in software")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("delegate") / "libtest.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", made, SOURCE], check=True)
    return str(made)


def config(library: str, **options: str | int) -> Config:
    settings = ModelSettings(delegate=Delegate(library, options))
    return Config(model=settings, inference=Inference(workers=2))


@compiles
def test_a_delegate_that_works_computes_what_it_has_taken_with_one_worker(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(config(library, how="works", retries=3))
    device = f"the delegate {library}"
    assert engine.acceleration == Acceleration(device, taken=1, operators=61)
    assert engine.plan.spec.kernels == Kernels(xnnpack=60, operators=60)
    (model,) = engine.models
    for each in (model, model.replicate()):
        (scores,) = each.scores(np.zeros((1, 224, 224, 3), np.int8))
        # It writes no others: they have what lay there before.
        assert scores[:4].tolist() == [0.5, 0.5, 0.375, 0.75]
    assert f"inference.workers: has no effect, there is one for {device}" in caplog.text


@compiles
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("nothing", "Failed to load delegate"),
        ("unprepared", "delegate application failure"),
        ("idle", "it supports none of the model's 61 operators"),
        ("crashes", "it crashes the process that opens it by SIGSEGV: the delegate"),
    ],
)
def test_a_delegate_that_does_not_work_leaves_the_model_to_the_cpu_with_the_reason(
    library: str, how: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(library, how=how)
    engine = open_engine(settings)
    found = engine.acceleration
    assert found is not None
    assert found.fault is not None
    assert why in found.fault
    assert len(engine.models) == 2
    assert engine.plan.spec.acceleration is None
    assert why in caplog.text
    told = json.loads(info(settings, engine, instance="i", started=0.0))["model"]["acceleration"]
    assert (told["device"], told["fault"]) == (found.device, found.fault)


def test_a_library_that_is_not_there_leaves_the_model_to_the_cpu() -> None:
    engine = open_engine(config("libnowhere.so.1"))
    assert "libnowhere.so.1: cannot open shared object file" in str(engine.acceleration)


@compiles
@pytest.mark.parametrize("operator", ["edgetpu-custom-op", "ethos-u"])
def test_a_model_compiled_for_a_processor_is_its_delegate_s_and_nobody_else_s(
    library: str, tmp_path: Path, operator: str
) -> None:
    """Its softmax is hidden in what was compiled: what its output stands for tells."""
    model = tmp_path / "m.tflite"
    model.write_bytes(with_probabilities(tiny([("uint8", (1, 8, 8, 3))], [("uint8", (1, 4))], operator)))
    options = ModelOptions(delegate=Delegate(library))
    opened, _, acceleration = open_first([model], options=options)
    assert acceleration == Acceleration(f"the delegate {library}", taken=1, operators=1)
    assert (opened.spec.activation, opened.spec.kernels) == ("softmax", None)
    assert opened.scores(np.zeros((1, 8, 8, 3), np.uint8)).tolist() == [[0, 0, 0.875, 0.25]]
    broken = ModelOptions(delegate=Delegate(library, {"how": "nothing"}))
    with pytest.raises(ModelError, match=r"compiled for .* does not compute it: Failed to load delegate"):
        open_first([model], options=broken)


def with_probabilities(content: bytes) -> bytes:
    """Have its only operator compute its output, as a softmax of 8 bits is laid down."""
    tree = schema_of.ModelT.InitFromObj(schema_of.Model.GetRootAs(content, 0))
    (graph,) = tree.subgraphs
    graph.operators[0].outputs, output = graph.outputs, graph.tensors[-1]
    output.buffer = 0
    output.quantization = schema_of.QuantizationParametersT()
    output.quantization.scale, output.quantization.zeroPoint = [1 / 256], [0]
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.slow
@compiles
def test_a_delegate_that_hangs_hangs_its_trial_only(library: str) -> None:
    options = ModelOptions(delegate=Delegate(library, {"how": "hangs"}))

    def trial(path: str | Path, tried: ModelOptions) -> None:
        seconds = 2 if tried.device else 100
        try_model(locate(path), said=ModelOverrides(), options=tried, seconds=seconds)

    opened, _, acceleration = open_first([BUILTIN], options=options, trial=trial)
    assert opened.spec.acceleration is None
    assert "opening it takes longer than 2 s" in str(acceleration)


@pytest.mark.slow
@compiles
def test_what_ended_the_daemon_after_its_trial_is_left_alone_at_the_next_start_only(
    library: str, tmp_path: Path
) -> None:
    """Else it would crash at every start."""
    options = ModelOptions(delegate=Delegate(library))
    file = tmp_path / "proved"
    ProvedModels(file).trial(ModelOverrides())(BUILTIN, options)
    with pytest.raises(ModelError, match="the daemon ended while it opened the model there"):
        ProvedModels(file).trial(ModelOverrides())(BUILTIN, options)
    third = ProvedModels(file)
    third.trial(ModelOverrides())(BUILTIN, options)
    third.passed()
    ProvedModels(file).trial(ModelOverrides())(BUILTIN, options)


@pytest.mark.slow
@compiles
def test_everybody_hears_of_the_device_and_a_reload_takes_another(library: str, tmp_path: Path) -> None:
    """One process only can have it: the trial of a reload finds it taken by the daemon that asks."""

    def delegate(**options: str) -> dict[str, object]:
        return {"delegate": {"library": library, "options": options}}

    settings = {"model": delegate(how="nothing"), "inference": {"workers": 1}}
    house = House(tmp_path, settings)
    house.start()
    try:
        assert "Failed to load delegate" in house.status()["troubles"]["accelerator"]
        assert "runs on    the CPU, not the delegate" in dropsight("status", "-c", str(house.config)).stdout
        checked = dropsight("check", "-c", str(house.config))
        assert "FAIL  runs on  the CPU, not the delegate" in checked.stdout
        house.configure(settings | {"model": delegate(device=str(tmp_path / "device"))})
        assert "is in use" in house.ask("reload")["result"]
        assert "accelerator" not in house.status()["troubles"]
        assert house.status()["model"]["acceleration"]["taken"] == 1
        told = "ok    runs on  the delegate"
        assert told in dropsight("check", "-c", str(house.config)).stdout
        assert "nothing has changed" in house.ask("reload")["result"]
        assert house.status()["model"]["acceleration"]["fault"] is None
        house.configure(
            settings | {"model": delegate(device=str(tmp_path / "device")), "queue": {"order": "fair"}}
        )
        assert "restarting" in house.ask("reload")["result"]
        wait_until(lambda: house.daemon_log().count("ready: ") == 2 and house.answers())
        assert house.status()["model"]["acceleration"]["fault"] is None
    finally:
        house.kill()


def gpu(name: str, folder: Path, vulkan: Path) -> str:
    (folder / "dropsight.yaml").write_text("model: {accelerator: gpu}\nmqtt: null\nweb: null\n")
    surroundings = os.environ | {"VK_ICD_FILENAMES": str(vulkan), "LD_LIBRARY_PATH": str(vulkan.parent)}
    done = subprocess.run(
        command(name, "-c", "dropsight.yaml"),
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@draws
def test_a_gpu_computes_the_model_as_the_cpu_does(tmp_path: Path) -> None:
    said = gpu("check", tmp_path, VULKAN)
    assert "ok    runs on  the GPU, for all 61 operators" in said
    assert "a cat is" in said
    cat = next(line for line in said.splitlines() if "a cat is" in line)
    (tmp_path / "dropsight.yaml").write_text("mqtt: null\nweb: null\n")
    other = next(
        line
        for line in dropsight("check", "-c", "dropsight.yaml", cwd=tmp_path).stdout.splitlines()
        if "a cat is" in line
    )
    shares = re.compile(r"[0-9.]+(?=%)")
    assert shares.sub("", cat.partition(" in ")[0]) == shares.sub("", other.partition(" in ")[0])
    for one, two in zip(shares.findall(cat), shares.findall(other), strict=True):
        assert abs(float(one) - float(two)) <= 1.6  # two steps of the output, and as many of the group's


@pytest.mark.slow
def test_where_there_is_no_gpu_the_cpu_computes_and_inspect_says_so(tmp_path: Path) -> None:
    said = gpu("inspect", tmp_path, tmp_path / "no_icd.json")
    assert "runs on the CPU, not the GPU: " in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "delegate: {options: {device: usb}}",
            "model.delegate.library: is missing; give the name or the path",
        ),
        ("delegate: ''", 'model.delegate.library: cannot be ""; give the name or the path'),
        (
            "delegate: {library: a.so, options: {device: [1]}}",
            "model.delegate.options.device: cannot be a list",
        ),
        ("accelerator: npu", 'model.accelerator: cannot be "npu"; did you mean gpu?'),
        ("{delegate: a.so, accelerator: gpu}", "model.accelerator: has no effect beside model.delegate"),
    ],
)
def test_what_cannot_be_a_device_is_told_by_its_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text(f"model: {text if text.startswith('{') else '{' + text + '}'}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert any(told in fault for fault in caught.value.faults), caught.value.faults


def test_a_library_is_found_by_its_name_or_beside_the_config(tmp_path: Path) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text("model: {delegate: libedgetpu.so.1}\n")
    assert load(path).model.delegate == Delegate("libedgetpu.so.1")
    environ = {"DROPSIGHT_MODEL__DELEGATE__OPTIONS__DEVICE": "usb"}
    path.write_text("model: {delegate: {library: lib/mine.so, options: {threads: 2}}}\n")
    made = load(path, environ=environ)
    assert made.model.delegate == Delegate(str(tmp_path / "lib/mine.so"), {"threads": 2, "device": "usb"})
    path.write_text(dump(made))
    assert load(path).model == made.model
    ways = schema()["properties"]["model"]["properties"]["delegate"]["anyOf"]  # type: ignore[index]
    assert [way["type"] for way in ways] == ["object", "string", "null"]
