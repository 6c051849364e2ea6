"""Measure the daemon on a thousand and on many thousand waiting images: cost an image, memory, answers.

scripts/bench_backlog.py --images 100000
"""

import argparse
import json
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

FEW = 1_000
PAUSE_SECONDS = 0.05


def fill(folder: Path, count: int) -> None:
    pictures = list(small_pictures())
    for number in range(count):
        target = folder / f"cam{number % 4}" / f"{number:06}.jpg"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(pictures[number % len(pictures)])


def measure(root: Path, count: int) -> dict[str, float]:
    """Let the daemon work off so many images that wait at its start."""
    house = House(root, {"watch": [{"path": "inbox", "retention": {"days": None, "max_bytes": None}}]})
    fill(house.inbox, count)
    log = root / "logs" / "results.jsonl"
    began = time.monotonic()
    house.spawn()
    while not log.exists() or not log.stat().st_size:
        time.sleep(0.002)
    first_seconds = time.monotonic() - began
    answers: list[float] = []
    early_bytes = 0
    try:
        while True:
            asked = time.monotonic()
            status = house.status()
            answers.append(time.monotonic() - asked)
            if not early_bytes and house.finished() >= min(FEW, count // 2):
                early_bytes = status["stats"]["memory_bytes"]
            if house.finished() >= count:
                break
            time.sleep(PAUSE_SECONDS)
        seconds = time.monotonic() - began - first_seconds
        late_bytes = house.status()["stats"]["memory_bytes"]
        house.stop()
    finally:
        house.kill()
    return {
        "images": count,
        "first_result_seconds": round(first_seconds, 2),
        "ms_an_image": round(seconds * 1e3 / count, 3),
        "memory_after_1000_mib": round(early_bytes / 2**20, 1),
        "memory_at_the_end_mib": round(late_bytes / 2**20, 1),
        "slowest_status_ms": round(max(answers) * 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--few", type=int, default=FEW)
    args = parser.parse_args()
    found = []
    for count in (args.few, args.images, args.few):
        root = Path(tempfile.mkdtemp(prefix="backlog-"))
        found.append(measure(root, count))
        print(json.dumps(found[-1]), file=sys.stderr)
        shutil.rmtree(root)
    few = sum(entry["ms_an_image"] for entry in (found[0], found[2])) / 2
    ratio = round(found[1]["ms_an_image"] / few, 3)
    print(json.dumps({"machine": machine(), "runs": found, "cost_ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
