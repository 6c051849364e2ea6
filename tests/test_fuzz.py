"""The fuzzer finds what there is to find; in what reads strangers' data there is nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemons import ROOT

FUZZ = ROOT / "scripts" / "fuzz.py"
FAULTY = """
import contextlib, ctypes, time
from fuzz import Target

def throws(data):
    if b"x" in data: raise KeyError(data)

def crashes(data):
    if b"x" in data: ctypes.string_at(0)

def grows(data):
    if b"x" in data: bytearray(2**31)

TARGETS = {f.__name__: Target(f.__name__, lambda: [b"seed", b"axb"], lambda f=f: contextlib.nullcontext(f))
           for f in (throws, crashes, grows)}
"""


def fuzz(*options: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FUZZ), "--engine", "plain", *options],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("fault", ["throws", "crashes", "grows"])
def test_an_input_that_breaks_its_reader_is_found_and_kept(tmp_path: Path, fault: str) -> None:
    (tmp_path / "faulty_targets.py").write_text(FAULTY)
    options = ("--seconds", "20", "--target", fault, "--findings", str(tmp_path / "found"))
    done = fuzz(*options, "--targets", "faulty_targets", environ={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1, done.stdout
    (kept,) = (tmp_path / "found").iterdir()
    assert (kept.name.split("-")[0], kept.read_bytes()) == (fault, b"axb")


@pytest.mark.slow
@pytest.mark.broker
def test_a_minute_of_fuzzing_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated")
    done = fuzz("--seconds", "60", "--seed", "1", "--findings", str(tmp_path / "found"))
    assert done.returncode == 0, done.stdout
