"""Throw damaged input at everything that reads what strangers send, until something breaks.

    scripts/fuzz.py --seconds 600

Image headers, TIFF and EXIF, decoding, clips, model files, the config, rules, tags, patterns of names; then
the control socket, MQTT commands and the web API of a running daemon. Where atheris is installed it looks
for new paths through the readers; elsewhere, and for clips and the daemon, a plain mutator works, the same
inputs for the same seed. Each input has CALL_SECONDS and MEMORY_BYTES. Whatever ends otherwise than it
should is kept in the folder of findings; exits 1 then. `scripts/fuzz.py --try FILE --target NAME` throws one
again.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
# What fuzzing has found before is tried first.
CORPUS = ROOT / "tests" / "corpus"
CALL_SECONDS = 10.0
MEMORY_BYTES = 2**29
LONGEST_INPUT = 2**18
# An interpreter's start is not counted; who takes much longer than told to hangs.
GRACE_SECONDS = 60.0
Throw = Callable[[bytes], None]
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Target:
    """`opened` is a context manager that gives what takes an input."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    opened: Callable[[], AbstractContextManager[Throw]]
    guided: bool = True
    """Whether it runs within the process, where its way through the code can be seen."""

    def known(self, corpus: Path) -> list[bytes]:
        """What was found before."""
        return [path.read_bytes() for path in sorted((corpus / self.name).glob("*"))]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return one to eight random changes of `data`, some of them pieces of `other`."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed) + 1)
        length = min(2 ** chance.randrange(8), len(changed) - place)
        match chance.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                changed[place : place + 1] = chance.randbytes(1)
            case 2:
                width = chance.choice((1, 2, 4))
                edge = chance.choice(EDGES) % 2 ** (8 * width)
                changed[place : place + width] = edge.to_bytes(width, chance.choice(("little", "big")))
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[place : place + length] * chance.randint(1, 20)
            case 5:
                start = chance.randrange(len(other) + 1)
                changed[place : place + length] = other[start : start + length]
            case _ if chance.random() < 0.1:
                del changed[place:]
    return bytes(changed[:LONGEST_INPUT])


def inputs(seeds: Sequence[bytes], known: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    yield from known
    yield from seeds
    while True:
        yield mutated(chance.choice(seeds), chance.choice(seeds), chance)


def work(target: Target, *, seconds: float, seed: int, current: Path) -> int:
    """Run in a process of its own; the input at hand lies in `current`, should the process end."""
    done, deadline = 0, time.monotonic() + seconds
    with target.opened() as throw:
        _bound_memory()
        for data in inputs(target.seeds(), target.known(CORPUS), random.Random(seed)):  # noqa: S311
            current.write_bytes(data)
            faulthandler.dump_traceback_later(CALL_SECONDS, exit=True)
            throw(data)
            faulthandler.cancel_dump_traceback_later()
            done += 1
            if time.monotonic() > deadline:
                return done
    return done


def work_guided(target: Target, *, seconds: float, seed: int, current: Path, atheris: ModuleType) -> None:
    """Let atheris choose the inputs; it ends the process, and leaves what it found beside `current`."""
    corpus = current.with_name(f"{target.name}-corpus")
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate((*target.known(CORPUS), *target.seeds())):
        (corpus / str(number)).write_bytes(data)
    opened = target.opened()  # the name keeps it open: this function does not return
    throw = opened.__enter__()
    _bound_memory()
    options = [
        f"-max_total_time={max(int(seconds), 1)}",
        f"-seed={seed}",
        f"-timeout={CALL_SECONDS:g}",
        f"-max_len={LONGEST_INPUT}",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-artifact_prefix={current.parent}/artifact-",
    ]
    atheris.Setup(["fuzz", *options, str(corpus)], throw)
    atheris.Fuzz()


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def child(args: argparse.Namespace) -> None:
    atheris = None
    if args.engine != "plain":
        with contextlib.suppress(ImportError):
            atheris = import_module("atheris")
    with atheris.instrument_imports(include=["dropsight"]) if atheris else contextlib.nullcontext():
        target = import_module(args.targets).TARGETS[args.child]
    if atheris and target.guided:
        work_guided(target, seconds=args.seconds, seed=args.seed, current=args.current, atheris=atheris)
    done = work(target, seconds=args.seconds, seed=args.seed, current=args.current)
    print(f"{done} inputs, nothing found")


def hunt(name: str, args: argparse.Namespace, *, seconds: float) -> bool:
    """Fuzz one target in a process of its own; tell whether nothing was found, and keep what was."""
    with tempfile.TemporaryDirectory(prefix="dropsight-fuzz-") as folder:
        current = Path(folder) / "current"
        options = ["--seconds", f"{seconds:g}", "--seed", str(args.seed), "--engine", args.engine]
        command = [sys.executable, "-X", "faulthandler", __file__, "--child", name, *options]
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--current", str(current), "--targets", args.targets],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            process.wait(seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{name}: no end within {seconds + GRACE_SECONDS:g} s")
        with contextlib.suppress(ProcessLookupError):  # a daemon and a broker may have outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said = log.read_text(errors="replace")
        if process.returncode == 0:
            print(f"{name}: {_closing_line(said)}", flush=True)
            return True
        artifacts = [*current.parent.glob("artifact-*"), *current.parent.glob("current")]
        print(f"{name}: FOUND, ended with {process.returncode}\n{said[-4000:]}", flush=True)
        if artifacts:
            digest = hashlib.sha256(artifacts[0].read_bytes()).hexdigest()[:12]
            args.findings.mkdir(parents=True, exist_ok=True)
            kept = shutil.copy(artifacts[0], args.findings / f"{name}-{digest}")
            print(f"kept: {kept}; once it is mended, it belongs in {CORPUS.relative_to(ROOT) / name}")
        return False


def _closing_line(said: str) -> str:
    """The worker's own, or atheris's number of executions."""
    lines = [line for line in said.splitlines() if "inputs" in line]
    count = re.search(r"number_of_executed_units: (\d+)", said)
    return f"{count[1]} inputs by atheris, nothing found" if count else "".join(lines[-1:])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together (default: 600)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", help="one of them; may be given again")
    parser.add_argument("--engine", choices=("auto", "plain"), default="auto", help="plain: never atheris")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--try", type=Path, dest="once", metavar="FILE", help="throw this one input only")
    parser.add_argument("--targets", default="fuzz_targets", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--current", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return 0
    targets = import_module(args.targets).TARGETS
    names = args.target or list(targets)
    if unknown := [name for name in names if name not in targets]:
        parser.error(f"no target {unknown[0]}; there are {', '.join(targets)}")
    if args.once:
        with targets[names[0]].opened() as throw:
            throw(args.once.read_bytes())
        return 0
    found = [name for name in names if not hunt(name, args, seconds=args.seconds / len(names))]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
