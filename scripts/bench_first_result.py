"""Measure how long the first result takes, by how much lies in the folders at the start.

scripts/bench_first_result.py --images 200000

The images are hard links to a few, so that a million need no room.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from daemons import House  # noqa: E402
from machine import machine  # noqa: E402
from torture import small_pictures  # noqa: E402

LINKS = 10_000  # a file; file systems have their limits
CAMERAS = 4
WATCHED_SECONDS = 10.0
PAUSE_SECONDS = 0.1


def fill(folder: Path, count: int) -> None:
    pictures = list(small_pictures())
    for camera in range(CAMERAS):
        (folder / f"cam{camera}").mkdir()
    for number in range(count):
        target = folder / f"cam{number % CAMERAS}" / f"{number:07}.jpg"
        if number % LINKS == 0:
            first = target
            first.write_bytes(pictures[number // LINKS % len(pictures)])
        else:
            os.link(first, target)


def measure(root: Path, count: int) -> dict[str, object]:
    """Start a daemon where so many wait, and watch it for a while after its first result."""
    house = House(root, {"watch": [{"path": "inbox", "after": "delete"}]})
    fill(house.inbox, count)
    log = root / "logs" / "results.jsonl"
    began = time.monotonic()
    house.start()
    warm_seconds = time.monotonic() - began
    try:
        while not log.exists() or not log.stat().st_size:
            time.sleep(0.002)
        first_seconds = time.monotonic() - began
        said, memory = house.status()["stats"].get("folders"), 0
        while time.monotonic() - began < first_seconds + WATCHED_SECONDS and house.finished() < count:
            memory = max(memory, house.status()["stats"]["memory_bytes"])
            time.sleep(PAUSE_SECONDS)
        stats = house.status()["stats"]
        house.stop()
    finally:
        house.kill()
    return {
        "images": count,
        "warm_seconds": round(warm_seconds, 2),
        "first_result_seconds": round(first_seconds, 2),
        "folders_at_the_first_result": said,
        "folders_at_the_end": stats.get("folders"),
        "done": stats["counters"]["done"],
        "images_per_second": stats["images_per_second"]["since_start"],
        "most_memory_mib": round(memory / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--few", type=int, default=10)
    args = parser.parse_args()
    found = []
    for count in (args.few, args.images):
        root = Path(tempfile.mkdtemp(prefix="first-result-"))
        found.append(measure(root, count))
        shutil.rmtree(root)
    print(json.dumps({"machine": machine(), "runs": found}, indent=2))


if __name__ == "__main__":
    main()
