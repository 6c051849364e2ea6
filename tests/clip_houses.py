"""Daemons whose journal knows clips: where they lie by now, and what was found in them."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from clips import make_clip, numbered
from daemons import House
from dropsight.journal.store import Journal, Row
from dropsight.records import drop_id
from webs import ANY_PORT

RATE = 10
SEGMENTS = (
    ("espresso", 504, 0.0, 2.0, 0.9),
    ("giant panda", 388, 2.0, 3.0, 0.97),
    ("palace", 698, 3.0, 4.0, 0.5),
)


def gray_clip(path: Path, **how: Any) -> Path:
    """Four seconds whose gray levels tell the time: see `numbered`."""
    return make_clip(path, numbered(4 * RATE), rate=RATE, **how)


def noisy_clip(path: Path) -> Path:
    """Two seconds of noise, which is more than a player gets at once."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as made:
        stream = made.add_stream(
            "libx264", rate=RATE, options={"qp": "4", "preset": "ultrafast", "g": str(RATE)}
        )
        stream.height, stream.width, stream.pix_fmt = 360, 640, "yuv420p"
        for _ in range(2 * RATE):
            picture = noise.integers(0, 256, (360, 640, 3), np.uint8)
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode(None))
    return path


def clip_record(relative: str, stat: os.stat_result, *, seconds: float = 4.0) -> dict[str, Any]:
    """Say of a clip that it showed three things, the second one most surely, at 2.5 s."""
    timeline = [
        [at / 2, of, sure if at == 5 else min(sure, 0.9)]
        for at in range(int(2 * seconds))
        for _, of, begins, ends, sure in SEGMENTS
        if begins <= at / 2 < ends
    ]
    predictions = [{"class": of, "label": label, "confidence": sure} for label, of, _, _, sure in SEGMENTS]
    predictions.sort(key=lambda each: -float(str(each["confidence"])))
    return {
        "status": "ok",
        "schema": "dropsight/1",
        "id": drop_id("test", relative.encode(), stat.st_size, stat.st_mtime_ns),
        "time": "2026-11-28T08:00:00.000Z",
        "device": "test",
        "camera": relative.partition("/")[0],
        "image_path": relative,
        "kind": "clip",
        "predicted_class": 388,
        "label": "giant panda",
        "confidence": 0.97,
        "top_5_predictions": {str(each["class"]): each["confidence"] for each in predictions},
        "predictions": predictions,
        "image": {
            "width": 96,
            "height": 64,
            "bytes": stat.st_size,
            "format": "mp4",
            "captured": "2026-11-28T07:59:00Z",
        },
        "clip": {
            "duration": seconds,
            "fps": float(RATE),
            "codec": "h264",
            "width": 96,
            "height": 64,
            "frames_read": 40,
            "frames_classified": 8,
            "sampling": "every",
            "aggregate": "top_k_mean",
            "timed": True,
            "peak": {"time": 2.5, "frame": 25, "label": "giant panda", "confidence": 0.97},
            "segments": [
                {"label": label, "from": begins, "to": ends, "peak": sure}
                for label, _, begins, ends, sure in SEGMENTS
            ],
            "timeline": timeline,
        },
        "model": {"name": "m", "format": "tflite", "quantization": "int8", "digest": "sha256:0"},
        "tta": 1,
        "temperature": 1.0,
        "latency_ms": {
            "wait": 1.0,
            "decode": 60.0,
            "preprocess": 1.0,
            "inference": 80.0,
            "postprocess": 1.0,
            "total": 150.0,
        },
    }


def file_away(house: House, files: Sequence[Path]) -> list[str]:
    """Have on record, before it starts, that these were classified; each camera is a stem. Return the ids."""
    journal, rows = Journal(house.root / "state" / "journal.db"), []
    for file in files:
        relative = f"{file.stem}/{file.name}"
        lies = house.processed / relative
        lies.parent.mkdir(parents=True)
        shutil.copy(file, lies)
        record, stat = clip_record(relative, lies.stat()), lies.stat()
        line = json.dumps(record, separators=(",", ":")).encode()
        path = os.fsencode(house.inbox / relative)
        rows.append(Row(record["id"], path, stat.st_size, stat.st_mtime_ns, file.stem, "ok", line))
    journal.add(rows)
    journal.close()
    return [row.id for row in rows]


@contextmanager
def showing(root: Path, files: Sequence[Path], **settings: Any) -> Iterator[House]:
    """A daemon that has these on record as clips, filed away since."""
    house = House(root, {"web": ANY_PORT, **settings})
    file_away(house, files)
    try:
        house.start()
        yield house
    finally:
        house.kill()
