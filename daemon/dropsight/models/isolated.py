"""A model opened and invoked in a separate process first: damaged ones crash the process that opens them."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from dropsight import children, crashpoints
from dropsight.errors import DropsightError, ModelError, UntriedError
from dropsight.models.backends import BUILTIN, locate
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import format_of
from dropsight.models.spec import ModelOptions
from dropsight.models.tflite_runtimes import find_runtime
from dropsight.names import as_text
from dropsight.spawning import popen
from dropsight.threads import LIMITS, is_lacking, was_lacking

# For which it works, or sleeps: TensorFlow alone takes minutes of the clock where others leave it little.
TRIAL_SECONDS = 100.0
# For which it lacks a processor.
PATIENCE_SECONDS = 3600.0
REFUSED = 3
_COPIED = {"tflite", "onnx"}
_PRINTED_BYTES = 2**16
STARVED = (
    b"MemoryError",
    b"OOM when allocating",
    b"bad_alloc",
    b"not enough memory",
    b"Cannot allocate memory",
)


def try_model(
    path: Path,
    *,
    said: ModelOverrides,
    options: ModelOptions,
    seconds: float = TRIAL_SECONDS,
    patience: float = PATIENCE_SECONDS,
    memory: int | None = None,
    looked: Callable[[children.WorkingTime], None] = lambda _: None,
) -> None:
    """Return if the model survives; raises ModelError with what went wrong otherwise.

    Raises UntriedError where the machine had no room for that process, or for its threads.
    `memory` is what it may take, in bytes: half of the machine's unless given.
    `looked` is called each second meanwhile.
    """
    memory = memory or children.half_of_memory()
    whole = path.absolute()
    how = msgspec.json.encode(options).decode()
    arguments = [str(whole), how, f"{seconds + patience:g}", str(memory), said.encode()]
    try:
        process = popen(
            children.command("dropsight.models.isolated", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except OSError as error:
        raise UntriedError(f"{path}: cannot be tested before it is used: {error.strerror}") from error
    working = children.WorkingTime(process.pid, seconds, patience=patience)
    with process:
        try:
            with _told(path, working):
                said_of_it, printed = children.communicated_within(working, process, None, looked=looked)
        finally:
            process.kill()
    tried = subprocess.CompletedProcess((), process.returncode, bytes(said_of_it), bytes(printed))
    refused = tried.returncode == REFUSED
    if tried.returncode and (was_lacking(tried.stdout + tried.stderr) or (not refused and is_lacking())):
        raise UntriedError(f"{path}: cannot be tested before it is used: too few threads ({LIMITS})")
    if refused:
        raise ModelError(os.fsdecode(tried.stdout).strip().replace(str(whole), str(path)))
    if tried.returncode != 0:
        raise ModelError(f"{path}: {_end(tried, memory, options)}")


@contextlib.contextmanager
def _told(path: Path, working: children.WorkingTime) -> Iterator[None]:
    """Raise ModelError where its time is spent."""
    try:
        yield
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path}: opening it takes longer than {error.timeout:g} s") from error
    except children.StoodStillError as error:
        elapsed, worked = working.seconds
        had = f"its process had a processor for {worked:.0f} s of {elapsed:.0f}"
        raise UntriedError(f"{path}: cannot be tested before it is used: {had}, others leave none") from error


def try_in_a_copy(path: str | Path, options: ModelOptions, *, said: ModelOverrides) -> None:
    """Raise ModelError unless a copy of this process, which is about to open a model, survives it.

    A fifth of the work of `try_model`, as nothing is imported anew; for commands that have no threads yet.
    Those of TensorFlow, whose threads no copy has, and the built-in ones are not tried.
    """
    model = locate(path)
    form = format_of(model).name
    if str(path).startswith(BUILTIN) or form not in _COPIED or "tensorflow" in sys.modules:
        return
    with contextlib.suppress(ImportError, ModelError):  # else both would import it
        find_runtime(model) if form == "tflite" else import_module("onnxruntime")
    memory = children.half_of_memory()
    with tempfile.TemporaryFile() as printed:
        code = _ended(model, lambda: _open_as_copy(model, said, options, memory, printed.fileno()))
        printed.seek(0)
        tried = subprocess.CompletedProcess((), code, b"", printed.read(_PRINTED_BYTES))
    if code == REFUSED:
        raise ModelError(os.fsdecode(tried.stderr))
    if code != 0:
        raise ModelError(f"{model}: {_end(tried, memory, options)}")


def _ended(model: Path, act: Callable[[], NoReturn]) -> int:
    """Have a copy of this process act, and return how it ended; raises ModelError where it takes too long."""
    here, there = os.pipe()  # the copy has the other end until it ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's threads, which it stops for a fork
        process = os.fork()
    if not process:
        act()
    os.close(there)
    working = children.WorkingTime(process, TRIAL_SECONDS, patience=PATIENCE_SECONDS)
    end = select.poll()
    end.register(here)
    try:
        with os.fdopen(here, "rb"), _told(model, working):
            children.wait_within(working, lambda seconds: bool(end.poll(1000 * seconds)))
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    except BaseException:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise


def _open_as_copy(
    model: Path, said: ModelOverrides, options: ModelOptions, memory: int, printed: int
) -> NoReturn:
    """End this process, whatever comes: the stack above is another's."""
    code, text = 0, ""
    try:
        os.dup2(printed, 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        children.confine(memory, seconds=TRIAL_SECONDS + PATIENCE_SECONDS, niceness=0)
        if crashpoints.is_set("in_trial"):
            crashpoints.crash()
        _open_and_invoke(model, said, options)
    except ModelError as error:
        code, text = REFUSED, str(error)
    except DropsightError:
        pass  # it is raised once more, where it is told
    except Exception as error:  # noqa: BLE001 - told by who waits
        code, text = 1, as_text(f"{type(error).__name__}: {error}")
    finally:
        if text:
            os.ftruncate(printed, 0)
            os.pwrite(printed, os.fsencode(text), 0)
        os._exit(code)


def _end(tried: "subprocess.CompletedProcess[bytes]", memory: int, options: ModelOptions) -> str:
    if tried.returncode == -signal.SIGKILL:
        return "not enough free memory to test it before it is used: free some, then try again"
    if any(word in tried.stderr for word in STARVED):
        return f"it needs more than the {memory // 2**20} MiB of memory that a model may use here"
    if tried.returncode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-tried.returncode).name
            fault = "the file is damaged"
            if options.device:
                fault = f"{options.device} and the interpreter do not go together, or the file is damaged"
            return f"it crashes the process that opens it by {name}: {fault}"
    last = tried.stderr.decode(errors="backslashreplace").strip().splitlines()[-1:]
    return f"it cannot be opened: {' '.join(last) or f'exit code {tried.returncode}'}"


def main(arguments: list[str]) -> int:
    """Open, and invoke once; what is refused on purpose is told on stdout."""
    path, how, seconds, memory, said = arguments
    children.confine(int(memory), seconds=float(seconds), niceness=5)
    if crashpoints.is_set("in_trial"):
        crashpoints.crash()
    options = msgspec.json.decode(how, type=ModelOptions)
    try:
        _open_and_invoke(Path(path), ModelOverrides.decode(said), options)
    except ModelError as error:
        sys.stdout.buffer.write(os.fsencode(str(error)))
        return REFUSED
    return 0


def _open_and_invoke(path: Path, said: ModelOverrides, options: ModelOptions) -> None:
    found = format_of(path)
    model = found.open(path, said=said, options=options, agree=lambda: None)
    with found.blamed(path):
        model.scores(np.zeros((1, *model.spec.input.shape[1:]), model.spec.input.dtype))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
