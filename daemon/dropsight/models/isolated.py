"""A model opened and invoked in a separate process first: damaged ones crash the process that opens them."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np

from dropsight import children, crashpoints
from dropsight.errors import ModelError
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import format_of
from dropsight.models.spec import ModelOptions

TRIAL_SECONDS = 100.0
REFUSED = 3
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
    memory: int | None = None,
) -> None:
    """Return if the model survives; raises ModelError with what went wrong otherwise.

    `memory` is what it may take, in bytes: half of the machine's unless given.
    """
    memory = memory or children.half_of_memory()
    whole = path.absolute()
    how = msgspec.json.encode(options).decode()
    arguments = [str(whole), how, f"{seconds:g}", str(memory), said.encode()]
    try:
        tried = subprocess.run(
            children.command("dropsight.models.isolated", *arguments),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path}: opening it takes longer than {seconds:g} s") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be tested before it is used: {error.strerror}") from error
    if tried.returncode == REFUSED:
        raise ModelError(os.fsdecode(tried.stdout).strip().replace(str(whole), str(path)))
    if tried.returncode != 0:
        raise ModelError(f"{path}: {_end(tried, memory, options)}")


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
