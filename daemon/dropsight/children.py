"""Processes of our own for what may end the one that does it: how they are begun and bounded."""

import contextlib
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from dropsight.spawning import popen

LEAST_MEMORY_BYTES = 512 * 2**20
# Of a process that nobody waits for any more: it is to end by itself, later than whoever waits gives up.
_GRACE_SECONDS = 5
_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_NO_BOUND = sys.maxsize
# Measured, where the dashboard is asked for all pictures: 181 MB, of which 128 at rest.
_DAEMON_BYTES = 192 * 2**20
# What a process is ended by for its own doing. Any other signal is somebody's: systemd's, which tells all
# processes of a service of a stop, or an alarm of ours.
_CRASHES = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP),
    *(signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
}
# systemd's watchdog sends SIGABRT to all processes of a service. While the daemon still says where it hangs,
# this ended decoders, and their pictures were to blame. abort() ends a process that ignores it all the same.
# NumPy's algebra, which none of them uses, would start one thread per core, and interrupt where it gets none.
_START = (
    "import os, runpy, signal, sys; signal.signal(signal.SIGABRT, signal.SIG_IGN); "
    "os.environ.setdefault('OPENBLAS_NUM_THREADS', '1'); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_LOOK_SECONDS, _SHORTEST_SECONDS = 1.0, 0.1
_WAITING = {"S", "D"}
# Of what goes to a process or comes from it, at a time: as much as a pipe holds.
_PIECE_BYTES = 2**16
# Whoever works on a piece of what it has made takes no longer, unless all stand still.
_LONGEST_STEP_SECONDS = 10.0


class StoodStillError(Exception):
    """A process of ours had no processor to work with."""


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module, and ends by no SIGABRT but its own; to be begun in /.

    Others may write where the daemon works: no module is imported from there (-P), nor anything else found.
    """
    return [sys.executable, "-P", "-c", _START, module, *arguments]


def begin(module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Begin a process with a socket to it, and return both; its end's descriptor, 0, is its first argument.

    What it prints is for nobody: codecs write a line about each damaged picture. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = popen(command(module, "0", *arguments), stdin=theirs.fileno(), process_group=0)
        except BaseException:
            ours.close()
            raise
    give_up_first(process.pid)
    return process, ours


def give_up_first(pid: int) -> None:
    """Where the kernel runs short of memory, have it end this process before any other.

    From its very beginning: while it is still starting, whoever has most would go, which is the daemon.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def was_ended(code: int) -> bool:
    """Whether a process with this exit code was ended by a signal that tells nothing of what it did."""
    return code < 0 and -code not in _CRASHES


class WorkingTime:
    """How long a process of ours has worked, or slept of its own accord, which has a bound in seconds.

    Time in which it was stopped, or had no processor, counts apart: it, or all of us with it; it may be as
    long, or `patience` seconds. Of this very process, the thread that asks does not count. `asleep` are the
    states of threads that sleep (proc_pid_stat(5)).
    """

    def __init__(
        self,
        pid: int,
        seconds: float,
        *,
        patience: float | None = None,
        asleep: str = "S",
    ) -> None:
        self._pid, self._seconds, self._asleep = pid, seconds, set(asleep)
        self._patience = seconds if patience is None else patience
        self._worked = self._stood = 0.0
        self.still_seconds = 0.0
        """For how long it has not worked at all now, nor wanted to."""
        self._used, self._looked_at = self._look()[0], time.monotonic()

    @property
    def is_spent(self) -> bool:
        return self._worked >= self._seconds

    @property
    def stood_still(self) -> bool:
        """Whether it has stood still for as long as it may."""
        return self._stood >= self._patience

    @property
    def is_over(self) -> bool:
        return self.is_spent or self.stood_still

    @property
    def seconds(self) -> tuple[float, float]:
        """For how long it has been looked at, and for how long of these it has worked, or slept."""
        return self._worked + self._stood, self._worked

    def check(self) -> None:
        """Raise subprocess.TimeoutExpired where it is spent, StoodStillError where it stood still."""
        if self.is_spent:
            raise subprocess.TimeoutExpired(str(self._pid), self._seconds)
        if self.stood_still:
            raise StoodStillError

    def waited(self) -> None:
        """Note what it has done since the last time, while it was waited for; short waits count as work."""
        if time.monotonic() - self._looked_at < _SHORTEST_SECONDS:
            return  # the kernel counts in ticks: of a hundredth, none may have been its own
        elapsed, (used, states) = self._elapsed(), self._look()
        busy = elapsed if states <= self._asleep else used - self._used
        worked = min(busy, elapsed, _LOOK_SECONDS)
        is_still = used == self._used and states <= _WAITING
        self.still_seconds = self.still_seconds + elapsed if is_still else 0.0
        self._worked, self._stood, self._used = self._worked + worked, self._stood + elapsed - worked, used

    def made_wait(self) -> None:
        """Note that it, or its work, was kept waiting since the last time, by who has asked for it."""
        self._worked += min(self._elapsed(), _LONGEST_STEP_SECONDS)
        self.still_seconds = 0.0

    def _look(self) -> tuple[float, set[str]]:
        return _used(self._pid)

    def _elapsed(self) -> float:
        before, self._looked_at = self._looked_at, time.monotonic()
        return self._looked_at - before


def communicated(
    process: subprocess.Popen[bytes],
    data: bytes | None,
    *,
    seconds: float,
) -> tuple[bytearray, bytearray]:
    """Give it this, wait until it ends, and return what it has written to its pipes.

    Raises subprocess.TimeoutExpired where it has worked, or slept, for so long; StoodStillError where it was
    stopped, or had no processor, for as long: it, or all of us with it.
    """
    return communicated_within(WorkingTime(process.pid, seconds), process, data)


def communicated_within(
    working: WorkingTime,
    process: subprocess.Popen[bytes],
    data: bytes | None,
    *,
    looked: Callable[[WorkingTime], None] = lambda _: None,
) -> tuple[bytearray, bytearray]:
    """Do as `communicated`, by this measure of its time; call `looked` each second meanwhile."""
    pipes = Pipes(process, data)
    wait_within(working, pipes.are_done, looked=looked)
    return pipes.said, pipes.told


def wait_within(
    working: WorkingTime,
    is_done: Callable[[float], bool],
    *,
    looked: Callable[[WorkingTime], None] = lambda _: None,
) -> None:
    """Wait until this is done, which waits for so many seconds itself; raises as `communicated` does."""
    look_at = time.monotonic() + _LOOK_SECONDS
    while not is_done(_LOOK_SECONDS):
        if time.monotonic() < look_at:
            continue
        look_at = time.monotonic() + _LOOK_SECONDS
        working.waited()
        looked(working)
        working.check()


class Pipes:
    """What goes to a process and comes from it, in pieces.

    `Popen.communicate`, called again after a timeout, does not go on with what it has not written yet: a
    process that takes a second to start would wait for the rest of its input for ever.
    """

    def __init__(self, process: subprocess.Popen[bytes], data: bytes | None) -> None:
        self.said, self.told = bytearray(), bytearray()
        self._process, self._left = process, memoryview(data or b"")
        self._open = selectors.PollSelector()  # it takes no descriptor
        for pipe, read in ((process.stdout, self.said), (process.stderr, self.told)):
            if pipe:
                self._open.register(pipe, selectors.EVENT_READ, (pipe, partial(_take, pipe, read)))
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            self._open.register(
                process.stdin, selectors.EVENT_WRITE, (process.stdin, partial(self._give, process.stdin))
            )

    def are_done(self, seconds: float) -> bool:
        """Go on, and wait for no longer than this; tell whether all is read and the process has ended."""
        if not self._open.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return self._process.returncode is not None
        for key, _ in self._open.select(seconds):
            pipe, goes_on = key.data
            if not goes_on():
                self._open.unregister(pipe)
                pipe.close()
        return False

    def _give(self, pipe: IO[bytes]) -> bool:
        try:
            self._left = self._left[os.write(pipe.fileno(), self._left[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it has ended, or wants no more
            return False
        return bool(self._left)


def _take(pipe: IO[bytes], read: bytearray) -> bool:
    piece = os.read(pipe.fileno(), _PIECE_BYTES)
    read += piece
    return bool(piece)


def _used(pid: int) -> tuple[float, set[str]]:
    """Return the seconds of a processor that it has had, and the states of its threads."""
    ticks, states = 0, set[str]()
    with contextlib.suppress(OSError):
        # The state, utime and stime: the 3rd, 14th and 15th of all (proc_pid_stat(5)).
        fields = _fields(_PROC / str(pid))
        ticks = int(fields[11]) + int(fields[12])  # of threads that have ended, too
        tasks = (_PROC / str(pid) / "task").iterdir()
        states = {_fields(task)[0] for task in tasks if task.name != str(threading.get_native_id())}
    return ticks / os.sysconf("SC_CLK_TCK"), states


def _fields(process: Path) -> list[str]:
    return (process / "stat").read_text().rpartition(")")[2].split()


def available_bytes() -> int:
    """Return what there is for one more process."""
    left = [bound - used for bound, used in _shares()]
    return max(min(_left_of_machine(), *left, _NO_BOUND), 0)


def most_bytes() -> int:
    """Return what there would be for one more process if nobody had any but the daemon."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min([machine, *(bound for bound, _ in _shares())]) - _DAEMON_BYTES, 0)


def _left_of_machine() -> int:
    try:
        facts = dict(line.split(":") for line in (_PROC / "meminfo").read_text().splitlines())
    except OSError:
        # Hidden, as by ProcSubset=pid: what is free, then, though the kernel would clear more.
        return max(os.sysconf("SC_AVPHYS_PAGES"), 0) * os.sysconf("SC_PAGE_SIZE")
    return int(facts["MemAvailable"].split()[0]) * 1024


def _shares() -> Iterator[tuple[int, int]]:
    """Yield bound and use of each control group that we are in, of both versions, where it has a bound.

    What was read of files and not looked at since is no use of it: the kernel lets go of that first.
    """
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if not kinds:
            yield from _bounds(
                _GROUPS, group, ("memory.max", "memory.high"), "memory.current", "inactive_file"
            )
        elif kinds == "memory":
            names = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
            yield from _bounds(_GROUPS / "memory", group, *names)


def _bounds(
    root: Path, group: str, bounds: tuple[str, ...], usage: str, idle: str
) -> Iterator[tuple[int, int]]:
    """Of the group, and of each that it lies in, as far as they can be seen."""
    below = root / group.strip("/")
    for folder in [below, *below.parents]:
        if not folder.is_relative_to(root):
            return
        try:
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            found = [(folder / name).read_text().strip() for name in bounds]
        except (OSError, ValueError):
            continue
        used -= min(int(stat.get(idle, 0)), used)
        yield from ((int(bound), used) for bound in found if bound != "max")


def half_of_memory() -> int:
    """Return half of what this machine has, in bytes, and what interpreters need in any case."""
    return max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, LEAST_MEMORY_BYTES)


@contextlib.contextmanager
def bounded_to(memory: int) -> Iterator[int]:
    """Bound this process to so much memory, in bytes, or to less where it was; yield the bound.

    Beyond it is a MemoryError, in whichever thread.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory if before[0] == resource.RLIM_INFINITY else min(memory, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield soft
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def confine(
    memory: int, *, seconds: float | None = None, cpu_seconds: float | None = None, niceness: int = 10
) -> None:
    """Have memory, in bytes, and time end this process before they trouble others; never leave a core file.

    Where the kernel runs short of memory, this is the first to go.
    """
    if seconds is not None:
        signal.alarm(int(seconds) + _GRACE_SECONDS)
    bounds = {resource.RLIMIT_DATA: (memory, memory), resource.RLIMIT_CORE: (0, 0)}
    if cpu_seconds is not None:
        soft = int(cpu_seconds) + 1
        bounds[resource.RLIMIT_CPU] = soft, soft + _GRACE_SECONDS  # SIGXCPU tells it from a want of memory
    for kind, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, most)
    give_up_first(os.getpid())
    with contextlib.suppress(OSError):
        os.nice(niceness)
