"""`dropsight bench`."""

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dropsight.classify.engine import open_engine
from dropsight.classify.resources import cores
from dropsight.classify.work import Engine
from dropsight.commands.places import need_folder
from dropsight.commands.settings import find_config, settings
from dropsight.commands.splits import Split, candidates, throughput
from dropsight.config import Config, Watch
from dropsight.config.editing import with_values
from dropsight.config.keys import Key
from dropsight.errors import ConfigError, ImageError
from dropsight.files.disk import exchange
from dropsight.images.opening import open_image
from dropsight.inference import image_records, pipeline
from dropsight.inference.image_records import Drop
from dropsight.intake.folder import DropFolder
from dropsight.names import as_shown
from dropsight.records import encode

SAMPLES = Path(__file__).parent.parent / "samples"
ROUNDS = 3
STAGES = ("read", "decode", "preprocess", "inference", "postprocess", "record", "total")
PERCENTILES = (50, 95, 99)


def bench(
    file: Path | None, *, model: str | None, images: Path | None, seconds: float, tune: bool, as_json: bool
) -> None:
    """Measure; with `tune`, write the best split into the config file. Raises DropsightError."""
    config = settings(find_config(file), overrides={} if model is None else {"model.path": model})
    if images is not None:
        need_folder(images, "of images")
    paths = _images(images)
    engine = open_engine(config)
    stages = stage_latencies(engine, paths, seconds=seconds)
    one_image_ms = stages["total"][0]
    count = max(int(seconds * 1e3 / max(one_image_ms, 0.1) * cores()), 50)
    threads = config.model.threads
    now = Split(len(engine.models), 1 if threads == "auto" else threads)
    tried = candidates(cores()) if tune else []
    speeds = _speeds(list(dict.fromkeys([now, *tried])), config, paths, count=count)
    best = max(speeds, key=lambda split: speeds[split])
    if as_json:
        print(json.dumps(_answer(engine, stages, speeds, now, best), indent=2))
    else:
        print("\n".join(_lines(engine, stages, speeds, now, best, count=len(paths))))
    if tune:
        _keep(file, best)


def stage_latencies(engine: Engine, paths: Sequence[Path], *, seconds: float) -> dict[str, tuple[float, ...]]:
    """Return p50, p95 and p99 a stage in milliseconds, one image after the other on one core."""
    rows: list[tuple[float, ...]] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or len(rows) < len(paths):
        rows.append(_one(engine, paths[len(rows) % len(paths)]))
    found = np.percentile(np.array(rows[1:] or rows), PERCENTILES, axis=0)
    return {stage: tuple(round(float(value), 3) for value in found[:, n]) for n, stage in enumerate(STAGES)}


def _one(engine: Engine, path: Path) -> tuple[float, ...]:
    plan = engine.plan
    started = time.perf_counter()
    with open_image(path) as file:
        data, header = pipeline.read(file, plan)
        stat = file.stat
    read = time.perf_counter()
    prepared = pipeline.prepare(data, header, plan)
    answer = pipeline.predict(engine.models[0], prepared, plan)
    answered = time.perf_counter()
    drop = Drop.of(str(path).encode(), "bench", stat, device=plan.device, wait_ms=0.0)
    encode(image_records.result(drop, header, prepared, answer, plan, at=time.time()))
    ended = time.perf_counter()
    return (
        (read - started) * 1e3,
        prepared.decode_ms,
        prepared.preprocess_ms,
        answer.inference_ms,
        answer.postprocess_ms,
        (ended - answered) * 1e3,
        (ended - started) * 1e3,
    )


def _images(folder: Path | None) -> list[Path]:
    places = DropFolder.open(Watch(path=folder or SAMPLES)).images()
    good = []
    for path in sorted(places):
        try:
            with open_image(path):
                good.append(Path(path))
        except (ImageError, FileNotFoundError) as error:
            print(as_shown(f"dropsight: {path}: {error}"), file=sys.stderr)
    if not good:
        raise ConfigError([f"--images {folder}: no images there"])
    return good


def _speeds(
    splits: Sequence[Split], config: Config, paths: Sequence[Path], *, count: int
) -> dict[Split, float]:
    """Medians of interleaved rounds: what else the machine does hits all alike."""
    found: dict[Split, list[float]] = {split: [] for split in splits}
    rounds = ROUNDS if len(splits) > 1 else 1
    with tqdm(total=rounds * len(splits), unit="run", disable=not sys.stderr.isatty()) as progress:
        for _ in range(rounds):
            for split in splits:
                found[split].append(throughput(split, config, paths, count=count))
                progress.update()
    return {split: statistics.median(values) for split, values in found.items()}


def _lines(
    engine: Engine,
    stages: dict[str, tuple[float, ...]],
    speeds: dict[Split, float],
    now: Split,
    best: Split,
    *,
    count: int,
) -> Iterator[str]:
    spec = engine.plan.spec
    yield f"{spec.name} ({spec.quantization}, {spec.backend}), {count} images, {cores()} cores"
    yield f"{'ms, one at a time':<20}{'p50':>9}{'p95':>9}{'p99':>9}"
    for stage, values in stages.items():
        yield f"  {stage:<18}{''.join(f'{value:>9.2f}' for value in values)}"
    yield f"{'workers':>9}{'threads':>9}{'images/s':>10}"
    for split, speed in sorted(speeds.items(), key=lambda entry: -entry[1]):
        marks = [word for word, which in (("as configured", now), ("best", best)) if which == split]
        note = f"  {', '.join(marks)}" if len(speeds) > 1 else ""
        yield f"{split.workers:>9}{split.threads:>9}{speed:>10.1f}{note}"


def _answer(
    engine: Engine,
    stages: dict[str, tuple[float, ...]],
    speeds: dict[Split, float],
    now: Split,
    best: Split,
) -> dict[str, object]:
    rows = [
        {
            "workers": split.workers,
            "threads": split.threads,
            "images_per_second": round(speed, 2),
            "configured": split == now,
            "best": split == best,
        }
        for split, speed in speeds.items()
    ]
    named = {stage: dict(zip(("p50", "p95", "p99"), values, strict=True)) for stage, values in stages.items()}
    return {"model": engine.plan.spec.name, "cores": cores(), "stage_ms": named, "splits": rows}


def _keep(file: Path | None, best: Split) -> None:
    values: dict[Key, int | float | str] = {
        ("inference", "workers"): best.workers,
        ("model", "threads"): best.threads,
    }
    if file is None:
        said = ", ".join(f"{'.'.join(key)}: {value}" for key, value in values.items())
        print(f"no config file given (-c FILE) to write it into: {said}", file=sys.stderr)
        return
    before = file.read_text(encoding="utf-8")
    exchange(file, with_values(before, values).encode(), check=settings)
    print(f"{file}: {best}", file=sys.stderr)
