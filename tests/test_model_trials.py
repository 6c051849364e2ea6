"""The process in which a model is tried before it is opened: whatever befalls it is that model's fault."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, dropsight
from dropsight.children import LEAST_MEMORY_BYTES
from dropsight.classify import engine
from dropsight.config import Config, Inference, ModelSettings
from dropsight.crashpoints import HANG_VARIABLE, RAISE_VARIABLE, VARIABLE
from dropsight.errors import ConfigError, ModelError
from dropsight.models.backends import locate, open_first
from dropsight.models.isolated import REFUSED, try_in_a_copy, try_model
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions
from dropsight.status import systemd
from dropsight.status.systemd import LongStart
from processes import child_about
from supervisors import Supervisor
from tiny_tflite import tiny

BUILTIN = locate("builtin:efficientnet_lite0")
MIB = 2**20
# Behind it lies the graph, before it the weights.
GRAPH = 4_700_000
MUTATIONS = 40
# Each in a process forked from one that has everything imported.
TRIALS = """
import json, os, sys
from dropsight.models import litert
from dropsight.models import isolated as trial
codes = []
for path in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(trial.main([path, "{}", "60", str(2**32), "{}"]))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(codes))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(BUILTIN, tmp_path / "m.tflite"))


def refusal(model: Path, **bounds: float) -> str:
    with pytest.raises(ModelError) as refused:
        try_model(model, said=ModelOverrides(), options=ModelOptions(), **bounds)  # type: ignore[arg-type] # seconds, memory
    return str(refused.value)


def mutations(folder: Path) -> list[Path]:
    """The built-in model with a few bytes of its graph changed; the same at every run."""
    chance, content = random.Random(21), BUILTIN.read_bytes()  # noqa: S311 - not for secrets
    made = []
    for number in range(MUTATIONS):
        mutated = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            mutated[chance.randrange(GRAPH, len(content))] = chance.randrange(256)
        made.append(folder / f"{number}.tflite")
        made[-1].write_bytes(mutated)
    return made


@pytest.mark.slow
def test_changed_bytes_of_a_model_make_it_sound_or_refused_or_end_the_trial_by_a_signal(
    tmp_path: Path,
) -> None:
    """By no exception that nobody expected: it would end the daemon, were the trial passed by."""
    models = mutations(tmp_path)
    command = [sys.executable, "-P", "-c", TRIALS, *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    codes = dict(zip(models, json.loads(done.stdout), strict=True))
    deadly = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE}
    assert set(codes.values()) <= {0, REFUSED, *deadly}, done.stderr
    assert {0, REFUSED} <= set(codes.values())
    for path in [path for path, code in codes.items() if code in deadly][:2]:
        assert "crashes the process that opens it by SIG" in refusal(path)


def test_a_model_that_ends_its_trial_by_a_signal_is_refused_with_the_signal_s_name(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "in_trial")
    assert refusal(model) == f"{model}: it crashes the process that opens it by SIGSEGV: the file is damaged"


def test_a_model_that_raises_what_nobody_expects_is_refused_with_its_words(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RAISE_VARIABLE, "in_trial")
    assert "it cannot be opened: OverflowError: a test" in refusal(model)


def test_a_model_that_takes_too_long_to_open_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HANG_VARIABLE, "in_trial")
    assert refusal(model, seconds=1) == f"{model}: opening it takes longer than 1 s"


@contextmanager
def trial_of(model: Path, **bounds: float) -> Iterator[Future[None]]:
    """A trial whose process gets no processor, until this goes on."""
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(
            try_model,
            model,
            said=ModelOverrides(),
            options=ModelOptions(),
            **bounds,  # type: ignore[arg-type] # seconds
        )
        yield trial
        trial.result()


def test_a_good_model_passes_however_slow_the_clock_says_that_its_trial_is(model: Path) -> None:
    """TensorFlow alone takes minutes where others leave a tenth of a core: 100 s of the clock refused it."""
    with trial_of(model, seconds=4.0) as trial:
        child = stopped(model)
        time.sleep(5.0)  # what it is about
        assert not trial.done()
        os.kill(child, signal.SIGCONT)


def test_a_model_whose_trial_gets_no_processor_for_very_long_is_refused_for_that(model: Path) -> None:
    refused = pytest.raises(ModelError, match=r"had a processor for \d s of \d, others leave none")
    with refused, trial_of(model, seconds=4.0, patience=2.0):
        stopped(model)


def test_a_start_whose_model_takes_long_is_said_once_and_systemd_waits_for_it(
    model: Path,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each word to systemd reaches for two minutes, and the next has to come in time."""
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
    monkeypatch.setattr(systemd, "LONG_SECONDS", 1.5)
    monkeypatch.setattr(systemd, "_NOTIFY_SECONDS", 0.5)
    config = Config(model=ModelSettings(path=str(model)), inference=Inference(workers=1))
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(engine.open_engine, config)
        child = stopped(model)
        wait_until(lambda: len(supervisor.lines("EXTEND_TIMEOUT_USEC")) > 2)
        assert set(supervisor.lines("WATCHDOG")) == {"1"}
        wait_until(lambda: "takes long" in caplog.text)
        os.kill(child, signal.SIGCONT)
        opening.result()
    told = [text for text in caplog.messages if "takes long" in text]
    assert len(told) == 1
    assert told[0].startswith(f"opening the model {model} takes long: it had a processor for 0 s of ")


def test_systemd_does_not_wait_for_a_start_that_hangs(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which sleeps, or works without an end, in the daemon itself."""
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
    monkeypatch.setattr(systemd, "_NOTIFY_SECONDS", 0.0)
    with LongStart("a start", work_seconds=2.0):
        wait_until(lambda: len(supervisor.lines("WATCHDOG")) > 1)
        time.sleep(4.0)  # what it is about
        said = len(supervisor.lines("WATCHDOG"))
        time.sleep(2.5)  # two looks
        assert len(supervisor.lines("WATCHDOG")) == said


def stopped(model: Path) -> int:
    """Stop the process that tries it, as soon as there is one; return its number."""
    wait_until(lambda: child_about(model) is not None)
    child = child_about(model)
    assert child
    os.kill(child, signal.SIGSTOP)
    return child


@pytest.mark.parametrize("images", [5_000, 90_000])
def test_a_model_of_a_few_bytes_whose_tensors_want_gigabytes_is_refused(model: Path, images: int) -> None:
    model.write_bytes(tiny([("float32", (images, 300, 300, 3))], [("float32", (images, 3))]))
    told = refusal(model, memory=512 * MIB)
    assert told.endswith("cannot load it: its tensors need more memory than a model may use here")


def test_a_model_of_a_few_megabytes_has_room_on_a_machine_of_half_a_gigabyte(model: Path) -> None:
    try_model(model, said=ModelOverrides(), options=ModelOptions(), memory=LEAST_MEMORY_BYTES)


@pytest.mark.parametrize("command", ["classify", "batch", "explain", "archive", "classify -c"])
def test_a_model_that_crashes_its_process_ends_no_command_but_in_a_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A copy of the command opens it first."""
    monkeypatch.setenv(VARIABLE, "in_trial")
    name, *of_config = command.split()
    more = [] if name == "classify" else ["-o", f"{tmp_path}/out"]
    if of_config:
        (tmp_path / "c.yaml").write_text(f"model: {{path: {model}}}")
        more += ["-c", f"{tmp_path}/c.yaml"]
    else:
        more += ["--model", str(model)]
    done = dropsight(name, str(PHOTOS[0]), *more)
    crashed = "it crashes the process that opens it by SIGSEGV: the file is damaged"
    assert (done.returncode, done.stderr.splitlines()) == (1, [f"dropsight: {model}: {crashed}"])


def test_a_command_s_copy_tells_what_it_refuses_and_what_its_memory_has_no_room_for(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        with pytest.raises(ModelError) as error:
            try_in_a_copy(model, ModelOptions(), said=ModelOverrides())
        return str(error.value)

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    try_in_a_copy(model, ModelOptions(), said=ModelOverrides())
    model.write_bytes(tiny([("float32", (90_000, 300, 300, 3))], [("float32", (90_000, 3))]))
    assert refused().endswith("cannot load it: its tensors need more memory than a model may use here")
    model.write_bytes(model.read_bytes()[:500])
    assert "damaged" in refused()


def test_a_tensor_s_name_that_is_no_text_is_damage_and_no_traceback(model: Path) -> None:
    content = bytearray(model.read_bytes())
    name = content.rindex(b"/Relu6;", GRAPH)
    content[name] = 0xFF
    model.write_bytes(content)
    with pytest.raises(ModelError, match="the file is damaged"):
        open_first([model])


def test_a_trial_that_the_kernel_ends_for_want_of_memory_is_not_the_model_s_damage(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried by a program that is killed as soon as it starts, as by the kernel that runs short."""
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    told = refusal(model)
    assert "not enough free memory to test it" in told
    assert "damaged" not in told


def test_a_model_that_is_replaced_after_its_trial_is_not_opened(model: Path, tmp_path: Path) -> None:
    """What came into its place was never tried."""
    other = Path(shutil.copy(BUILTIN, tmp_path / "other.tflite"))
    fallback = Path(shutil.copy(BUILTIN, tmp_path / "fallback.tflite"))

    def replaced(path: str | Path, _: ModelOptions) -> None:
        if Path(path) == model:
            other.replace(path)

    opened, (reason,), _ = open_first([model, fallback], trial=replaced)
    assert opened.spec.path == fallback
    assert (
        reason == f"{model}: it was replaced while it was being tested: try again when it no longer changes"
    )


def test_a_model_that_is_written_to_after_its_trial_is_not_opened(model: Path) -> None:
    with pytest.raises(ModelError, match="replaced while it was being tested"):
        open_first([model], trial=lambda _, __: os.utime(model))


def test_threads_in_all_are_bounded_where_the_machine_says_how_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "cores", lambda: 16)
    monkeypatch.setattr(engine, "available_bytes", lambda: 2**40)
    config = Config(model=ModelSettings(threads=64), inference=Inference(workers="auto"))
    with pytest.raises(ConfigError) as refused:
        engine.open_engine(config)
    assert str(refused.value) == (
        "model.threads: 64 for each of 16 workers makes 1024 threads; "
        "give fewer, or inference.workers: at most 512 are possible in all"
    )
