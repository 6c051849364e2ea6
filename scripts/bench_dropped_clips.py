"""Measure what clips in the inbox cost: the photos beside them, and themselves, however many wait.

    scripts/bench_dropped_clips.py                 # about three minutes on two idle cores
    scripts/bench_dropped_clips.py --photos 500    # shorter

In processor time, as other programs may keep the cores busy: of the threads that carry photos, and of those
that carry clips, which have a lower priority, with the process that decodes. What photos lose by a clip
that is read beside them is the share of the processor that it takes, and what each costs more.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import wait_until  # noqa: E402
from clips import Picture, make_clip, of_photos  # noqa: E402
from daemons import PHOTOS, House  # noqa: E402
from dropsight.classify.clip_worker import NICENESS  # noqa: E402
from dropsight.images.opening import open_named  # noqa: E402
from dropsight.video.decoder import ClipBounds, ClipDecoder  # noqa: E402
from dropsight.video.sampling import Sampling  # noqa: E402
from dropsight.video.wire import ClipOrder, Frames  # noqa: E402
from machine import machine  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
KEPT = {"retention": {"days": None, "max_bytes": None}}
ORDER = ClipOrder(Sampling(), Frames((224, 224), "crop", 0.875), 10**8, 600.0, whole_only=True)


def spent(stat: Path) -> tuple[float, int]:
    """Return the processor seconds of a process or thread, and its niceness."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK, int(fields[16])


def processor_seconds(house: House) -> tuple[float, float]:
    """Return those for photos and those for clips."""
    assert house.process  # noqa: S101 - it was started
    found = []
    for task in Path(f"/proc/{house.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended
            found.append(spent(task / "stat"))
    clips = sum(seconds for seconds, nice in found if nice == NICENESS)
    decoder = house.decoder()
    decoding = spent(Path(f"/proc/{decoder}/stat"))[0] if decoder else 0.0
    return sum(seconds for seconds, _ in found) - clips, clips + decoding


def panned(seconds: int, *, rate: int, height: int, width: int) -> list[Picture]:
    """Photos that the camera moves across, each for ten seconds."""
    photos = of_photos(PHOTOS, height=height, width=width)
    return [
        np.roll(photos[number // (10 * rate) % len(photos)], 2 * number, axis=1)
        for number in range(seconds * rate)
    ]


def beside(house: House, clip: Path | None, count: int, name: str) -> dict[str, float]:
    """Have photos come all at once, while a clip is read where one is given."""
    if clip:
        shutil.copy(clip, house.inbox / f"{name}.mkv")
        wait_until(lambda: house.decoder() is not None and house.counters()["in_hand"] > 0)
    staged = house.root / "staged" / name
    staged.mkdir(parents=True)
    for number in range(count):
        shutil.copy(PHOTOS[number % len(PHOTOS)], staged / f"{number}.jpg")
    before, records = processor_seconds(house), house.finished()
    began = time.monotonic()
    staged.rename(house.inbox / name)
    wait_until(lambda: house.finished() >= records + count, seconds=600)
    seconds, after = time.monotonic() - began, processor_seconds(house)
    reading = house.status()["stats"]["clips"]["waiting"]
    house.until(lambda: not house.waiting(), what="an empty inbox")
    return {
        "photos_per_second": count / seconds,
        "ms_a_photo": (after[0] - before[0]) * 1e3 / count,
        "clip_share": (after[1] - before[1]) / (after[0] - before[0] + after[1] - before[1]),
        "still_reading": reading,
    }


def photos_beside_a_clip(root: Path, count: int, rounds: int) -> dict[str, object]:
    clip = make_clip(root / "ten-minutes.mkv", panned(600, rate=10, height=360, width=640), gop=40)
    house = House(root, {"watch": [{"path": "inbox", **KEPT}]})
    alone, with_clip = [], []
    try:
        house.start()
        beside(house, None, count // 4, "warm")
        for number in range(rounds):
            alone.append(beside(house, None, count, f"alone{number}"))
            with_clip.append(beside(house, clip, count, f"beside{number}"))
        house.stop()
    finally:
        house.kill()
    share = statistics.median(each["clip_share"] for each in with_clip)
    dearer = statistics.median(each["ms_a_photo"] for each in with_clip) / statistics.median(
        each["ms_a_photo"] for each in alone
    )
    return {"alone": alone, "beside": with_clip, "lost": round(1 - (1 - share) / max(dearer, 1.0), 4)}


def cost_of_waiting(root: Path, counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Have so many small clips wait, then be taken."""
    clip = make_clip(root / "small.mkv", panned(4, rate=5, height=96, width=128), rate=5)
    found = []
    house = House(root, {"watch": [{"path": "inbox", **KEPT}]})
    try:
        house.start()
        shutil.copy(clip, house.inbox / "first.mkv")
        wait_until(lambda: house.finished() == 1)
        for number, count in enumerate(counts):
            house.ask("pause")
            for each in range(count):
                shutil.copy(clip, house.inbox / f"{number}-{each}.mkv")
            before, records = sum(processor_seconds(house)), house.finished()
            house.ask("resume")
            wait_until(lambda most=records + count: house.finished() >= most, seconds=900)  # type: ignore[misc]
            cost = sum(processor_seconds(house)) - before
            found.append({"clips": count, "ms_a_clip": round(cost * 1e3 / count, 2)})
        house.stop()
    finally:
        house.kill()
    return found


def against_the_bare_child(root: Path, count: int, rounds: int = 3) -> dict[str, float]:
    """Clips of 10 s in 1080p, in turns: decoded by the process alone, and classified by the daemon."""
    clip = make_clip(root / "large.mkv", panned(10, rate=25, height=1080, width=1920), rate=25, gop=42)
    house = House(root, {"watch": [{"path": "inbox", **KEPT}]})
    bare, dropped = [], []
    try:
        house.start()
        shutil.copy(clip, house.inbox / "first.mkv")
        wait_until(lambda: house.finished() == 1)
        with open_named(clip) as file, ClipDecoder(ClipBounds()) as decoder:
            list(decoder.decode(file, ORDER))
            for number in range(rounds):
                began = time.monotonic()
                for _ in range(count):
                    list(decoder.decode(file, ORDER))
                bare.append(time.monotonic() - began)
                staged = house.root / "staged" / str(number)
                staged.mkdir(parents=True)
                for each in range(count):
                    shutil.copy(clip, staged / f"{each}.mkv")
                records, began = house.finished(), time.monotonic()
                staged.rename(house.inbox / str(number))
                wait_until(lambda most=records + count: house.finished() >= most, seconds=900)  # type: ignore[misc]
                dropped.append(time.monotonic() - began)
        house.stop()
    finally:
        house.kill()
    rates = [60 * count / statistics.median(seconds) for seconds in (bare, dropped)]
    return {
        "bare_clips_per_minute": round(rates[0], 1),
        "daemon_clips_per_minute": round(rates[1], 1),
        "ratio": round(rates[1] / rates[0], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-clips-") as folder:
        roots = [Path(folder) / name for name in ("photos", "waiting", "bare")]
        for root in roots:
            root.mkdir()
        photos = photos_beside_a_clip(roots[0], args.photos, args.rounds)
        waiting = cost_of_waiting(roots[1], (10, args.clips, 10))
        bare = against_the_bare_child(roots[2], 7)
    few = (waiting[0]["ms_a_clip"] + waiting[2]["ms_a_clip"]) / 2
    ratio = round(waiting[1]["ms_a_clip"] / few, 3)
    found = {"photos": photos, "waiting": waiting, "cost_ratio": ratio, "child": bare}
    print(json.dumps({"machine": machine(), **found}, indent=2))


if __name__ == "__main__":
    main()
