"""Processes that tests start: none outlives its test, however that ends."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_begun: set["subprocess.Popen[bytes]"] = set()


def begin(arguments: Sequence[str | Path], **options: Any) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(arguments, **options)
    _begun.add(process)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it, if it lives, and take its exit code: without that there is a warning, in some later test."""
    process.kill()
    process.wait()
    _begun.discard(process)


@contextmanager
def none_left() -> Iterator[None]:
    """End what was begun meanwhile; a fixture of a module has begun its own before."""
    before = set(_begun)
    try:
        yield
    finally:
        for process in _begun - before:
            end(process)


def child_about(path: Path) -> int | None:
    """The process that has been given this path."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(path) in (each / "cmdline").read_bytes():
                return int(each.name)
        except OSError:
            continue
    return None
