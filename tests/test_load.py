"""Thousands waiting and thousands more at once: everything done, memory flat, answers prompt."""

import json
from pathlib import Path

import pytest

from bench_backlog import fill
from daemons import running
from tiny_tflite import quick
from torture import log_lines, small_pictures


@pytest.mark.slow
def test_a_burst_beside_a_full_queue_is_worked_off_whole_in_flat_memory(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    fill(tmp_path / "inbox", 1000)
    with running(tmp_path, model={"path": str(quick(tmp_path))}) as house:
        house.until(lambda: house.finished() >= 500)
        early = house.status()["stats"]["memory_bytes"]
        burst = house.inbox / "burst"
        burst.mkdir()
        pictures = list(small_pictures())
        for number in range(2500):
            (burst / f"{number:04}.jpg").write_bytes(pictures[number % len(pictures)])
        house.until(lambda: house.finished() == 3500)
        house.until(lambda: not house.waiting())
        late = house.status()["stats"]["memory_bytes"]
        assert late - early < 10 * 2**20
        assert house.stop() == 0
    ids = [json.loads(line)["id"] for line in log_lines(tmp_path / "logs")]
    assert len(ids) == len(set(ids)) == 3500
