"""Compare the daemon in its unit with the same outside, in turns, where the service is installed.

    sudo /opt/dropsight/bin/python scripts/bench_unit.py

Outside is a unit that sets user and priority, nothing else. Bursts of images and single ones, from their
appearing to their lines in the log; medians of rounds, one of the unit beside one of what is outside. Ends
with 1 where the unit is slower than LEAST of that; then every directive is tried by itself, and the slowest
three are named: in few rounds, so that busy neighbours may put innocent ones behind a guilty one.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent / "systemd" / "dropsight.service"
SAMPLES = SHIPPED.parent.parent / "daemon" / "dropsight" / "samples"
PROGRAM = "/opt/dropsight/bin/dropsight"
STATE = Path("/var/lib/dropsight-speed")
OWNER = "dropsight"
LEAST = 0.9
ROUNDS, TRIES, BURST, SINGLES = 5, 5, 60, 3
PAUSE_SECONDS = 0.06
LONGEST_SECONDS = 60.0
# What it takes to run, and the priority that is meant: beside busy neighbours it makes half of the speed.
SAME = ("Type", "User", "Group", "StateDirectoryMode", "UMask", "Nice", "CPUWeight", "IOWeight")
# Whose fault would be another than slowness, alone, or which are about the start and the end.
NOT_ALONE = (
    "SystemCallErrorNumber",
    "NotifyAccess",
    "ExecReload",
    "ExecStartPre",
    "LoadCredential",
    "Restart",
    "Timeout",
    "Watchdog",
)


class TooSlowError(Exception):
    """So far behind that waiting for the end tells nothing more."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that runs; `ready` is how many seconds it took."""

    folder: Path
    pid: int
    ready: float

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def seconds_at_rest(self, count: int) -> float:
        """As `seconds`, when no group of the last is open and no file of theirs left."""
        time.sleep(PAUSE_SECONDS)
        return self.seconds(count)

    def seconds(self, count: int, longest: float = LONGEST_SECONDS) -> float:
        """Drop images, and wait for their lines; raises TooSlowError."""
        pool = sorted((STATE / "pool").iterdir())
        with (self.folder / "results.jsonl").open("rb") as log:
            log.seek(0, os.SEEK_END)
            began, came = time.perf_counter(), 0
            for number in range(count):
                os.link(pool[number % len(pool)], self.folder / "inbox" / f"{time.monotonic_ns()}.jpg")
            while came < count:
                time.sleep(0.0003)
                came += log.read().count(b"\n")
                if time.perf_counter() - began > longest:
                    raise TooSlowError(f"{came} of {count} images in {longest:.1f} s")
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Found:
    """What is better is larger: of a unit that is twice as slow both are 0.5."""

    images: tuple[float, float]
    latency_ms: tuple[float, float]
    ratios: tuple[float, float]

    def __str__(self) -> str:
        (images, others), (latency, other) = self.images, self.latency_ms
        return (
            f"in the unit {images:.0f} images/s, outside {others:.0f} ({self.ratios[0]:.2f}); "
            f"one image {latency:.1f} ms, outside {other:.1f} ({self.ratios[1]:.2f})"
        )


def prepare(folder: Path) -> Path:
    """Make a config and its folders; return the config."""
    folder.mkdir()
    (folder / "inbox").mkdir()
    (folder / "results.jsonl").touch()
    settings = {
        "watch": [{"path": "inbox", "after": "delete"}],
        "log": {"path": "results.jsonl", "max_bytes": "1GiB"},
        "mqtt": None,
        "web": None,
    }
    config = folder / "dropsight.yaml"
    config.write_text(json.dumps(settings))
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, OWNER, OWNER)
    return config


@contextmanager
def running(folder: Path, keeps: Callable[[str], bool]) -> Iterator[Daemon]:
    """In a copy of the unit, with those directives that are to be kept."""
    lines = SHIPPED.read_text().partition("[Service]\n")[2].partition("[Install]")[0].splitlines()
    own = {
        "ExecStart": f"{PROGRAM} run -c {prepare(folder)}",
        "StateDirectory": STATE.name,
        "WorkingDirectory": str(STATE),
    }
    kept = [line for line in lines if keeps(key := line.partition("=")[0]) and key not in own]
    name = f"{STATE.name}-{folder.name}.service"
    unit = Path("/run/systemd/system") / name
    unit.write_text("\n".join(["[Service]", *kept, *(f"{key}={value}" for key, value in own.items()), ""]))
    systemctl("daemon-reload")
    try:
        began = time.perf_counter()
        systemctl("start", name)
        ready = time.perf_counter() - began
        yield Daemon(folder, int(systemctl("show", "-P", "MainPID", name)), ready)
    finally:
        systemctl("kill", "-s", "KILL", name)
        systemctl("stop", name)
        unit.unlink()
        systemctl("daemon-reload")


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode and words[0] == "start":
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def compare(unit: Daemon, other: Daemon, *, rounds: int) -> Found:
    """Take turns; raises TooSlowError where the unit is ten times slower."""
    bursts: list[tuple[float, float]] = []
    singles: list[tuple[float, float]] = []
    unit.seconds(BURST, 10 * other.seconds(BURST))
    for number in range(rounds):
        pair = (unit, other)[:: (-1) ** number]
        spent = {each: each.seconds_at_rest(BURST) for each in pair}
        bursts.append((BURST / spent[unit], BURST / spent[other]))
        for _ in range(SINGLES):
            spent = {each: each.seconds_at_rest(1) * 1e3 for each in pair}
            singles.append((spent[unit], spent[other]))
    return Found(
        images=_medians(bursts),
        latency_ms=_medians(singles),
        ratios=(
            statistics.median(mine / others for mine, others in bursts),
            statistics.median(others / mine for mine, others in singles),
        ),
    )


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    mine, others = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(others)


def whole_unit(other: Daemon) -> bool:
    """Print how the unit as shipped does; what else the machine does may spoil a try, not all of them."""
    with running(STATE / "whole", lambda key: not key.startswith("#")) as unit:
        for _ in range(TRIES):
            try:
                found = compare(unit, other, rounds=ROUNDS)
            except TooSlowError as reason:
                print(f"in the unit only {reason}")
                return False
            print(found)
            if min(found.ratios) >= LEAST:
                print(
                    f"ready after {unit.ready:.2f} s, outside {other.ready:.2f}; "
                    f"{unit.memory_mb():.0f} MB resident, outside {other.memory_mb():.0f}"
                )
                return True
    return False


def guilty(other: Daemon) -> Iterator[tuple[float, str]]:
    """Try each directive by itself; yield the slow ones, with their ratio."""
    text = SHIPPED.read_text().partition("[Service]")[2].partition("[Install]")[0]
    keys = (line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#"))
    for key in dict.fromkeys(keys):
        if key in (*SAME, "ExecStart", "StateDirectory", "WorkingDirectory") or key.startswith(NOT_ALONE):
            continue
        kept = (*SAME, "SystemCallErrorNumber", key)
        with running(STATE / key, kept.__contains__) as unit:
            try:
                ratio = min(compare(unit, other, rounds=3).ratios)
            except TooSlowError:
                ratio = 0.0
        if ratio < LEAST:
            yield ratio, key


def main() -> None:
    with ExitStack() as stack:
        STATE.mkdir()
        stack.callback(shutil.rmtree, STATE)
        (STATE / "pool").mkdir()
        for photo in SAMPLES.glob("*.jpg"):
            shutil.copy(photo, STATE / "pool")
        for path in (STATE, STATE / "pool", *(STATE / "pool").iterdir()):
            shutil.chown(path, OWNER, OWNER)
        other = stack.enter_context(running(STATE / "plain", SAME.__contains__))
        if not whole_unit(other):
            for ratio, key in sorted(guilty(other))[:3]:
                print(f"slow by itself: {key} ({ratio:.2f})", flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
