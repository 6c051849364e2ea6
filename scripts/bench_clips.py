"""Measure what a clip costs: processor seconds to sample it by keyframes, to decode all of it, and by OpenCV.

    python scripts/bench_clips.py                      # 10 s of 1080p H.264, a keyframe every 2 s
    python scripts/bench_clips.py --seconds 60 --gop 30

Each in a process of its own, in turns; ratios to PyAV decoding every frame with one thread.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from clips import Picture, make_clip, of_photos  # noqa: E402
from daemons import PHOTOS  # noqa: E402

RATE = 25
WAYS = {
    "all": """
import av
with av.open(path) as container:
    container.streams.video[0].codec_context.thread_count = 1
    for frame in container.decode(video=0):
        pass
""",
    "keyframes": "sample(every_seconds=gap)",
    "every": "sample(sample='every', every_seconds=0.5)",
    "opencv": "sample(every_seconds=0.5)",
}
PROGRAM = """
import resource, sys
path, way, gap = sys.argv[1], sys.argv[2], float(sys.argv[3])
if way == "opencv":
    sys.modules["dropsight.video.container"] = None
import cv2
cv2.setNumThreads(1)
from dropsight.video import child
from dropsight.video.sampling import Sampling
from dropsight.video.wire import Frames, ClipOrder
if way != "opencv":
    import av
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def sample(**how):
    frames = Frames((224, 224), "crop", 0.875)
    for _ in child.answers(path, ClipOrder(Sampling(**how), frames, 10**8, 60.0, True)):
        pass
before = spent()
BODY
print(spent() - before)
"""


def pictures(count: int) -> list[Picture]:
    """Return a slow pan over a photo, which compresses as a camera's pictures do."""
    (wide,) = of_photos(PHOTOS[:1], height=1080, width=1920 + 4 * 256)
    noise = np.random.default_rng(7).integers(0, 6, (1080, 1920, 3), np.uint8)
    shown = [wide[:, 4 * (place % 256) :][:, :1920] for place in range(count)]
    return [np.minimum(each, 249) + np.roll(noise, 7 * place, axis=1) for place, each in enumerate(shown)]


def spent(clip: Path, way: str, gap: float) -> float:
    program = PROGRAM.replace("BODY", WAYS[way])
    command = [sys.executable, "-c", program, str(clip), way, str(gap)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a clip costs to sample.")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--gop", type=int, default=50, help="frames from one keyframe to the next")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "clip.mp4", pictures(given.seconds * RATE), rate=RATE, gop=given.gop)
        gap = given.gop / RATE
        rounds = [{way: spent(clip, way, gap) for way in WAYS} for _ in range(given.rounds)]
    for way in WAYS:
        each = statistics.median(one[way] for one in rounds)
        ratio = statistics.median(one[way] / one["all"] for one in rounds)
        print(f"{way:<10} {each * 1e3:8.0f} ms of processor time, {ratio:.2f} of decoding all")


if __name__ == "__main__":
    main()
