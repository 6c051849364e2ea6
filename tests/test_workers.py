"""How many workers there are: each has a core, and an interpreter with weights of its own."""

import os
from pathlib import Path
from typing import Any

import pytest

from daemons import House, dropsight
from dropsight.classify import engine as engine_module
from dropsight.classify.engine import PACKED, TENSORS_BYTES, open_engine, workers
from dropsight.config import Config, ModelSettings, load
from dropsight.models.backends import locate, open_model
from tiny_tflite import tiny

BUILTIN = locate("builtin:efficientnet_lite0")
SAID = "inference.decoders: has no effect, each worker decodes for itself; remove it"
EACH = int(PACKED * BUILTIN.stat().st_size) + TENSORS_BYTES


def config_with(tmp_path: Path, **inference: Any) -> Config:
    return load(House(tmp_path, {"inference": inference}).config)


def test_there_is_a_worker_for_each_core_that_the_daemon_may_use(tmp_path: Path) -> None:
    assert len(open_engine(config_with(tmp_path)).models) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("room", "count"), [(0, 1), (2 * EACH, 2), (7 * EACH, 4), (1000 * EACH, 8)])
def test_of_a_model_that_is_large_beside_the_memory_there_are_fewer_interpreters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, count: int
) -> None:
    """Half of what is free is left to the pictures and to others."""
    monkeypatch.setattr(engine_module, "cores", lambda: 8)
    monkeypatch.setattr(engine_module, "available_bytes", lambda: room)
    assert workers(config_with(tmp_path), open_model(BUILTIN)) == count
    assert workers(config_with(tmp_path, workers=3), open_model(BUILTIN)) == 3


def test_tensors_count_too_whatever_the_size_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model of 2 kB took 50 MB in each of 8 workers, and the kernel ended the daemon, again and again."""
    (model := tmp_path / "m.tflite").write_bytes(
        tiny([("float32", (1, 2048, 2048, 3))], [("float32", (1, 3))])
    )
    monkeypatch.setattr(engine_module, "cores", lambda: 8)
    monkeypatch.setattr(engine_module, "available_bytes", lambda: 60 * 2**20)
    # What other tests leave to the collector may go meanwhile, and the first one then seems to take little.
    assert len(open_engine(Config(model=ModelSettings(path=str(model)))).models) < 4
    assert " of 4 workers: there is no memory for more, m takes" in caplog.text


@pytest.mark.slow
def test_the_key_for_decode_workers_is_read_still_and_said_to_have_no_effect(tmp_path: Path) -> None:
    house = House(tmp_path, {"inference": {"decoders": 2}})
    done = dropsight("check", "-c", str(house.config))
    assert done.returncode == 0, done.stderr
    (said,) = (line for line in done.stdout.splitlines() if "decoders" in line)
    assert said.split(maxsplit=2) == ["warn", "config", SAID]
    done = dropsight("config", "-c", str(house.config))
    assert SAID in done.stderr
