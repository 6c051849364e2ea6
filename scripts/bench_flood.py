"""Measure what a flood of the web port costs the pipeline: images a second with and without it, in turn.

    python scripts/bench_flood.py              # 3 rounds
    python scripts/bench_flood.py --rounds 6 --images 14000

The flood comes from a process of its own. Where there are two cores and more it has one to itself, and the
daemon the others, so that what is measured is what the daemon spends on it. Without it a process burns as
much of the same core, so that whatever else runs on the machine is pushed about as much. The second ratio is
of the processor time that the daemon takes for an image, all of it, which other programs disturb less. What
the dashboard has saved up, a second of a processor, is spent within each round: short ones say little.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_pipeline import generate  # noqa: E402
from bench_web import LOOK_SECONDS, fill  # noqa: E402
from daemons import House  # noqa: E402
from floods import flood  # noqa: E402
from webs import ANY_PORT, address  # noqa: E402


def cost(root: Path, images: int, *, flooded: bool) -> tuple[float, float]:
    """Return seconds an image, of the clock and of processors, of a daemon that gets so many at once."""
    mine, *others = sorted(os.sched_getaffinity(0))
    house = House(root, {"web": ANY_PORT})
    if others:
        house.under = ["taskset", "--cpu-list", ",".join(map(str, others))]
        os.sched_setaffinity(0, {mine})
    house.start()
    try:
        with flood(address(house), only_burning=not flooded):
            began, spent = time.monotonic(), processor_seconds(house)
            (root / "coming").rename(house.inbox / "camera")
            while house.finished() < images:
                time.sleep(LOOK_SECONDS)
            return (time.monotonic() - began) / images, (processor_seconds(house) - spent) / images
    finally:
        house.kill()
        os.sched_setaffinity(0, {mine, *others})


def processor_seconds(house: House) -> float:
    assert house.process  # noqa: S101 - it is started
    _, _, fields = Path(f"/proc/{house.process.pid}/stat").read_text().rpartition(")")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=7_000)
    arguments = parser.parse_args()
    speeds, savings = [], []
    with tempfile.TemporaryDirectory(prefix="dropsight-bench-flood-") as folder:
        photos = Path(folder) / "photos"
        generate(photos, "640x480.jpg", 30)
        for number in range(arguments.rounds):
            found: dict[bool, tuple[float, float]] = {}
            for flooded in sorted((False, True), reverse=number % 2 == 1):
                root = Path(folder) / f"{number}-{flooded}"
                fill(root, photos, arguments.images)
                found[flooded] = cost(root, arguments.images, flooded=flooded)
                shutil.rmtree(root)
            (clock, processor), (flooded_clock, flooded_processor) = found[False], found[True]
            speeds.append(clock / flooded_clock)
            savings.append(processor / flooded_processor)
            told = f"without {1 / clock:.1f}/s, with {1 / flooded_clock:.1f}/s"
            print(
                f"round {number + 1}: {told}, ratio {speeds[-1]:.3f}; of processor time {savings[-1]:.3f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(speeds):.3f}; of processor time {statistics.median(savings):.3f}")


if __name__ == "__main__":
    main()
