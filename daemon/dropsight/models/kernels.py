"""Which kernels compute a TFLite model: XNNPACK's, or the interpreter's own, which are many times slower.

An interpreter whose fast kernels do not start says so to nobody and goes on. What it has planned tells:
operators that XNNPACK takes stand behind a node of its own.
"""

import os
import zlib
from base64 import b85decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from dropsight.models.spec import Kernels

Node: TypeAlias = Mapping[str, object]
"""As Interpreter._get_ops_details has it: op_name, inputs and outputs, the numbers of tensors."""

_DELEGATE = "DELEGATE"
_CPUINFO = Path("/proc/cpuinfo")
# The smallest of models, by schema.fbs: one RELU on eight floats. XNNPACK takes it, or does not work.
_RELU = zlib.decompress(
    b85decode(
        "c-l>lu?hk)5JaC|kdO-^#3H31U~zDk)>fAO|F<}s-Jn_ClF1Ca>A>gp-r>xZ3ze*wB!v__MHh=W"
        "2zRYqTc)a37*17h<4*hebF%yPb{Cs?{LO(fe9M*CRl}dyIf`3&a8fp@qb;s;=oH!c?=P(a1WW"
    )
)
_SLOW = (
    "the model runs many times slower than it could: XNNPACK, the interpreter's fast kernels, does not start"
)


def delegated(interpreter: object) -> tuple[int, int] | None:
    """Return how many operators delegates have taken, and how many there are; None where it does not tell."""
    nodes = _nodes(interpreter)
    if nodes is None:
        return None
    return _taken(nodes), sum(node["op_name"] != _DELEGATE for node in nodes)


def kernels_of(
    interpreter: object, *, runtime: str, opens: Callable[[bytes], object], elsewhere: int = 0
) -> Kernels | None:
    """Look at what a fresh interpreter has planned; None where it does not tell, or has nothing to compute.

    So many operators as are `elsewhere` are computed by a device.

    Where XNNPACK has taken nothing, a model that it takes for certain is opened beside it: so the
    fault of a machine and the choice of a model's operators are told apart.
    """
    counts = delegated(interpreter)
    if counts is None or counts[1] == elsewhere:
        return None
    taken, operators = (count - elsewhere for count in counts)
    fault = None if taken or _taken(_nodes(opens(_RELU)) or ()) else _fault(runtime)
    return Kernels(xnnpack=taken, operators=operators, fault=fault)


def _nodes(interpreter: object) -> Sequence[Node] | None:
    # Not public, but in all three runtimes since 2021.
    ask: Callable[[], Sequence[Node]] | None = getattr(interpreter, "_get_ops_details", None)
    return ask() if ask else None


def _taken(nodes: Sequence[Node]) -> int:
    """Count the operators behind XNNPACK's nodes: what leads from their inputs to their outputs."""
    plain = [node for node in nodes if node["op_name"] != _DELEGATE]
    producers = {tensor: number for number, node in enumerate(plain) for tensor in _tensors(node, "outputs")}
    taken: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == _DELEGATE):
        outside, open_ends = set(_tensors(delegate, "inputs")), list(_tensors(delegate, "outputs"))
        while open_ends:
            tensor = open_ends.pop()
            number = producers.get(tensor)
            if number is not None and number not in taken and tensor not in outside:
                taken.add(number)
                open_ends += _tensors(plain[number], "inputs")
    return len(taken)


def _tensors(node: Node, side: str) -> Iterable[int]:
    return map(int, node[side])  # type: ignore[call-overload, no-any-return] # an array of int32


@cache
def _fault(runtime: str) -> str:
    """Return why; the same ever after, since a process tries to start XNNPACK once."""
    try:
        shown = bool(_CPUINFO.read_text(errors="replace").strip())
    except OSError:
        shown = False
    if not shown:
        return (
            f"{_SLOW} because {_CPUINFO} is hidden; "
            "in a systemd unit, set ProcSubset=all; in a container, make it readable"
        )
    return (
        f"{_SLOW} with {runtime} on this {os.uname().machine} processor; "
        "use ai-edge-litert on a 64-bit system"
    )
