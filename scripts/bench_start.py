"""Measure the daemon at rest: from start to READY, processor time with nothing to do, memory.

    scripts/bench_start.py

Beside two bare processes that load the built-in model and invoke it once: one with numpy, OpenCV and the
interpreter alone, one with all libraries that the daemon's job needs (paho, SQLite, YAML, msgspec).
Everything is on: a broker is connected to.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import mosquitto  # noqa: E402
from daemons import House  # noqa: E402
from dropsight.models.backends import locate  # noqa: E402
from machine import environment, machine  # noqa: E402

INTERPRETER = """
import numpy, cv2, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.invoke()
"""
IMPORTS = """
import sqlite3, ssl, yaml, msgspec, paho.mqtt.client
"""
RESIDENT = """
print(int(open("/proc/self/statm").read().split()[1]) * 4096)
"""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def bare(code: str) -> tuple[float, int]:
    """Return seconds and bytes of a process that does no more than this."""
    began = time.monotonic()
    model = str(locate("builtin:efficientnet_lite0"))
    command = [sys.executable, "-c", code + RESIDENT, model]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return time.monotonic() - began, int(done.stdout)


def ready(url: str, idle_seconds: float) -> tuple[float, int, float]:
    """Return seconds to READY, bytes, and the share of a core that the daemon then takes."""
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        house = House(Path(folder), {"mqtt": {"url": url}})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(os.path.join(folder, "notify"))  # noqa: PTH118
            listener.settimeout(30)
            began = time.monotonic()
            house.spawn(NOTIFY_SOCKET=f"{folder}/notify", PYTHONDONTWRITEBYTECODE="")
            try:
                while b"READY=1" not in listener.recv(4096):
                    pass
                seconds = time.monotonic() - began
                found = _idle(house, idle_seconds)
            finally:
                house.kill()
    return seconds, *found


def _idle(house: House, seconds: float) -> tuple[int, float]:
    time.sleep(2)
    pid = int(house.status()["pid"])
    before = _processor_seconds(pid)
    time.sleep(seconds)
    spent = _processor_seconds(pid) - before
    return int(house.status()["stats"]["memory_bytes"]), spent / max(seconds, 1e-9)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=60, help="seconds with nothing to do")
    args = parser.parse_args()
    alone: list[tuple[float, int]] = []
    needed: list[tuple[float, int]] = []
    starts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="start-") as folder, mosquitto(Path(folder)) as broker:
        for code in (INTERPRETER, IMPORTS + INTERPRETER):  # the first ones find nothing in the page cache
            bare(code)
        ready(broker.url, 0)
        for _ in range(args.rounds):
            alone.append(bare(INTERPRETER))
            needed.append(bare(IMPORTS + INTERPRETER))
            starts.append(ready(broker.url, 0)[0])
        _, memory, share = ready(broker.url, args.idle)
    answer = {
        "machine": machine(),
        "ready_seconds": round(statistics.median(starts), 3),
        "idle_share_of_a_core": round(share, 5),
        "memory_mib": round(memory / 2**20, 1),
        "interpreter_alone": _beside(alone, starts, memory),
        "all_imports": _beside(needed, starts, memory),
    }
    print(json.dumps(answer, indent=2))


def _beside(bares: Sequence[tuple[float, int]], starts: Sequence[float], memory: int) -> dict[str, float]:
    seconds, size = (statistics.median(values) for values in zip(*bares, strict=True))
    ratios = [start / each[0] for start, each in zip(starts, bares, strict=True)]
    return {
        "seconds": round(seconds, 3),
        "memory_mib": round(size / 2**20, 1),
        "ready_ratio": round(statistics.median(ratios), 2),
        "memory_ratio": round(memory / size, 2),
    }


if __name__ == "__main__":
    main()
