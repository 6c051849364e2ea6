"""Clips decoded in another process, which may die of one: frames as they are asked for."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from dropsight import children, installing
from dropsight.errors import ImageError, MachineError, MemoryShortError
from dropsight.images.opening import ImageFile
from dropsight.threads import LIMITS, is_lacking
from dropsight.video.wire import MESSAGE_BYTES, Answer, ClipEnd, ClipFault, ClipFrame, ClipHeader, ClipOrder

if TYPE_CHECKING:  # a daemon that meets no clip starts without
    from multiprocessing.connection import Connection

MOST_BYTES = 4 * 2**30
"""Of a clip."""
_MEMORY_BYTES = 2**30
_LOOK_SECONDS = 0.25
# What has closed its end takes no longer to be gone.
_DEATH_SECONDS = 10.0
_KILLED_SECONDS = 10.0
# One that has not worked for so long may wait for the clip's disk.
_STILL_SECONDS = 5.0
_decoder = msgspec.msgpack.Decoder(Answer)


class ClipBounds(msgspec.Struct, frozen=True):
    """What a clip may cost: bytes, pixels of a frame, seconds of processor to decode it.

    And seconds for which its process works or sleeps, and for which it has no processor.
    """

    max_bytes: int = MOST_BYTES
    max_pixels: int = 100_000_000
    cpu_seconds: float = 600.0
    seconds: float = 1800.0
    patience: float = 7200.0
    memory: int = _MEMORY_BYTES
    damaged_too: bool = False


class ClipDecoder:
    """One process, begun with the first clip, and again after it died; one thread at a time may use it.

    Soon after it is `stopping`, nothing is waited for any more: MachineError. `at_disk` is entered while the
    disk that the clip lies on is waited for.
    """

    def __init__(
        self,
        bounds: ClipBounds,
        *,
        stopping: Callable[[], bool] = lambda: False,
        at_disk: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.bounds, self._stopping, self._at_disk = bounds, stopping, at_disk
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._answers: Connection | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, None where there is none."""
        return self._process.pid if self._process else None

    def decode(self, file: ImageFile, order: ClipOrder) -> Iterator[ClipHeader | ClipFrame | ClipEnd]:
        """Yield the facts, the frames in the order of their times, the end.

        Frames are decoded while the last ones are worked on, a few ahead. Raises ImageError where the clip
        is at fault, its process's death included, MachineError. Whoever stops early ends the process.
        """
        if file.stat.st_size == 0:
            raise ImageError("empty", "the file is empty")
        if file.stat.st_size > self.bounds.max_bytes:
            raise ImageError(
                "too_large",
                f"{file.stat.st_size} bytes, more than the limit of {self.bounds.max_bytes} bytes",
            )
        answer, working = self._begin(file, order)
        try:
            while not isinstance(answer, ClipEnd | ClipFault):
                yield answer
                answer = self._next(file, working)
        finally:
            if not isinstance(answer, ClipEnd | ClipFault):
                self.close()
        if isinstance(answer, ClipFault):
            raise ImageError(answer.code, answer.message)
        yield answer

    def close(self) -> None:
        """End the process."""
        for end in (self._orders, self._answers):
            if end:
                end.close()
        if self._process:
            self._process.kill()
            with self._at_disk(), contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILLED_SECONDS)  # one that waits for a disk may not end
        self._process = self._orders = self._answers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, file: ImageFile, order: ClipOrder) -> tuple[Answer, children.WorkingTime]:
        """Return the first answer, and the time that it takes from then on.

        Of a process killed between two clips, another takes the place.
        """
        was_there = self._process is not None
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._begun(), [msgspec.msgpack.encode(order)], [file.fd])
            assert self._process  # noqa: S101 - it was begun
            bounds = self.bounds
            working = children.WorkingTime(self._process.pid, bounds.seconds, patience=bounds.patience)
            return self._next(file, working), working
        except MachineError:
            self.close()
            if not was_there or self._stopping():
                raise
        except BaseException:
            self.close()
            raise
        return self._begin(file, order)

    def _begun(self) -> socket.socket:
        if self._orders:
            return self._orders
        try:
            from multiprocessing.connection import Connection

            self._process, self._orders = children.begin("dropsight.video.child", str(self.bounds.memory))
            self._answers = Connection(os.dup(self._orders.fileno()))
        except OSError as error:
            raise MachineError(
                f"clips wait: cannot start the process that decodes them: {error.strerror}"
            ) from error
        return self._orders

    def _next(self, file: ImageFile, working: children.WorkingTime) -> Answer:
        assert self._answers  # noqa: S101 - an order was given
        working.made_wait()
        try:
            is_there = False
            while not is_there:
                is_there = self._answers.poll(_LOOK_SECONDS)
                if not is_there and self._stopping():
                    raise MachineError("clips wait: stopped")
                working.waited()
                if working.still_seconds >= _STILL_SECONDS:
                    self._ask_disk(file)
                    working.made_wait()
                if working.is_spent:  # also where it answers in time each time
                    raise ImageError(
                        "too_large", f"decoding it takes more than the limit of {self.bounds.seconds:g} s"
                    )
                if working.stood_still:
                    raise MachineError("clips wait: the process that decodes them had no processor")
            answer: Answer = _decoder.decode(self._answers.recv_bytes(MESSAGE_BYTES))
            return answer
        except (EOFError, OSError, ValueError) as error:  # an OSError where it died amid a message
            raise self._death() from error

    def _ask_disk(self, file: ImageFile) -> None:
        """Wait until it answers, if it does not: that time is not the clip's."""
        with self._at_disk(), contextlib.suppress(OSError):  # of which the other process hears, too
            os.fstat(file.fd)

    def _death(self) -> ImageError | MachineError:
        assert self._process  # noqa: S101 - it was begun
        try:
            code = self._process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            return ImageError("unreadable", "the process that decodes it sent invalid data")
        if code == -signal.SIGKILL:
            return MemoryShortError("clips wait: the process that decodes them was killed: too little memory")
        if code == -signal.SIGXCPU:
            return ImageError(
                "too_large",
                f"decoding it takes more than the limit of {self.bounds.cpu_seconds:g} s of processor time",
            )
        if children.was_ended(code):
            return MachineError(f"clips wait: the process that decodes them was ended by {_name(-code)}")
        return _own_end(code)


def _own_end(code: int) -> ImageError | MachineError:
    if code >= 0:  # whatever it finds of the clip is told in an answer
        return MachineError(f"clips wait: the process that decodes them ended by itself ({code})")
    if is_lacking():
        return MachineError(f"clips wait: no thread can be started: too many already ({LIMITS})")
    return ImageError("unreadable", f"it crashes the process that decodes it: {_name(-code)}")


def lacks_pyav() -> str | None:
    """Return what to say where PyAV is not installed."""
    if find_spec("av"):
        return None
    return (
        "clips are read by OpenCV, which decodes every frame: for a fifth of the cost, "
        f"{installing.with_extra('video')}"
    )


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
