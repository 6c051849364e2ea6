"""Cut the power under the daemon at random instants, start it on what the disks kept, see what is lost.

    sudo scripts/power-loss
    sudo scripts/power-loss --snapshots 10 --durable records

The disks are files behind loop devices. At each instant the daemon is stopped and these files are copied:
they hold what the file systems have written by then, and nothing of what only memory holds. Each copy is
mounted at the same place later, and a new daemon works there to the end. Of every image that was on record
by then, or whose upload was safe, there must be one line in the log and the whole picture in processed; of
no image may there be two. In turns on one file system, and with inbox and journal on two. Needs root and
loop devices: exit code 77 and the reason where there are none.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import wait_until  # noqa: E402
from daemons import PHOTOS, command  # noqa: E402
from disks import LoopDisk, why_no_disk  # noqa: E402
from dropsight.status.control import NotRunningError, ask  # noqa: E402

KINDS = ("ext4", "btrfs", "f2fs")
SKIPPED = 77
LONGEST_SECONDS = 1.5
"""From the one loss of power to the next, longer only where there are fewer records in it."""
FEWEST_RECORDS = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the disks held; how many images had been dropped by then."""

    copies: Sequence[Path]
    dropped: int


@dataclass(slots=True)
class Found:
    snapshots: int = 0
    recorded: int = 0
    """Records that were on disk when the power went, over all snapshots."""
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, fault: str, names: Sequence[str]) -> None:
        if names:
            self.faults[fault] += len(names)
            self.examples.append(f"{fault}: {', '.join(names[:3])}")

    def report(self) -> dict[str, object]:
        return {"snapshots": self.snapshots, "recorded": self.recorded, "faults": self.faults}


class Machine:
    """A daemon on disks of its own: inbox, processed and failed on the first, all else on the last."""

    def __init__(self, root: Path, disks: Sequence[LoopDisk], *, durable: str, chance: random.Random) -> None:
        self.root, self.disks, self._chance = root, disks, chance
        self.pictures, self.journal = disks[0].place, disks[-1].place
        self.config = root / "dropsight.yaml"
        folders = {name: str(self.pictures / name) for name in ("processed", "failed")}
        watch = {"path": str(self.pictures / "inbox"), "retention": {"days": None, "max_bytes": None}}
        settings = {
            "device": "power-loss",
            "watch": [watch | folders],
            "log": {"path": str(self.journal / "logs" / "results.jsonl")},
            "store": {"path": str(self.journal / "state" / "journal.db"), "durable": durable},
            "mqtt": None,
            "web": None,
        }
        self.config.write_text(yaml.safe_dump(settings))
        self.dropped: list[tuple[str, bool]] = []
        """Names, and whether the upload was safe: its writer had it on disk before it was through."""

    def drop(self) -> None:
        number = len(self.dropped)
        target = self.pictures / "inbox" / f"{number:05}.jpg"
        safe = self._chance.random() < 0.5
        with target.open("wb") as file:
            file.write(picture(target.name))
            if safe:
                file.flush()
                os.fsync(file.fileno())
        if safe:
            fd = os.open(target.parent, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        self.dropped.append((target.name, safe))

    def work_and_lose_power(self, count: int) -> list[Snapshot]:
        """One life, and what the disks held at so many instants of it."""
        (self.pictures / "inbox").mkdir()
        snapshots: list[Snapshot] = []
        with (self.root / "daemon.log").open("ab") as log:
            process = subprocess.Popen(command("run", "-c", str(self.config)), stderr=log)
        try:
            wait_until(self._answers, what="the daemon answers")
            for number in range(count):
                until = time.monotonic() + self._chance.uniform(0.05, LONGEST_SECONDS)
                lines = len(self._lines()) + FEWEST_RECORDS
                while time.monotonic() < until or len(self._lines()) < lines:
                    self.drop()
                    time.sleep(self._chance.choice((0.0, 0.005, 0.05)))
                process.send_signal(signal.SIGSTOP)
                copies = copy_together(self.disks, self.root / f"{number}")
                snapshots.append(Snapshot(copies, len(self.dropped)))
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
            process.wait()
        return snapshots

    def recover(self, snapshot: Snapshot, found: Found) -> None:
        """Start on what the disks kept, and judge what comes of it."""
        with ExitStack() as stack:
            for disk, copy in zip(self.disks, snapshot.copies, strict=True):
                stack.callback(disk.unmount)
                disk.mount(copy)
            on_record = self._on_record()
            (self.pictures / "inbox").mkdir(exist_ok=True)
            done = subprocess.run(
                command("run", "-c", str(self.config), "--once"), capture_output=True, text=True, check=False
            )
            if done.returncode:
                found.add(f"exit {done.returncode}: {done.stderr}", ["run --once"])
            self._judge(on_record, dict(self.dropped[: snapshot.dropped]), found)

    def _judge(self, on_record: set[str], dropped: dict[str, bool], found: Found) -> None:
        found.snapshots += 1
        found.recorded += len(on_record)
        safe = {name for name, is_safe in dropped.items() if is_safe}
        lines = Counter(json.loads(line)["image_path"] for line in self._lines())
        processed = Counter(path.name for path in (self.pictures / "processed").rglob("*") if path.is_file())
        whole = {name for name in processed if name in dropped and self._is_whole(name)}
        owed = on_record | safe
        found.add("on record and without a whole picture", sorted(owed - whole))
        found.add("without a line", sorted(owed - lines.keys()))
        found.add("with two lines", [name for name, count in lines.items() if count > 1])
        found.add("filed twice", sorted(processed.keys() - dropped.keys()))
        left = [path.name for path in (self.pictures / "inbox").rglob("*") if path.is_file()]
        found.add("left in the inbox", left)

    def _is_whole(self, name: str) -> bool:
        return digest((self.pictures / "processed" / name).read_bytes()) == digest(picture(name))

    def _on_record(self) -> set[str]:
        """Read a copy: looking at a journal may mend it."""
        journal = self.journal / "state" / "journal.db"
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            for suffix in ("", "-wal"):
                if (there := journal.with_name(journal.name + suffix)).exists():
                    shutil.copy(there, folder)
            with closing(sqlite3.connect(Path(folder) / journal.name)) as db:
                if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'record'").fetchone():
                    return set()
                return {Path(os.fsdecode(path)).name for (path,) in db.execute("SELECT path FROM record")}

    def _lines(self) -> list[str]:
        log = self.journal / "logs" / "results.jsonl"
        return log.read_text().splitlines() if log.exists() else []

    def _answers(self) -> bool:
        try:
            ask(self.journal / "state", "status")
        except (NotRunningError, FileNotFoundError):
            return False
        return True


def picture(name: str) -> bytes:
    return PHOTOS[int(Path(name).stem) % len(PHOTOS)].read_bytes()


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def copy_together(disks: Sequence[LoopDisk], to: Path) -> list[Path]:
    """Copy all disks as they were at one instant: once more, where the kernel wrote meanwhile."""
    to.mkdir()
    while True:
        copies = [to / f"{number}.img" for number in range(len(disks))]
        for disk, copy in zip(disks, copies, strict=True):
            subprocess.run(["cp", "--sparse=always", str(disk.image), str(copy)], check=True)
        if all(
            subprocess.run(["cmp", "-s", str(disk.image), str(copy)], check=False).returncode == 0
            for disk, copy in zip(disks, copies, strict=True)
        ):
            return copies


def lose_power(root: Path, kind: str, disks: int, *, snapshots: int, durable: str, seed: int) -> Found:
    chance, found = random.Random(seed), Found()  # noqa: S311 - repeatable, not secret
    places = [root / name for name in ("pictures", "journal")[:disks]]
    loops = [LoopDisk(place, kind) for place in places]
    machine = Machine(root, loops, durable=durable, chance=chance)
    with ExitStack() as stack:
        for disk in loops:
            disk.mount()
            stack.callback(disk.unmount)
        taken = machine.work_and_lose_power(snapshots)
    for snapshot in taken:
        machine.recover(snapshot, found)
        shutil.rmtree(snapshot.copies[0].parent)
    return found


def rounds(kinds: Sequence[str], snapshots: int) -> Iterator[tuple[str, int, int]]:
    """Share the snapshots out: the harder case, of two file systems, first."""
    cases = [(kind, disks) for disks in (2, 1) for kind in kinds]
    share = Counter(itertools.islice(itertools.cycle(cases), snapshots))
    yield from ((kind, disks, count) for (kind, disks), count in share.items())


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--snapshots", type=int, default=50, help="over all cases")
    parser.add_argument("--durable", choices=("images", "records"), default="images")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="power-loss-") as folder:
        reasons = {kind: why_no_disk(Path(folder), kind) for kind in KINDS}
        for kind, reason in reasons.items():
            if reason:
                print(f"without {kind}: {reason}", file=sys.stderr)
        kinds = [kind for kind, reason in reasons.items() if not reason]
        if not kinds:
            sys.exit(SKIPPED)
        faults = 0
        for kind, disks, count in tqdm(list(rounds(kinds, args.snapshots)), unit="life", disable=None):
            root = Path(folder) / f"{kind}-{disks}"
            root.mkdir()
            found = lose_power(root, kind, disks, snapshots=count, durable=args.durable, seed=args.seed)
            print(json.dumps({"file_systems": f"{disks} {kind}", **found.report()}), flush=True)
            print(*found.examples[:8], sep="\n", end="\n" if found.examples else "", file=sys.stderr)
            faults += found.faults.total()
    print("PROMISES BROKEN" if faults else "nothing lost, nothing twice")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
