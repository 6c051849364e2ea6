"""Kill the daemon again and again over thousands of real images, clips among them, and a real broker.

    scripts/torture.py --kills 200 --images 20000

Every kill is a SIGKILL: one at each named step of the recorder first, then at random instants, start-up
included. In the end every image must have exactly one line in the logs, every record must have reached a
subscriber, and every file must be filed away once, none of them as failed: whoever ends the daemon, it is no
image's fault. Exits 1 where one of that is not so.
"""

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import yaml
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import Subscriber, mosquitto, wait_while_it_gets_on  # noqa: E402
from clips import make_clip, of_photos  # noqa: E402
from daemons import HASTILY, PHOTOS, command  # noqa: E402
from dropsight.crashpoints import POINTS, VARIABLE  # noqa: E402
from dropsight.sinks.mqtt.offers import WINDOW  # noqa: E402
from dropsight.status.control import NotRunningError, ask  # noqa: E402
from processes import begin, end  # noqa: E402

# The images of the last are filed away on another file system, if there is one.
CAMERAS = ("inbox/front", "inbox/yard", "far/gate")
RAM_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
# Points that only copying to another file system reaches.
COPYING = {"in_copying", "in_deleting"}
# Points that are reached once in many groups.
RARE = {"in_rotation", "in_compression", "in_pruning", "in_filing", *COPYING}
# Killing a rescue needs a damaged journal, which loses records: tests/test_rescue.py.
ELSEWHERE = {"in_rescue"}
ABSENT_EVERY = 4
CLIP_EVERY = 25
# Others may keep all cores busy.
PATIENCE_SECONDS = 120


@dataclass
class Findings:
    """What the end looks like, beside what it should."""

    images: int
    lines: Counter[str]
    published: Counter[str]
    filed: Counter[str]
    refused: int
    """In failed/: to blame for kills."""
    left: int
    ends: Counter[str]

    def report(self) -> dict[str, int]:
        return {
            "images": self.images,
            "kills": self.ends.total(),
            "lost_lines": self.images - len(self.lines),
            "duplicate_lines": self.lines.total() - len(self.lines),
            "lost_messages": len(self.lines.keys() - self.published.keys()),
            "foreign_messages": len(self.published.keys() - self.lines.keys()),
            "repeated_messages": self.published.total() - len(self.published),
            "lost_files": self.images - len(self.filed),
            "files_filed_twice": self.filed.total() - len(self.filed),
            "files_left": self.left,
            "refused_as_suspects": self.refused,
        }

    def is_clean(self) -> bool:
        found = self.report()
        repeats = found.pop("repeated_messages")
        del found["images"], found["kills"]
        return not any(found.values()) and repeats <= self.ends.total() * WINDOW


class Torture:
    def __init__(self, root: Path, far: Path, url: str, *, images: int, seed: int) -> None:
        self.root, self.far = root, far
        self.images, self.dropped = images, 0
        self.chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._pictures, self._clip = list(small_pictures()), small_clip(root)
        self._config = root / "dropsight.yaml"
        self._config.write_text(yaml.safe_dump(_settings(url, far)))
        for camera in CAMERAS:
            (root / camera).mkdir(parents=True)

    def drop(self, count: int) -> None:
        for number in range(self.dropped, min(self.dropped + count, self.images)):
            folder, is_clip = self.root / CAMERAS[number % len(CAMERAS)], number % CLIP_EVERY == 0
            data = self._clip if is_clip else self._pictures[number % len(self._pictures)]
            (folder / f"{number:06}{'.mkv' if is_clip else '.jpg'}").write_bytes(data)
            self.dropped += 1

    def live(self, point: str | None, kill: int) -> str:
        """One life of the daemon, to its violent end; tell how it ended."""
        environ = dict(os.environ)
        if point:
            times = 1 if point in RARE else self.chance.randint(1, 4)
            environ[VARIABLE] = f"{point}:{times}"
        process = self._start(environ)
        try:
            # After many short lives, images are taken one by one for a minute.
            code = process.wait(120 if point else self.chance.uniform(0.05, 2.5))
        except subprocess.TimeoutExpired:
            return "not reached" if point else "killed"
        finally:
            end(process)
        if code != -9:
            raise SystemExit(f"life {kill} ended with {code}: see {self.root / 'daemon.log'}")
        return "killed"

    def finish(self) -> None:
        """Let the daemon live until everything is done."""
        process = self._start(dict(os.environ), *HASTILY)
        try:
            wait_while_it_gets_on(self._is_done, self._how_far, what="not everything is done")
            process.terminate()
            if process.wait(60) != 0:
                raise SystemExit(f"the last life did not end well: see {self.root / 'daemon.log'}")
        except AssertionError as error:
            said = (self.root / "daemon.log").read_text().splitlines()[-40:]
            error.add_note("\n".join([json.dumps(self._status()), *map(str, self.left()[:10]), *said]))
            raise
        finally:
            end(process)

    def findings(self, subscriber: Subscriber, ends: Counter[str]) -> Findings:
        places = (self.root / "processed", self.far)
        filed = Counter(path.name for place in places for path in place.rglob("*") if path.is_file())
        lines = Counter(json.loads(line)["id"] for line in log_lines(self.root / "logs"))
        failed = self.root / "failed"
        refused = [path.name for path in failed.rglob("*.*") if path.suffix in {".jpg", ".mkv"}]
        filed.update(refused)
        messages = [*subscriber.topics("/result/"), *subscriber.topics("/failure/")]
        published = Counter(json.loads(message)["id"] for message in messages)
        return Findings(self.images, lines, published, filed, len(refused), len(self.left()), ends)

    def left(self) -> list[Path]:
        folders = [self.root / camera for camera in CAMERAS]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def _start(self, environ: dict[str, str], *under: str) -> "subprocess.Popen[bytes]":
        with (self.root / "daemon.log").open("ab") as log:
            return begin([*under, *command("run", "-c", str(self._config))], stderr=log, env=environ)

    def _status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(ask(self.root / "state", "status", patience=PATIENCE_SECONDS))
        except (NotRunningError, FileNotFoundError):
            return {}
        return found

    def _is_done(self) -> bool:
        status = self._status()
        if not status:
            return False
        if status["stats"]["counters"]["waiting"] or status["stats"]["queues"]["outbox"]:
            return False
        if self.left():  # what three kills met is passed by until this life has lasted
            ask(self.root / "state", "rescan", patience=PATIENCE_SECONDS)
            return False
        return True

    def _how_far(self) -> tuple[int, dict[str, int]]:
        stats = self._status().get("stats", {})
        return len(self.left()), {**stats.get("counters", {}), **stats.get("queues", {})}


def _settings(url: str, far: Path) -> dict[str, object]:
    kept = {"retention": {"days": None, "max_bytes": None}}
    return {
        "device": "torture",
        "watch": [{"path": "inbox", **kept}, {"path": "far", "processed": str(far), **kept}],
        "log": {"max_bytes": 15_000, "backups": 1_000_000},
        "store": {"max_records": 150},
        "mqtt": {"url": url},
        "web": {"listen": "127.0.0.1:0"},
    }


def small_pictures() -> Iterator[bytes]:
    for photo in PHOTOS:
        pixels = cv2.imread(str(photo))
        assert pixels is not None, photo  # noqa: S101 - our own photos
        small = cv2.resize(pixels, (128, 96), interpolation=cv2.INTER_AREA)
        yield cv2.imencode(".jpg", small)[1].tobytes()


def small_clip(folder: Path) -> bytes:
    """Three seconds, of which six frames are looked at."""
    pictures = [picture for picture in of_photos(PHOTOS[:3], height=96, width=128) for _ in range(5)]
    made = make_clip(folder / "small.mkv", pictures, rate=5)
    data = made.read_bytes()
    made.unlink()
    return data


def log_lines(folder: Path) -> Iterator[bytes]:
    for path in folder.iterdir():
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file


def torture(root: Path, *, kills: int, images: int, seed: int) -> Findings:
    root.mkdir(parents=True, exist_ok=True)
    with (
        mosquitto(root) as broker,
        Subscriber(broker.port, name="witness") as subscriber,
        tempfile.TemporaryDirectory(prefix="torture-", dir=elsewhere(root)) as far,
    ):
        work = Torture(root, Path(far), broker.url, images=images, seed=seed)
        ends = kill_again_and_again(work, subscriber, kills=kills)
        work.drop(images)
        work.finish()
        # The broker has everything; what it still owes the subscriber comes in a moment.
        deadline = time.monotonic() + 30
        while (found := work.findings(subscriber, ends)).report()["lost_messages"]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        print(json.dumps({**found.report(), "ends": ends}, indent=2))
        return found


def elsewhere(root: Path) -> Path:
    """A folder on another file system than this one, if there is such a one."""
    usable = os.access(RAM_DISK, os.W_OK) and RAM_DISK.stat().st_dev != root.stat().st_dev
    return RAM_DISK if usable else root


def kill_again_and_again(work: Torture, subscriber: Subscriber, *, kills: int) -> Counter[str]:
    """Have each named point and then chance do it, in any order; tell how the lives ended."""
    hidden = ELSEWHERE if work.far.stat().st_dev != work.root.stat().st_dev else ELSEWHERE | COPYING
    points = [point for point in POINTS if point not in hidden]
    plan: list[str | None] = [*points, *[None] * kills][:kills]
    work.chance.shuffle(plan)
    ends: Counter[str] = Counter()
    for kill, point in enumerate(tqdm(plan, unit="kill", disable=None)):
        # Now and then nobody listens: the broker keeps it for a session that lasts.
        if kill % ABSENT_EVERY == 1:
            subscriber.leave()
        if kill % ABSENT_EVERY == ABSENT_EVERY - 1:
            subscriber.come()
        work.drop(work.images // (kills + 1))
        how = work.live(point, kill)
        ends[how if how == "killed" else f"{how}: {point}"] += 1
    if len(plan) % ABSENT_EVERY in range(2, ABSENT_EVERY):
        subscriber.come()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; kept. Default: a temporary one")
    args = parser.parse_args()
    if args.folder:
        clean = torture(args.folder, kills=args.kills, images=args.images, seed=args.seed).is_clean()
    else:
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            clean = torture(Path(folder), kills=args.kills, images=args.images, seed=args.seed).is_clean()
    print("nothing lost, nothing twice" if clean else "PROMISES BROKEN")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
