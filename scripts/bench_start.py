"""Measure the daemon at rest: from start to READY, processor time with nothing to do, memory.

    scripts/bench_start.py

Beside a bare process that imports numpy, OpenCV and the interpreter, and loads the built-in model.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from daemons import House  # noqa: E402
from dropsight.models.registry import locate  # noqa: E402

BARE = """
import numpy, cv2, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.invoke()
print(int(open("/proc/self/statm").read().split()[1]) * 4096)
"""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def bare() -> tuple[float, int]:
    """Return seconds and bytes of a process with the libraries and the model alone."""
    began = time.monotonic()
    model = str(locate("builtin:efficientnet_lite0"))
    done = subprocess.run([sys.executable, "-c", BARE, model], capture_output=True, text=True, check=True)
    return time.monotonic() - began, int(done.stdout)


def ready(idle_seconds: float) -> tuple[float, int, float]:
    """Return seconds to READY, bytes, and the share of a core that the daemon then takes."""
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        house = House(Path(folder), {})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(os.path.join(folder, "notify"))  # noqa: PTH118
            listener.settimeout(30)
            began = time.monotonic()
            house.spawn(NOTIFY_SOCKET=f"{folder}/notify")
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
    bares = [bare() for _ in range(args.rounds)]
    starts = [ready(0)[0] for _ in range(args.rounds)]
    _, memory, share = ready(args.idle)
    bare_seconds, bare_bytes = (statistics.median(values) for values in zip(*bares, strict=True))
    start = statistics.median(starts)
    answer = {
        "ready_seconds": round(start, 3),
        "bare_seconds": round(bare_seconds, 3),
        "ready_ratio": round(start / bare_seconds, 2),
        "idle_share_of_a_core": round(share, 5),
        "memory_mib": round(memory / 2**20, 1),
        "bare_memory_mib": round(bare_bytes / 2**20, 1),
        "memory_ratio": round(memory / bare_bytes, 2),
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
