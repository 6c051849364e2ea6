"""Classify the same archive by both engines of `dropsight archive`, and compare the Parquet row by row.

    scripts/same_archives.py --photos 5000 --hostile 50

Exits 1 where a column but latency_ms differs, one line a row.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import hostile  # noqa: E402
from archives import content  # noqa: E402
from bench_pipeline import generate  # noqa: E402

ENVIRON = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--hostile", type=int, default=50)
    parser.add_argument("--shard", type=int, default=100)
    parser.add_argument("--address", help="Of a Ray cluster; default: one of its own.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="same-archives-") as folder:
        root = Path(folder)
        cards = root / "cards"
        generate(cards, "640x480.jpg", given.photos)
        pictures = (each for each in hostile.contents() if Path(each[0]).suffix in hostile.FORMATS)
        for name, data, _ in islice(pictures, given.hostile):
            (cards / f"hostile-{name}").write_bytes(data)
        address = ["--address", given.address] if given.address else []
        classify(cards, root / "local", given.shard, "--engine", "local")
        classify(cards, root / "ray", given.shard, "--engine", "ray", *address)
        here, there = content(root / "local"), content(root / "ray")
    wrong = [(one, other) for one, other in zip(here, there, strict=True) if one != other]
    for one, other in wrong:
        print(f"{one}\n{other}")
    failed = sum(row["status"] != "ok" for row in here)
    print(f"{len(here) - len(wrong)} of {len(here)} the same, {failed} of them failures")
    sys.exit(bool(wrong) or not here)


def classify(cards: Path, out: Path, shard: int, *options: str) -> None:
    call = [sys.executable, "-m", "dropsight", "archive", str(cards), "-o", str(out), "--shard", str(shard)]
    subprocess.run([*call, *options], env={**os.environ, **ENVIRON}, check=True)


if __name__ == "__main__":
    main()
