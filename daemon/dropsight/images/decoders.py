"""Processes that decode pictures: begun, waited for, and left to go on where they have no processor."""

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from hashlib import blake2b

from dropsight import children
from dropsight.errors import (
    ImageError,
    MachineError,
    MemoryShortError,
    ProcessorShortError,
    StillDecodingError,
)
from dropsight.images.company import COMPANY
from dropsight.spawning import popen
from dropsight.threads import LIMITS, begins, is_lacking

SECONDS = 60.0
# Exit codes.
DAMAGED, SHORT, MACHINE_SHORT, NO_THREAD = 3, 4, 5, 6
_AGAIN_SECONDS = 0.5
_STARVES = "images wait: the process that decodes them had no processor, or too little of it"
# A worker has others to see to: it waits for a decoder until that has stood still for so long.
PARK_SECONDS = 3.0
# Of the clock, and of a processor for all together: four pictures of 12 megapixels, or one that is larger.
PARKED_SECONDS, MOST_PARKED_SECONDS = 3600.0, 100.0
# An inbox that has none among them has room for one all the same, while fewer inboxes than this have any.
MOST_INBOXES = 8
# Who comes again does so after seconds; what has come of it is kept no longer, for files are taken away.
KEPT_SECONDS = 60.0
# What ends before this goes out was not the picture's doing.
READY = b"ready\n"
_running: set[subprocess.Popen[bytes]] = set()
_waiting = threading.local()


def output_of(command: Sequence[str], data: bytes, kind: str, seconds: float) -> tuple[int, bytearray]:
    """Return the exit code of a process that decodes this in so many seconds of a processor, and its output.

    Raises ImageError where it crashes, or takes too long, and MachineError.
    """
    inbox: Hashable = getattr(_waiting, "inbox", None)
    if inbox is None:
        code, said = _Decoding(command, data, kind).output()
    else:
        code, said = _parked.output(command, data, kind, seconds, inbox)
    _check_end(code, kind, seconds)
    if not said.startswith(READY):
        raise MachineError(f"images wait: the process that decodes {kind} ended at its start ({code})")
    if code not in {0, DAMAGED, SHORT}:
        if is_lacking():
            raise _without_threads(kind)
        raise ImageError("unreadable", f"the {kind} data crashes its decoder")
    del said[: len(READY)]  # without a copy of a large picture
    return code, said


@contextmanager
def coming_again(inbox: Hashable) -> Iterator[None]:
    """Have this thread wait for no decoder that lacks a processor: StillDecodingError, and that goes on.

    Whoever comes again with the same picture takes what has come of it. It is of this `inbox`.
    """
    _waiting.inbox = inbox
    try:
        yield
    finally:
        _waiting.inbox = None


class _StarvesError(Exception):
    pass


class _Decoding:
    """A process that decodes a picture."""

    def __init__(
        self, command: Sequence[str], data: bytes, kind: str, *, patience: float | None = None
    ) -> None:
        try:
            # What a codec says on stderr, which may be any number of things, is for nobody.
            self._process = popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
        except OSError as error:
            raise MachineError(
                f"images wait: cannot start the process that decodes {kind}: {error.strerror}"
            ) from error
        children.give_up_first(self._process.pid)
        _running.add(self._process)
        self._stack = ExitStack()
        self._stack.enter_context(COMPANY.joined())
        self._stack.enter_context(self._process)
        self._pipes = children.Pipes(self._process, data)
        self._working = children.WorkingTime(self._process.pid, SECONDS, patience=patience)

    def output(
        self, *, looked: Callable[[children.WorkingTime], None] = lambda _: None
    ) -> tuple[int, bytearray]:
        """Wait for its end; where `looked` raises _StarvesError, it goes on."""
        try:
            children.wait_within(self._working, self._pipes.are_done, looked=looked)
        except _StarvesError:
            raise
        except children.StoodStillError as error:
            self.end()
            raise ProcessorShortError(_STARVES) from error
        except subprocess.TimeoutExpired as error:
            self.end()
            raise ImageError("unreadable", f"decoding it takes more than {SECONDS:.0f} s") from error
        except BaseException:
            self.end()
            raise
        given_up = self._process not in _running
        self.end()
        if given_up:
            raise MachineError("images wait: a stop leaves no time to decode them")
        return self._process.returncode, self._pipes.said

    def end(self) -> None:
        self.give_up()
        self._stack.close()

    def give_up(self) -> None:
        """Have whoever waits for it be told that it was the machine."""
        _running.discard(self._process)
        self._process.kill()


class _GoingOn:
    """A decoder that nobody waits for; `seconds` of a processor it may take in all."""

    def __init__(self, decoding: _Decoding, seconds: float, inbox: Hashable) -> None:
        self.decoding, self.seconds, self.inbox, self.ended_at = decoding, seconds, inbox, math.inf
        self.future: Future[tuple[int, bytearray]] = Future()

    def begins(self) -> bool:
        """Tell whether there is room for a thread that sees to it."""
        return begins(threading.Thread(target=self._run, name="decoding", daemon=True))

    def _run(self) -> None:
        try:
            self.future.set_result(self.decoding.output())
        except Exception as error:  # noqa: BLE001 - for who comes again
            self.future.set_exception(error)
        self.ended_at = time.monotonic()


class _Parked:
    """Thread-safe: decoders that lack a processor, and go on while nobody waits for them.

    They have `MOST_PARKED_SECONDS` of a processor together, or one alone has more. Whoever fills one inbox
    uses up no other's room.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[bytes, _GoingOn] = {}

    def output(
        self, command: Sequence[str], data: bytes, kind: str, seconds: float, inbox: Hashable
    ) -> tuple[int, bytearray]:
        found = blake2b(repr(command).encode())
        found.update(data)
        key = found.digest()
        with self._lock:
            if parked := self._all.get(key):
                if not parked.future.done():
                    raise StillDecodingError(_STARVES)
                del self._all[key]
                return parked.future.result()
            self._check_room(seconds, inbox)
        decoding = _Decoding(command, data, kind, patience=PARKED_SECONDS)
        try:
            return decoding.output(looked=_leave_if_it_starves)
        except _StarvesError:
            self._park(key, _GoingOn(decoding, seconds, inbox))
        raise StillDecodingError(_STARVES)

    def end(self) -> None:
        """Nobody comes again."""
        with self._lock:
            for each in self._all.values():
                each.decoding.give_up()
            self._all.clear()

    def _check_room(self, seconds: float, inbox: Hashable) -> None:
        """Raise ProcessorShortError where others use up what there is; forget those whose files are gone."""
        now = time.monotonic()
        self._all = {key: each for key, each in self._all.items() if now - each.ended_at < KEPT_SECONDS}
        inboxes = {each.inbox for each in self._all.values()}
        if inbox not in inboxes and len(inboxes) < MOST_INBOXES:
            return
        if seconds + sum(each.seconds for each in self._all.values()) > MOST_PARKED_SECONDS:
            raise ProcessorShortError(_STARVES)

    def _park(self, key: bytes, parked: _GoingOn) -> None:
        with self._lock:
            if key not in self._all and parked.begins():
                self._all[key] = parked
            else:
                parked.decoding.end()


def _check_end(code: int, kind: str, seconds: float) -> None:
    """Raise what a process that was ended tells of its picture, or of the machine."""
    if code == -signal.SIGXCPU:
        text = f"decoding it takes more than {seconds:.0f} s of a processor"
        raise ImageError("unreadable", text)
    if code in {-signal.SIGKILL, MACHINE_SHORT}:
        raise MemoryShortError("not enough memory to decode an image: images wait")
    if code == NO_THREAD:
        raise _without_threads(kind)
    if code == -signal.SIGALRM:  # of its own; it has neither worked nor slept for so long
        raise ProcessorShortError(_STARVES)
    if children.was_ended(code):
        raise MachineError(f"images wait: the process that decodes {kind} was ended ({code})")


def _without_threads(kind: str) -> MachineError:
    return MachineError(f"images wait: no thread to decode {kind} can be started: too many ({LIMITS})")


def _leave_if_it_starves(working: children.WorkingTime) -> None:
    elapsed, worked = working.seconds
    if elapsed - worked >= PARK_SECONDS:
        raise _StarvesError


_parked = _Parked()


@contextmanager
def hurrying(*, after_seconds: float) -> Iterator[None]:
    """Have nobody wait for a picture from then on, until this ends: each is told that it was the machine."""
    done = threading.Event()

    def end_all() -> None:
        patience = after_seconds
        while not done.wait(patience):
            for process in list(_running):
                _running.discard(process)
                process.kill()
            patience = _AGAIN_SECONDS

    hurry = threading.Thread(target=end_all, name="hurry", daemon=True)
    hurries = begins(hurry)
    try:
        yield
    finally:
        done.set()
        if hurries:
            hurry.join()
        _parked.end()


def say_ready() -> None:
    """Have whoever waits for this process know that what ends it from now on is its picture."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
