"""Measure what event rules cost: microseconds a record, as a share of what an image costs in all.

scripts/bench_events.py --rules 0 1 20 100
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dropsight.classify.engine import open_engine
from dropsight.config import Config, Inference
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.images.opening import open_image
from dropsight.inference import pipeline
from dropsight.records import ImageFacts, Latency, ModelFacts, Prediction, Result, timestamp
from machine import machine

SAMPLE = Path(__file__).resolve().parent.parent / "daemon" / "dropsight" / "samples" / "chelsea.jpg"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
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
    json.dump(told, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
