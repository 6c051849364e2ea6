"""Who classifies a folder of images, and how many a second, the start not counted.

The bare machine, dropsight, a loop of one's own, MediaPipe.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import resize
from dropsight.inference.preparing import lookup_table, shift_of
from dropsight.models.backends import locate, open_model

SCRIPTS = Path(__file__).parent
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
SIDE, CROP = 224, 0.875
# The slow ones need not see every image.
SHARE_OF_SLOW = 6


@dataclass(frozen=True, slots=True)
class Job:
    """`images` all of one size and format; `port` of a broker on this machine, 0 for none."""

    images: Path
    model: str
    port: int
    mediapipe_python: str | None = None
    mediapipe_model: str | None = None

    @property
    def paths(self) -> list[Path]:
        return sorted(self.images.iterdir())


def yardstick(job: Job) -> float:
    """One process per core that reads, decodes at reduced scale, crops, resizes and invokes: nothing else."""
    cores, paths = len(os.sched_getaffinity(0)), [str(path) for path in job.paths]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(cores + 1)
    table = lookup_table(open_model(job.model).spec)
    workers = [
        context.Process(target=_bare, args=(paths[number::cores], str(locate(job.model)), table, barrier))
        for number in range(cores)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return len(paths) / (time.perf_counter() - began)


def _bare(paths: Sequence[str], model: str, table: NDArray[np.generic], barrier: Barrier) -> None:
    from ai_edge_litert.interpreter import Interpreter

    cv2.setNumThreads(1)
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.invoke()
    flag = REDUCED[_reduction(paths[0])] if paths else 0
    shift = shift_of(table)
    barrier.wait()
    for path in paths:
        small = _small(path, flag)
        tensor = cv2.LUT(small, table[np.newaxis]) if shift is None else (small + shift).view(table.dtype)  # type: ignore[arg-type] # numbers
        interpreter.set_tensor(inputs["index"], tensor[np.newaxis])
        interpreter.invoke()
        interpreter.get_tensor(outputs["index"])


def _small(path: str, flag: int) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), flag)
    assert picture is not None  # noqa: S101 - our own photos
    height, width = picture.shape[:2]
    side = int(min(height, width) * CROP)
    top, left = (height - side) // 2, (width - side) // 2
    crop = picture[top : top + side, left : left + side]
    # Ours is faster than OpenCV's by area: that is part of what the machine can do.
    small = resize(np.asarray(crop, np.uint8), height=SIDE, width=SIDE)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def _reduction(path: str) -> int:
    """Return the smallest scale that leaves the crop no smaller than the model's input; 1 for no JPEG."""
    if not path.endswith(".jpg"):
        return 1
    picture = cv2.imread(path)
    assert picture is not None  # noqa: S101 - our own photos
    side = min(picture.shape[:2]) * CROP
    return next((scale for scale in (8, 4, 2) if side / scale >= SIDE), 1)


def run_once(job: Job) -> float:
    """`dropsight run --once`, journal, log, broker at QoS 1 and filing on."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=job.images.parent) as folder:
        root = Path(folder)
        fill(root / "inbox", job.paths)
        mqtt = f"mqtt://127.0.0.1:{job.port}" if job.port else "none"
        _call([sys.executable, "-m", "dropsight", "run", "--once", "--watch", str(root / "inbox"),
               "--model", job.model, "--mqtt", mqtt], root)  # fmt: skip
        log = root / "logs" / "results.jsonl"
        records = [json.loads(line) for line in log.read_text().splitlines()]
    if len(records) != len(job.paths):
        raise SystemExit(f"{len(records)} records of {len(job.paths)} images")
    began = min(_seconds(record) - _spent_ms(record) / 1e3 for record in records)
    return len(records) / (max(map(_seconds, records)) - began)


def batch(job: Job) -> float:
    """`dropsight batch`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "results.json"
        _call([sys.executable, "-m", "dropsight", "batch", str(job.images), "-o", str(out),
               "--model", job.model], Path(folder))  # fmt: skip
        milliseconds: float = json.loads(out.read_text())["total_time_ms"]
    return len(job.paths) / (milliseconds / 1e3)


def user_loop(job: Job) -> float:
    """One image after the other, each decoded whole: scripts/user_loop.py."""
    paths = job.paths[::SHARE_OF_SLOW]
    with tempfile.TemporaryDirectory(prefix="bench-", dir=job.images.parent) as folder:
        command = [sys.executable, str(SCRIPTS / "user_loop.py"), str(locate(job.model)), folder]
        loop = subprocess.Popen(
            [*command, str(len(paths)), str(job.port)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert loop.stdout  # noqa: S101 - a pipe was asked for
            if loop.stdout.readline().strip() != "ready":
                raise SystemExit("scripts/user_loop.py does not start")
            fill(Path(folder), paths)
            return _rate(loop.stdout.read())
        finally:
            loop.kill()
            loop.wait()


def mediapipe(job: Job) -> float:
    """MediaPipe's ImageClassifier: scripts/mediapipe_loop.py."""
    count = len(job.paths[::SHARE_OF_SLOW])
    command = [str(job.mediapipe_python), str(SCRIPTS / "mediapipe_loop.py"), str(job.mediapipe_model)]
    return _rate(_call([*command, str(job.images), str(count)], SCRIPTS))


CONTENDERS: dict[str, Callable[[Job], float]] = {
    "yardstick": yardstick,
    "run --once": run_once,
    "batch": batch,
    "own loop": user_loop,
    "MediaPipe": mediapipe,
}


def why_no_mediapipe(python: str | None, model: str | None) -> str | None:
    if python is None or model is None:
        return "no --mediapipe-python and --mediapipe-model given"
    tried = subprocess.run([python, "-c", "import mediapipe"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]


def fill(folder: Path, paths: Sequence[Path]) -> None:
    """Have them come as cameras' pictures do: whole, on disk, each a file of one name.

    Of a second name (a hard link) dropsight would file a copy, on a thread of its own and with an fsync.
    """
    folder.mkdir(exist_ok=True)
    beside = folder.with_name(f"{folder.name}-coming")
    beside.mkdir()
    for path in paths:
        shutil.copyfile(path, beside / path.name)
    os.sync()  # else a commit of the journal might have to wait for them
    for path in paths:
        (beside / path.name).rename(folder / path.name)
    beside.rmdir()


def _call(command: Sequence[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout


def _rate(answer: str) -> float:
    found = json.loads(answer)
    return float(found["images"] / found["seconds"])


def _seconds(record: dict[str, str]) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


def _spent_ms(record: dict[str, dict[str, float]]) -> float:
    latency = record["latency_ms"]
    return sum(latency[stage] for stage in ("decode", "preprocess", "inference", "postprocess"))
