"""Measure what event rules cost: microseconds a record, as a share of what an image costs in all.

scripts/bench_events.py --rules 0 1 20 100
scripts/bench_events.py --answers              # what groups and unknown cost an answer, before its record
scripts/bench_events.py --rounds 12            # the same of the daemon, with groups, unknown, and its journal

The daemon runs `--once` over small pictures with a model that takes no time, in turns with and without: so
the difference, processor time an image, is not lost among what the built-in model needs; and on one core, or
it would be lost among what threads on two take from each other. All answers say cat; at one of ten cameras an
event goes on with each of them; the other rules look for other things.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml

from dropsight.classify.engine import open_engine
from dropsight.config import Config, Inference, load
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.images.opening import open_image
from dropsight.inference import pipeline
from dropsight.records import ImageFacts, Latency, ModelFacts, Prediction, Result, timestamp
from machine import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from tiny_tflite import tiny  # noqa: E402

SAMPLE = ROOT / "daemon" / "dropsight" / "samples" / "chelsea.jpg"
FEW = 10
"""Such a part of the images tells what start and end take."""
CATS = {281: 0.5, 282: 0.25, 285: 0.1}
EPOCH = 1_800_000_000.0
MODEL = ModelFacts("m", "tflite", "int8", "sha256:0")
CAMERAS = 8
# Every so many records of a camera there are some that a rule takes.
VISIT_EVERY, VISIT_LASTS = 50, 5


def records(count: int, labels: Sequence[str]) -> list[Result]:
    """Five classes each, a second apart; a tenth of them in visits."""
    found = []
    for number in range(count):
        turn = number // CAMERAS
        visits = turn % VISIT_EVERY < VISIT_LASTS
        first = 20 + turn // VISIT_EVERY if visits else turn * 7
        ranked = [
            Prediction(
                place, labels[(first + 31 * place) % len(labels)], (0.9 if visits else 0.55) / 2**place
            )
            for place in range(5)
        ]
        at = timestamp(EPOCH + number)
        found.append(
            Result(
                id=f"{number:032x}",
                time=at,
                device="d",
                camera=f"camera-{number % CAMERAS}",
                image_path="x.jpg",
                predicted_class=ranked[0].class_index,
                label=ranked[0].label,
                confidence=ranked[0].confidence,
                top_5_predictions={},
                predictions=ranked,
                image=ImageFacts(640, 480, 1, "jpeg", at),
                model=MODEL,
                tta=1,
                temperature=1.0,
                latency_ms=Latency(),
            )
        )
    return found


def rules(count: int, labels: Sequence[str]) -> list[Rule]:
    """Three labels each, some by a pattern; the first ones look for what the visits show."""
    return [
        Rule(
            f"rule-{number}",
            (labels[20 + number], labels[(400 + 3 * number) % len(labels)], f"*{labels[200 + number][-6:]}"),
            confidence={"*": 0.6},
        )
        for number in range(count)
    ]


def record_us(found: Sequence[Result], wanted: Sequence[Rule]) -> tuple[float, int]:
    """Return processor time a record, and how many changes there were; the first third warms up."""
    taker = Machine(wanted)
    third, changes = len(found) // 3, 0
    for record in found[:third]:
        if sighting := sighting_of(record):
            taker.step(sighting)
    began = time.process_time()
    for record in found[third:]:
        if sighting := sighting_of(record):
            changes += len(taker.step(sighting))
    return (time.process_time() - began) / (len(found) - third) * 1e6, changes


def image_us(images: int) -> tuple[float, Sequence[str]]:
    """Return processor time an image, from its file to its answer, and the model's labels."""
    engine = open_engine(Config(inference=Inference(workers=1)))

    def one() -> None:
        with open_image(SAMPLE) as file:
            prepared = pipeline.prepare(*pipeline.read(file, engine.plan), engine.plan)
        pipeline.predict(engine.models[0], prepared, engine.plan)

    one()
    began = time.process_time()
    for _ in range(images):
        one()
    return (time.process_time() - began) / images * 1e6, engine.plan.spec.labels


def configs(labels: Sequence[str], count: int) -> dict[str, dict[str, object]]:
    """Return the config without any, with groups and unknown, and with rules, too."""
    others = [
        {"name": f"rule-{number}", "labels": [f"group:{name}" if number % 2 else name]}
        for number, name in enumerate(labels[400 : 400 + count - 1])
    ]
    cat = {"name": "cat", "labels": ["group:cat"], "cameras": ["camera-0"]}
    named: dict[str, object] = {"groups": "auto", "inference": {"unknown": "auto"}}
    return {
        "neither": {"groups": "off"},
        "groups and unknown": named,
        "rules, too": {**named, "events": [cat, *others]},
    }


def write_model(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    shares = np.full(len(labels), (1 - sum(CATS.values())) / (len(labels) - len(CATS)), np.float32)
    for number, share in CATS.items():
        shares[number] = share
    whole = tiny(
        [("float32", (1, 8, 8, 3))], [("float32", (1, len(labels)))], answer=np.log(shares).tobytes()
    )
    (folder / "model.tflite").write_bytes(whole)
    (folder / "model.yaml").write_text("unknown: 0.65\n")
    (folder / "labels.txt").write_text("\n".join(labels))
    return {"path": str(folder / "model.tflite"), "labels": str(folder / "labels.txt")}


def answers_us(labels: Sequence[str], *, turns: int = 50, answers: int = 200) -> dict[str, float]:
    """Return processor time an answer from scores, in turns with and without: the least of them."""
    made: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-events-") as folder:
        file, model = Path(folder) / "c.yaml", write_model(Path(folder), labels)
        for name, config in configs(labels, 0).items():
            file.write_text(yaml.safe_dump({**config, "model": model, "mqtt": None, "web": None}))
            engine = open_engine(load(file))
            with open_image(SAMPLE) as image:
                prepared = pipeline.prepare(*pipeline.read(image, engine.plan), engine.plan)
            made[name] = partial(pipeline.answer, pipeline.invoke(engine.models[0], prepared), engine.plan)
    found: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(turns):
        for name, answer in made.items():
            began = time.process_time()
            for _ in range(answers):
                answer()
            found[name].append((time.process_time() - began) / answers * 1e6)
    return {name: round(min(each), 1) for name, each in found.items() if name != "rules, too"}


@contextmanager
def on_one_core() -> Iterator[None]:
    """Whatever is started meanwhile stays there."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def once_us(model: Mapping[str, str], config: Mapping[str, object], images: int) -> float:
    """Return processor time an image, without that of a daemon's start and end."""
    few = images // FEW
    return (_once(model, config, images) - _once(model, config, few)) / (images - few) * 1e6


def _once(model: Mapping[str, str], config: Mapping[str, object], images: int) -> float:
    """Return the processor time, in seconds, of a daemon that works off so many and ends."""
    with tempfile.TemporaryDirectory(prefix="bench-events-") as made:
        folder = Path(made)
        ok, encoded = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
        for number in range(images if ok else 0):
            target = folder / "inbox" / f"camera-{number % 10}" / f"{number:05}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encoded.tobytes())
        (folder / "c.yaml").write_text(
            yaml.safe_dump({**config, "model": dict(model), "mqtt": None, "web": None})
        )
        command = [sys.executable, "-m", "dropsight", "run", "--once", "-c", str(folder / "c.yaml")]
        with (folder / "told").open("wb") as told, on_one_core():
            daemon = subprocess.Popen(command, cwd=folder, stdout=told, stderr=told)
            _, status, spent = os.wait4(daemon.pid, 0)
        daemon.returncode = os.waitstatus_to_exitcode(status)
        done = (folder / "logs" / "results.jsonl").read_text().count('"status":"ok"')
        if daemon.returncode or done != images:
            raise SystemExit((folder / "told").read_text())
        return spent.ru_utime + spent.ru_stime


def daemons_us(labels: Sequence[str], count: int, *, rounds: int, images: int) -> dict[str, dict[str, float]]:
    """Return medians of what an image costs, and of what it costs more than without in the same round."""
    wanted = configs(labels, count)
    found: dict[str, list[float]] = {name: [] for name in wanted}
    with tempfile.TemporaryDirectory(prefix="bench-events-") as folder:
        model = write_model(Path(folder), labels)
        for _ in range(rounds):
            for name, config in wanted.items():
                found[name].append(once_us(model, config, images))
    least = found["neither"]
    return {
        name: {
            "image_us": round(statistics.median(each), 1),
            "more_us": round(statistics.median(a - b for a, b in zip(each, least, strict=True)), 1),
        }
        for name, each in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=0, help="of the daemon")
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--waiting", type=int, default=2000, help="images of each run")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rules", type=int, nargs="+", default=[0, 1, 20])
    wanted = parser.parse_args()
    an_image_us, labels = image_us(wanted.images)
    found = records(wanted.records, labels)
    measured = []
    for count in wanted.rules:
        spent_us, changes = record_us(found, rules(count, labels))
        share = round(spent_us / an_image_us, 5)
        measured.append({"rules": count, "record_us": round(spent_us, 2), "share": share, "changes": changes})
    told = {"machine": machine(), "image_us": round(an_image_us, 1), "runs": measured}
    if wanted.answers:
        told["answer_us"] = answers_us(labels)
    if wanted.rounds:
        told["daemon"] = daemons_us(labels, max(wanted.rules), rounds=wanted.rounds, images=wanted.waiting)
    json.dump(told, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
