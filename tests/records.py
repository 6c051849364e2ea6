"""Records of images that nobody looked at."""

import os

from dropsight.errors import ErrorCode
from dropsight.records import (
    ErrorFacts,
    Failure,
    ImageFacts,
    Latency,
    ModelFacts,
    Prediction,
    Result,
    drop_id,
)

MODEL = ModelFacts("m", "tflite", "int8", "sha256:0")


def failure(name: str, stat: os.stat_result, code: ErrorCode = "truncated") -> Failure:
    return Failure(
        id=_id(name, stat),
        time="t",
        device="d",
        camera="c",
        image_path=name,
        error=ErrorFacts(code, "bad"),
        latency_ms=Latency(),
    )


def result(name: str, stat: os.stat_result) -> Result:
    return Result(
        id=_id(name, stat),
        time="t",
        device="d",
        camera="c",
        image_path=name,
        predicted_class=1,
        label="x",
        confidence=0.5,
        top_5_predictions={"1": 0.5},
        predictions=[Prediction(1, "x", 0.5)],
        image=ImageFacts(1, 1, stat.st_size, "jpeg", "t"),
        model=MODEL,
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )


def _id(name: str, stat: os.stat_result) -> str:
    return drop_id("d", name.encode(), stat.st_size, stat.st_mtime_ns)
