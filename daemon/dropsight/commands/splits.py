"""How many images a second the daemon manages with so many workers of so many threads."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from dropsight import children
from dropsight.config import Config, effective
from dropsight.errors import DropsightError


class Split(msgspec.Struct, frozen=True, order=True):
    workers: int
    threads: int
    """Of the interpreter of each worker."""

    def __str__(self) -> str:
        return f"{self.workers} workers, {self.threads} threads for the interpreter of each"


def candidates(cores: int) -> list[Split]:
    """What is worth trying on so many cores: each at most twice as many threads as there are cores."""
    half = max(cores // 2, 1)
    tried = [
        Split(workers, threads)
        for workers in (1, half, cores)
        for threads in (1, half, cores)
        if workers * threads <= cores
    ]
    return list(dict.fromkeys(tried))


def throughput(split: Split, config: Config, images: Sequence[Path], *, count: int) -> float:
    """Return images a second of the daemon, journal and log on, broker off, on so many copies."""
    with tempfile.TemporaryDirectory(prefix="dropsight-bench-") as folder:
        root = Path(folder)
        inbox = root / "inbox"
        inbox.mkdir()
        for number in range(count):
            source = images[number % len(images)]
            shutil.copy(source, inbox / f"{number:06}{source.suffix.lower()}")
        file = root / "bench.yaml"
        file.write_text(yaml.safe_dump(_settings(split, config)))
        command = children.command("dropsight", "run", "-c", str(file), "--once")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DROPSIGHT_")}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DropsightError(f"{split}: {done.stderr.strip()}")
        return _speed(list(_records(root / "results.jsonl")))


def _settings(split: Split, config: Config) -> dict[str, object]:
    model: Any = effective(config)["model"]
    return {
        "watch": [{"path": "inbox", "after": "delete"}],
        "model": {**model, "fallback": [], "threads": split.threads},
        "inference": {
            "workers": split.workers,
            "tta": list(config.inference.tta),
        },
        "log": {"path": "results.jsonl", "max_bytes": "1GiB"},
        "mqtt": None,
        "web": None,
    }


def _records(log: Path) -> Iterator[dict[str, str]]:
    for line in log.read_bytes().splitlines():
        yield json.loads(line)


def _speed(records: Sequence[dict[str, str]]) -> float:
    """From the first record to the last, so that the start does not count."""
    times = sorted(datetime.fromisoformat(record["time"]).timestamp() for record in records)
    return (len(times) - 1) / max(times[-1] - times[0], 1e-6)
