r"""Images a second of dropsight beside the bare machine, a loop of one's own and MediaPipe, in turns.

python scripts/bench_pipeline.py --json docs/throughput.json --figure docs/figures/throughput.png \
    --models int8=builtin:efficientnet_lite0 fp16=models/efficientnet_lite0_fp16.tflite \
    heavy=models/resnet50_int8.tflite \
    --mediapipe-python ~/mp/bin/python --mediapipe-model models/efficientnet_lite0_uint8.tflite

The models come from scripts/build_models.py and scripts/export_model.py. Medians of rounds; ratios are
medians of those within a round, so what else the machine does hits all alike.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import mosquitto  # noqa: E402
from contenders import CONTENDERS, Job, why_no_mediapipe  # noqa: E402
from dropsight.models.backends import locate, open_model  # noqa: E402
from machine import machine  # noqa: E402
from tflite_metadata import metadata, with_metadata  # noqa: E402

SAMPLES = ROOT / "daemon" / "dropsight" / "samples"
CASES = {"640x480.jpg": 1200, "1920x1080.jpg": 800, "4056x3040.jpg": 300, "1920x1080.png": 300}
"""Size and format, and how many images a run takes of a model that answers in `LIGHT_MS`."""
LIGHT_MS = 5.0
YARDSTICK = "yardstick"

Row: TypeAlias = dict[str, object]


def generate(folder: Path, case: str, count: int) -> list[Path]:
    """Write the sample photos in this size and format, over and over."""
    size, suffix = case.split(".")
    width, height = map(int, size.split("x"))
    folder.mkdir()
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == "jpg" else []
    encoded = []
    for photo in sorted(SAMPLES.glob("*.jpg"))[: min(count, 13)]:
        picture = cv2.imread(str(photo))
        assert picture is not None  # noqa: S101 - our own photos
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(f".{suffix}", resized, quality)[1].tobytes())
    paths = [folder / f"{number:05}.{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded[number % len(encoded)])
    return paths


def measure(job: Job, names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return images a second of each contender, a value a round."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(CONTENDERS[name](job))
    return found


def summary(found: Mapping[str, Sequence[float]]) -> Row:
    """Return the median of each contender, and of its ratios to the yardstick."""
    bare = found[YARDSTICK]
    return {
        name: {
            "images_per_second": round(statistics.median(values), 2),
            "to_yardstick": round(statistics.median(v / b for v, b in zip(values, bare, strict=True)), 3),
            "rounds": [round(value, 2) for value in values],
        }
        for name, values in found.items()
    }


def line(model: str, case: str, row: Row) -> str:
    cells = (
        f"{name} {entry['images_per_second']:7.1f} ({entry['to_yardstick']:.2f})"
        for name, entry in row.items()
        if isinstance(entry, dict)
    )
    return f"{model:>8} {case:>14}  {'  '.join(cells)}"


def invoke_ms(model: str) -> float:
    """Return how long the model takes for an image at its best."""
    opened = open_model(model)
    image = np.zeros((1, *opened.spec.input.shape[1:]), opened.spec.input.dtype)
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        opened.scores(image)
        spent.append((time.perf_counter() - began) * 1e3)
    return min(spent)


def named_copy(model: Path, folder: Path) -> str:
    """MediaPipe wants metadata inside the file; as for the built-in model, (pixel - 127) / 128."""
    labels = locate("builtin:efficientnet_lite0").parent / "imagenet_labels.txt"
    block = metadata(127.0, 128.0, labels.name)
    target = folder / "mediapipe.tflite"
    target.write_bytes(with_metadata(model.read_bytes(), block, {labels.name: labels.read_text()}))
    return str(target)


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--no-mqtt", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of images")
    parser.add_argument(
        "--models", nargs="+", default=["int8=builtin:efficientnet_lite0"], metavar="NAME=MODEL"
    )
    parser.add_argument("--mediapipe-python", help="of an environment that has MediaPipe")
    parser.add_argument("--mediapipe-model", help="float or uint8: it takes no int8")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    reason = why_no_mediapipe(args.mediapipe_python, args.mediapipe_model)
    if reason:
        print(f"without MediaPipe: {reason}", file=sys.stderr)
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-bench-")))
        port = 0 if args.no_mqtt else stack.enter_context(mosquitto(folder)).port
        named = None if reason else named_copy(Path(args.mediapipe_model), folder)
        for number, (name, _, model) in enumerate(entry.partition("=") for entry in args.models):
            share = args.share * min(LIGHT_MS / invoke_ms(model), 1)
            # MediaPipe has a model of its own: comparable with the first only.
            names = [each for each in CONTENDERS if each != "MediaPipe" or not (reason or number)]
            for case in args.cases:
                images = folder / f"{name}-{case}"
                generate(images, case, max(int(CASES[case] * share), 12))
                path = model if model.startswith("builtin:") else str(Path(model).resolve())
                job = Job(images, path, port, args.mediapipe_python, named)
                row = summary(measure(job, names, args.rounds))
                rows.append({"model": name, "case": case, "contenders": row})
                print(line(name, case, row), flush=True)
    if args.json:
        text = json.dumps({"machine": machine(), "without_mediapipe": reason, "rows": rows}, indent=1)
        args.json.write_text(text + "\n")
    if args.figure:
        from bench_figure import draw

        draw(rows, args.figure)


if __name__ == "__main__":
    main()
