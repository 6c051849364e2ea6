"""The real daemon as a process of its own, in a folder of its own."""

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from brokers import wait_until, wait_while_it_gets_on
from dropsight.classify.engine import open_engine
from dropsight.classify.proved_models import ProvedModels
from dropsight.cli import read
from dropsight.commands.faults import told_plainly
from dropsight.config import Config
from dropsight.status.control import NotRunningError, ask
from processes import begin, end

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "daemon" / "dropsight" / "samples"
PHOTOS = sorted(SAMPLES.glob("*.jpg"))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dropsight", *arguments]


def dropsight(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] = {}, seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    environment = {**os.environ, **environ}
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def dropsight_in_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, where TensorFlow is imported already: that alone takes five seconds."""
    said, told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    code: object = 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            with told_plainly(debug=False):
                code = read(arguments).load()()
        except SystemExit as ended:
            code = ended.code
    assert code is None or isinstance(code, int)
    said.seek(0)
    return subprocess.CompletedProcess(arguments, code or 0, said.read(), told.getvalue())


def faults(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command had to say on stderr, but for information."""
    return [line for line in done.stderr.splitlines() if " INFO " not in line]


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a test leaves open.

    A file with an end that is missing fails at once: were it looked at while its test writes it, an upload
    that broke off would be waited for.
    """
    watches = [{"patience_seconds": 0, **watch} for watch in settings.get("watch", [{"path": "inbox"}])]
    return {"device": "test", "mqtt": None, "web": None, **settings, "watch": watches}


_HASTE = """
import runpy, sys
from dropsight.intake import starts
starts.GOOD_SECONDS = 1.0
from dropsight.intake import mute_inboxes
mute_inboxes.PATIENCE_SECONDS = 1.0
from dropsight.service import daemon
daemon.LOOK_SECONDS = 0.1
sys.argv = sys.argv[3:]
runpy.run_module("dropsight", run_name="__main__", alter_sys=True)
"""
HASTILY = [sys.executable, "-c", _HASTE]
"""Runs a daemon whose starts have lasted after a second, and that waits for shares as long."""


def bounded_by(module: str, *also: tuple[str, Mapping[str, object]], **bounds: object) -> list[str]:
    """Return a command that runs a daemon with these bounds in a module of it, and in others."""
    code = (
        "import importlib, runpy, sys\n"
        f"for module, bounds in {[(module, bounds), *also]!r}:\n"
        "    vars(importlib.import_module(module)).update(bounds)\n"
        "sys.argv = sys.argv[3:]\n"
        "runpy.run_module('dropsight', run_name='__main__', alter_sys=True)\n"
    )
    return [sys.executable, "-c", code]


@cache
def _proof() -> str:
    """Return what is noted once the built-in model has been opened: no daemon need try it first again."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "proved-models"
        open_engine(Config(), ProvedModels(file))
        return file.read_text()


class House:
    """A config file, its folders, and a daemon to start, stop and look into."""

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.root = root
        self.inbox, self.processed, self.failed = root / "inbox", root / "processed", root / "failed"
        self.config = root / "dropsight.yaml"
        self.configure(settings)
        self.inbox.mkdir(exist_ok=True)
        if not (root / "state").exists():
            (root / "state").mkdir()
            (root / "state" / "proved-models").write_text(_proof())
        self.process: subprocess.Popen[bytes] | None = None
        self.under: Sequence[str] = ()
        """A command that runs the daemon, as one with fewer rights."""

    def configure(self, settings: Mapping[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(_settings(settings)))

    def start(self) -> None:
        self.spawn()
        wait_until(self.answers, what="the daemon answers")

    def spawn(self, *more: str, **environ: str) -> None:
        """Start without waiting: it may not live long enough to answer."""
        self.kill()
        with (self.root / "daemon.log").open("ab") as log:
            arguments = [*self.under, *command("run", "-c", str(self.config), *more)]
            self.process = begin(arguments, stderr=log, env={**os.environ, **environ})

    def ended(self, *, seconds: float = 60) -> int:
        assert self.process
        return self.process.wait(seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(150)

    def kill(self) -> None:
        if self.process:
            end(self.process)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(ask(self.root / "state", "status", patience=120))
        return answer

    def ask(self, command: str, **more: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(ask(self.root / "state", command, patience=120, **more))
        return answer

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.status()["stats"]["counters"]
        assert counters["seen"] == sum(counters[name] for name in ("done", "failed", "waiting", "expired"))
        return counters

    def finished(self) -> int:
        counters = self.counters()
        return counters["done"] + counters["failed"]

    def records(self) -> list[dict[str, Any]]:
        log = self.root / "logs" / "results.jsonl"
        # Of a group that is being written just now, the end may not be there yet.
        whole, _, _ = (log.read_text() if log.exists() else "").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def until(self, condition: Callable[[], bool], *, what: str = "") -> None:
        """Wait for as long as records are made or images leave the inbox."""
        log = self.root / "logs" / "results.jsonl"

        def how_far() -> tuple[int, int]:
            lying = sum(len(files) for _, _, files in os.walk(self.inbox))  # passes over what goes meanwhile
            return lying, log.stat().st_size if log.exists() else 0

        wait_while_it_gets_on(condition, how_far, what=what or self.daemon_log)

    def taking(self) -> bool:
        """Whether a new image is still taken in; each call drops one."""
        before = self.finished()
        (self.inbox / f"probe-{time.monotonic_ns()}.jpg").write_bytes(b"no picture")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            if self.finished() > before:
                return True
            time.sleep(0.05)
        return False

    def daemon_log(self) -> str:
        return (self.root / "daemon.log").read_text()

    def journal(self) -> sqlite3.Connection:
        """Open a copy of the journal: while it runs, the daemon has it alone."""
        copy = self.root / "copy"
        shutil.copytree(self.root / "state", copy, ignore=lambda *_: ["dropsight.sock"], dirs_exist_ok=True)
        return sqlite3.connect(copy / "journal.db")

    def waiting(self) -> list[Path]:
        return [path for path in self.inbox.rglob("*") if path.is_file()]

    def decoder(self, module: bytes = b"dropsight.video.child") -> int | None:
        """Return the process that decodes clips, or pictures, None while there is none."""
        assert self.process
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                for child in map(int, (task / "children").read_text().split()):
                    if module in Path(f"/proc/{child}/cmdline").read_bytes():
                        return child
        return None

    def stopped_decoder(self, module: bytes) -> int:
        """Have that process stand still, as soon as there is one, and return it."""
        found: list[int] = []

        def stops() -> bool:
            if decoder := self.decoder(module):
                with contextlib.suppress(ProcessLookupError):  # it was done
                    os.kill(decoder, signal.SIGSTOP)
                    found.append(decoder)
            return bool(found)

        wait_until(stops)
        return found[0]

    @contextmanager
    def clip_in_hand(self, clip: Path, path: str) -> Iterator[int]:
        """Have this clip in the midst of being decoded, by a process that stands still meanwhile."""
        shutil.copy(clip, self.inbox / f"before-{clip.name}")
        before = len(self.records())
        wait_until(lambda: len(self.records()) > before, what="a clip that begins the process")
        decoder = self.decoder()
        assert decoder
        os.kill(decoder, signal.SIGSTOP)
        shutil.copy(clip, self.inbox / path)
        wait_until(lambda: self.counters()["in_hand"] == 1, what="the clip is in hand")
        try:
            yield decoder
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(decoder, signal.SIGCONT)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.daemon_log()
        try:
            self.status()
        except (NotRunningError, FileNotFoundError):
            return False
        return True


@contextmanager
def running(root: Path, **settings: Any) -> Iterator[House]:
    house = House(root, settings)
    try:
        house.start()
        yield house
    finally:
        house.kill()
