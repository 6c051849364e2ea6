"""Images a second of `dropsight run --once` and `dropsight batch` against a yardstick in the same run.

The yardstick: one process a core that only reads, decodes (reduced) and invokes: no watching, no journal,
no log, no broker, no filing. Start-up is left out on both sides.

    python scripts/bench_pipeline.py            # log, journal and QoS 1 publishing to Mosquitto all on
    python scripts/bench_pipeline.py --no-mqtt
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np

import dropsight
from dropsight.models.registry import locate

SAMPLES = Path(dropsight.__file__).parent / "samples"
SIZES = {"640x480": 1200, "1920x1080": 600, "4056x3040": 200}
REDUCED = {1: cv2.IMREAD_COLOR, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
SIDE = 224


def generate(folder: Path, size: str, count: int) -> list[Path]:
    """Write the sample photos in this size, over and over."""
    width, height = map(int, size.split("x"))
    folder.mkdir()
    photos = sorted(SAMPLES.glob("*.jpg"))
    encoded = []
    for photo in photos:
        picture = cv2.imread(str(photo))
        assert picture is not None  # noqa: S101 - our own photos
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded[number % len(encoded)])
    return paths


def yardstick(paths: Sequence[Path], scale: int) -> float:
    """Return images a second of a process a core."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    parts = [[str(path) for path in paths[number::cores]] for number in range(cores)]
    workers = [context.Process(target=_decode_and_invoke, args=(part, scale, barrier)) for part in parts]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    return len(paths) / (time.perf_counter() - started)


def _decode_and_invoke(paths: Sequence[str], scale: int, barrier: Barrier) -> None:
    from ai_edge_litert.interpreter import Interpreter

    cv2.setNumThreads(1)
    interpreter = Interpreter(model_path=str(locate("builtin:efficientnet_lite0")), num_threads=1)
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.invoke()
    barrier.wait()
    for path in paths:
        picture = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), REDUCED[scale])
        assert picture is not None  # noqa: S101 - our own photos
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        tensor = (np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8) ^ 128).view(np.int8)
        interpreter.set_tensor(inputs["index"], tensor[np.newaxis])
        interpreter.invoke()
        interpreter.get_tensor(outputs["index"])


def daemon(root: Path, inbox: Path, count: int, mqtt: str) -> float:
    """Return images a second from the first record's image being taken to the last record."""
    command = [sys.executable, "-m", "dropsight", "run", "--once", "--watch", str(inbox), "--mqtt", mqtt]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    logs = sorted((root / "logs").glob("results.jsonl*"))
    if len(logs) > 1:
        raise SystemExit("the log was rotated: give fewer images")
    records = [json.loads(line) for line in logs[0].read_text().splitlines()]
    if len(records) != count:
        raise SystemExit(f"{len(records)} records of {count} images")
    starts = [_seconds(record) - _spent_ms(record) / 1e3 for record in records]
    return count / (max(map(_seconds, records)) - min(starts))


def batch(root: Path, inbox: Path, count: int) -> float:
    """Return images a second of `dropsight batch`."""
    out = root / "results.json"
    command = [sys.executable, "-m", "dropsight", "batch", str(inbox), "-o", str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds: float = json.loads(out.read_text())["total_time_ms"] / 1e3
    return count / seconds


def _seconds(record: dict[str, str]) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


def _spent_ms(record: dict[str, dict[str, float]]) -> float:
    latency = record["latency_ms"]
    return sum(latency[stage] for stage in ("decode", "preprocess", "inference", "postprocess"))


def _broker(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto, or --no-mqtt")
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    return subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def measure(size: str, count: int, rounds: int, mqtt: str) -> None:
    scale = {"640x480": 1, "1920x1080": 4, "4056x3040": 8}[size]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="dropsight-bench-") as folder:
            root = Path(folder)
            paths = generate(root / "inbox", size, count)
            reference = yardstick(paths, scale)
            batched = batch(root, root / "inbox", count)
            ours = daemon(root, root / "inbox", count, mqtt)
        run = f"run --once {ours:6.1f}/s, ratio {ours / reference:.2f}"
        many = f"batch {batched:6.1f}/s, ratio {batched / reference:.2f}"
        print(f"{size:>10}  yardstick {reference:6.1f}/s  {run}  {many}", flush=True)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--no-mqtt", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of images")
    arguments = parser.parse_args()
    port = 18_899
    with tempfile.TemporaryDirectory() as folder:
        broker = None if arguments.no_mqtt else _broker(Path(folder), port)
        try:
            for size in arguments.sizes:
                count = max(int(SIZES[size] * arguments.share), 10)
                mqtt = "none" if arguments.no_mqtt else f"mqtt://127.0.0.1:{port}"
                measure(size, count, arguments.rounds, mqtt)
        finally:
            if broker:
                broker.terminate()
                broker.wait()


if __name__ == "__main__":
    main()
