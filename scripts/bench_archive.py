"""What `dropsight archive` brings: images a second beside the bare machine, Ray beside processes, memory.

    python scripts/bench_archive.py --images 5000 --listed 1000000 --classified 100000

In turns: the yardstick (one process a core that reads, decodes small and invokes, and nothing else), the
local engine, the same with --embeddings, the Ray engine on as many CPUs. Medians of rounds, and of the
ratios within a round. The start of workers does not count: a rate is taken from the first part to the last.
What a row takes on disk is told of these images. Then so many hard links are listed, and classified with a
tiny model; the driver's peak of memory is told at a tenth of them and at all.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_pipeline import generate  # noqa: E402
from contenders import Job, yardstick  # noqa: E402
from dropsight.archive.listing import files_of  # noqa: E402
from dropsight.archive.manifest import write_manifest  # noqa: E402
from dropsight.archive.storage import Storage  # noqa: E402
from machine import machine  # noqa: E402
from tiny_tflite import tiny  # noqa: E402

MODEL = "builtin:efficientnet_lite0"
EMBEDDINGS = "embeddings"
"""As if it were an engine: the local one, with these."""
LINKS_A_FOLDER = 10_000
ENVIRON = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--listed", type=int, default=100_000)
    parser.add_argument("--classified", type=int, default=10_000)
    parser.add_argument("--without-ray", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as folder:
        root = Path(folder)
        generate(root / "images", "640x480.jpg", given.images)
        engines = ["local", EMBEDDINGS] if given.without_ray else ["local", EMBEDDINGS, "ray"]
        rounds = [one_round(root, engines, given.images) for _ in range(given.rounds)]
        found = {
            "machine": machine(),
            "images": given.images,
            "images_per_second": {name: median(rounds, name) for name in ("yardstick", *engines)},
            "local_to_yardstick": ratio(rounds, "local", "yardstick"),
            "embeddings_to_local": ratio(rounds, EMBEDDINGS, "local"),
            "bytes_a_row": {name: bytes_of(root / f"out-{name}") // given.images for name in engines},
            **({} if given.without_ray else {"ray_to_local": ratio(rounds, "ray", "local")}),
            "listing": [apart("listing", root, count) for count in (given.listed // 10, given.listed)],
            "classifying": [
                apart("classifying", root, n) for n in (given.classified // 10, given.classified)
            ],
        }
    print(json.dumps(found, indent=2))


def one_round(root: Path, engines: Sequence[str], count: int) -> dict[str, float]:
    rates = {"yardstick": yardstick(Job(root / "images", MODEL, 0))}
    # Several shards a core: what is left at the end, while one core works on its last, is little.
    shard = max(count // (len(os.sched_getaffinity(0)) * 20), 1)
    return rates | {name: rate_of(root, name, shard) for name in engines}


def rate_of(root: Path, engine: str, shard: int) -> float:
    """Return images a second from the first part to the last."""
    out = root / f"out-{engine}"
    shutil.rmtree(out, ignore_errors=True)
    call = [sys.executable, "-m", "dropsight", "archive", str(root / "images"), "-o", str(out)]
    how = ["--embeddings"] if engine == EMBEDDINGS else ["--engine", engine]
    options = [*how, "--shard", str(shard)]
    environ = {**os.environ, **ENVIRON}
    done = subprocess.run([*call, *options], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    times = sorted(part.stat().st_mtime for part in out.glob("part-*.parquet"))
    # The first of each worker marks its begin.
    begin = len(os.sched_getaffinity(0))
    return (len(times) - begin) * shard / max(times[-1] - times[begin - 1], 1e-9)


def bytes_of(out: Path) -> int:
    return sum(part.stat().st_size for part in out.glob("part-*.parquet"))


def apart(what: str, root: Path, count: int) -> dict[str, float]:
    """Measure in a process of its own, whose peak of memory is nobody else's."""
    call = [sys.executable, __file__, what, str(root), str(count)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def listing(root: Path, count: int) -> None:
    """List and sort so many hard links."""
    links = hard_links(root, count)
    began = time.monotonic()
    facts = write_manifest(Storage(str(root)), files_of(str(links)), [str(links)])
    tell(facts.rows, time.monotonic() - began)


def classifying(root: Path, count: int) -> None:
    """Classify them all, by a model that takes no time, in the processes that a user has."""
    from dropsight.archive.running import ArchiveOrder, run_archive

    model = root / "tiny.tflite"
    model.write_bytes(tiny([("float32", (1, 8, 8, 3))], [("float32", (1, 4))]))
    order = ArchiveOrder(
        sources=[str(hard_links(root, count))],
        out=str(root / f"classified-{count}"),
        model=str(model),
        engine="local",
        address=None,
        shard_rows=1000,
        tta=False,
        embeddings=False,
        overwrite=True,
    )
    began = time.monotonic()
    job = run_archive(order, stopped=lambda: False)
    tell(job.images, time.monotonic() - began)


def hard_links(root: Path, count: int) -> Path:
    """Make them once: a folder holds 10,000, and no file can have more than 65,000 names."""
    links = root / f"links-{count}"
    originals = sorted((root / "images").iterdir())
    for number in range(0 if links.exists() else count):
        place = links / f"{number // LINKS_A_FOLDER:05}"
        if number % LINKS_A_FOLDER == 0:
            place.mkdir(parents=True)
        os.link(originals[number % len(originals)], place / f"{number:08}.jpg")
    return links


def tell(count: int, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = {"files": count, "seconds": round(seconds, 2), "a_second": round(count / seconds, 1)}
    print(json.dumps({**measured, "driver_peak_mib": round(peak, 1)}))


def median(rounds: Sequence[dict[str, float]], name: str) -> float:
    return round(statistics.median(each[name] for each in rounds), 1)


def ratio(rounds: Sequence[dict[str, float]], name: str, other: str) -> float:
    return round(statistics.median(each[name] / each[other] for each in rounds), 3)


PARTS = {"listing": listing, "classifying": classifying}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PARTS:
        PARTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
