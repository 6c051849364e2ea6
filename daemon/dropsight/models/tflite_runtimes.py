"""The interpreters of TFLite models: whichever is installed, and one opened of a model's bytes."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight import installing
from dropsight.errors import ModelError
from dropsight.models.delegates import OnGPU, load
from dropsight.models.kernels import delegated, kernels_of
from dropsight.models.operators import custom_operators, flex_operators, needs_tensorflow, unknown_to_tflite
from dropsight.models.spec import Acceleration, Kernels, ModelOptions

RUNTIMES = (
    "ai_edge_litert.interpreter:Interpreter",
    "tflite_runtime.interpreter:Interpreter",
    "tensorflow:lite.Interpreter",
)
"""Where an interpreter may come from, in the order in which they are tried."""

_NO_FLEX = ("Select TensorFlow op", "Regular TensorFlow op")

_UNKNOWN = "unresolved custom op"

Details = Mapping[str, object]
STDERR_TURNED = threading.Lock()
"""Held while descriptor 2 leads nowhere; who must be heard takes it to write to stderr."""


class Interpreter(Protocol):
    """What the three runtimes have in common, as far as it is used here."""

    def allocate_tensors(self) -> None: ...
    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None: ...
    def get_input_details(self) -> list[Details]: ...
    def get_output_details(self) -> list[Details]: ...
    def get_tensor_details(self) -> list[Details]: ...
    def set_tensor(self, tensor_index: int, value: NDArray[np.generic]) -> None: ...
    def get_tensor(self, tensor_index: int) -> NDArray[np.generic]: ...
    def invoke(self) -> None: ...


class InterpreterClass(Protocol):
    def __call__(
        self, *, model_content: bytes, num_threads: int, experimental_delegates: list[object] | None = None
    ) -> Interpreter: ...


class TFLiteSource(msgspec.Struct, frozen=True):
    """The bytes are held in memory: a model file replaced in place must not pull the ground away."""

    path: Path
    content: bytes
    runtime: str
    interpreter: InterpreterClass
    options: ModelOptions

    @property
    def name(self) -> str:
        return self.runtime.partition(":")[0].partition(".")[0]

    def kernels(self, interpreter: Interpreter, *, elsewhere: int = 0) -> Kernels | None:
        """Which kernels compute the model; `interpreter` is one of it."""
        if isinstance(interpreter, OnGPU):
            return None
        plain = replace(self, options=self.options.on_the_cpu)
        return kernels_of(
            interpreter,
            runtime=self.name,
            opens=lambda content: replace(plain, content=content).open(),
            elsewhere=elsewhere,
        )

    def open(
        self,
        shape_of: Callable[[Details], Sequence[int]] | None = None,
        *,
        look: Callable[[Interpreter], None] = lambda _: None,
    ) -> Interpreter:
        """Return one that is ready to be invoked; raises ModelError for what this interpreter cannot load.

        `shape_of` is asked for the shape of an image's input, before anything is allocated for it. `look` is
        given the interpreter before XNNPACK has taken its part: what is delegated then is the device's.
        """
        try:
            with _native_chatter_off():
                made = self._made()
                look(made)
                if shape_of:
                    _fix_input(made, shape_of)
                made.allocate_tensors()
        except SystemError as error:
            raise ModelError(
                f"{self.name} does not work with this numpy; {installing.packages('numpy<2')}"
            ) from error
        except (RuntimeError, ValueError) as error:
            foreign = custom_operators(self.content)
            flex = flex_operators(foreign)
            # Where there is no memory for its tensors, it fails without a word.
            reason = " ".join(str(error).split()) or "its tensors need more memory than a model may use here"
            if flex and any(words in reason for words in _NO_FLEX):
                raise needs_tensorflow(self.path, flex, installed=True) from error
            if _UNKNOWN in reason:
                raise unknown_to_tflite(self.path, [each for each in foreign if each not in flex]) from error
            raise ModelError(f"{self.path}: the TFLite interpreter cannot load it: {reason}") from error
        return made

    def _made(self) -> Interpreter:
        threads, delegate = self.options.threads, self.options.delegate
        if delegate:
            loaded = load(delegate, self.name)
            return self.interpreter(
                model_content=self.content, num_threads=threads, experimental_delegates=[loaded]
            )
        made = self.interpreter(model_content=self.content, num_threads=threads)
        return OnGPU(self.content, made) if self.options.accelerator == "gpu" else made

    def acceleration(self, fresh: Interpreter) -> Acceleration | None:
        """What the device has taken of an interpreter that `look` sees; raises ModelError if nothing."""
        device = self.options.device
        if device is None:
            return None
        if isinstance(fresh, OnGPU):
            operators = (delegated(fresh.interpreter) or (0, 0))[1] if fresh.is_whole else None
            return Acceleration(device, operators, operators)
        counts = delegated(fresh)
        if counts is None:
            return Acceleration(device)
        if not counts[0]:
            raise ModelError(f"it supports none of the model's {counts[1]} operators")
        return Acceleration(device, *counts)


def _fix_input(made: Interpreter, shape_of: Callable[[Details], Sequence[int]]) -> None:
    inputs = made.get_input_details()
    if len(inputs) != 1:
        return
    (details,) = inputs
    batch, *wanted = shape_of(details)
    found: NDArray[np.integer] = details["shape"]  # type: ignore[assignment] # in all three
    if list(found[1:]) != wanted:
        made.resize_tensor_input(int(details["index"]), (max(batch, 1), *wanted))  # type: ignore[call-overload] # a number


@contextmanager
def _native_chatter_off() -> Iterator[None]:
    """Keep the runtime's own lines about delegates off stderr; its errors come as exceptions.

    One at a time: of two that overlap, the latter would bring back the former's nowhere.
    """
    with STDERR_TURNED:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def find_runtime(path: Path, *, flex: Sequence[str] = ()) -> tuple[str, InterpreterClass]:
    """Return the first that is installed; of operators of TensorFlow's own, only its own interpreter."""
    for runtime in RUNTIMES[-1:] if flex else RUNTIMES:
        module, _, name = runtime.partition(":")
        try:
            return runtime, attrgetter(name)(import_module(module))
        except (ImportError, AttributeError):
            continue
    if flex:
        raise needs_tensorflow(path, flex, installed=False)
    raise ModelError(f"{path} needs a TFLite interpreter: {installing.packages('ai-edge-litert')}")
