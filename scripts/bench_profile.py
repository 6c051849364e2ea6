"""Where the processor time of an image goes, library by library: dropsight beside the bare machine.

    scripts/bench_profile.py 1920x1080.jpg

From perf's samples of runs of two lengths, so that the start, which both have, cancels out. Needs perf
(apt-get install linux-perf). Everything is on: journal, log, Mosquitto at QoS 1, filing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_pipeline import CASES, generate  # noqa: E402
from brokers import mosquitto  # noqa: E402
from contenders import fill  # noqa: E402
from machine import environment  # noqa: E402

MODEL = "builtin:efficientnet_lite0"
SAMPLES_A_SECOND = 4000
YARDSTICK = f"""
import sys
from pathlib import Path
from contenders import Job, yardstick
yardstick(Job(Path(sys.argv[1]), "{MODEL}", 0))
"""
PARTS = {
    "libpywrap_litert_common.so": "the interpreter (XNNPACK)",
    "cv2.abi3.so": "OpenCV and libjpeg",
    "_jpeg.": "OpenCV and libjpeg",
    "_multiarray_umath": "NumPy",
    "libpython": "Python",
    "python3": "Python",
    "libsqlite3": "SQLite",
    "[kernel": "the kernel",
}
SHOWN = (*dict.fromkeys(PARTS.values()), "the rest")


def spent_ms(command: Sequence[str], folder: Path) -> Counter[str]:
    """Run it; return milliseconds of processor time by part."""
    folder.mkdir()
    samples = folder / "perf.data"
    recording = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_A_SECOND), "-o", str(samples)]
    paths = os.pathsep.join(str(ROOT / name) for name in ("daemon", "scripts", "tests"))
    subprocess.run(
        [*recording, *command], cwd=folder, env={**environment(), "PYTHONPATH": paths}, capture_output=True,
        check=True,
    )  # fmt: skip
    told = subprocess.run(
        ["perf", "report", "-i", str(samples), "--stdio", "--sort", "dso", "-F", "sample,dso"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found: Counter[str] = Counter()
    for line in told.splitlines():
        if line.strip() and not line.startswith("#"):
            count, library = line.split(maxsplit=1)
            part = next((part for name, part in PARTS.items() if library.startswith(name)), "the rest")
            found[part] += int(count)
    return Counter({part: count * 1000 / SAMPLES_A_SECOND for part, count in found.items()})


def daemon(images: Path, folder: Path, port: int) -> Counter[str]:
    inbox = folder.with_name(f"{folder.name}-inbox")
    fill(inbox, sorted(images.iterdir()))
    arguments = [
        "run",
        "--once",
        "--watch",
        str(inbox),
        "--model",
        MODEL,
        "--mqtt",
        f"mqtt://127.0.0.1:{port}",
    ]
    return spent_ms([sys.executable, "-m", "dropsight", *arguments], folder)


def yardstick(images: Path, folder: Path, _port: int) -> Counter[str]:
    return spent_ms([sys.executable, "-c", YARDSTICK, str(images)], folder)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--images", type=int, nargs=2, default=[300, 1800], metavar=("FEW", "MANY"))
    args = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("there is no perf here: apt-get install linux-perf")
    few, many = args.images
    rows: list[Counter[str]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-profile-")))
        port = stack.enter_context(mosquitto(folder)).port
        for count in (few, many):
            generate(folder / str(count), args.case, count)
        for contender in (yardstick, daemon):
            name = contender.__name__
            short, long = (
                contender(folder / str(count), folder / f"{name}-{count}", port) for count in (few, many)
            )
            long.subtract(short)
            rows.append(long)
    print(f"{'ms of processor time an image':<32}{'yardstick':>12}{'run --once':>12}{'more':>8}")
    for part in (*SHOWN, None):
        bare, ours = ((row[part] if part else row.total()) / (many - few) for row in rows)
        print(f"{part or 'together':<32}{bare:>12.3f}{ours:>12.3f}{ours - bare:>8.3f}")


if __name__ == "__main__":
    main()
