"""Begins processes; the daemon's by a thread that has descriptors of its own.

A new process closes what it inherits, and whoever begins it waits for that. A file on a FUSE file system is
closed once its server says so (fuse_flush): where that one hangs, no process would begin any more, be it for
another inbox.
"""

import ctypes
import errno
import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from queue import SimpleQueue
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, NamedTuple

log = logging.getLogger(__name__)

NAME = "processes"
_CLONE_FILES = 0x400  # unshare(2)
_RETRY_SECONDS = 0.1
_STREAMS = ("stdin", "stdout", "stderr")
_apart: "_Apart | None" = None


def begin_apart(waker: int) -> None:
    """Have processes begun by such a thread from now on; call it before any image is opened.

    `waker` is the descriptor that signals are told through, by whichever thread the kernel gives them to.
    Where that is not to be had, which is told, the thread that wants a process begins it.
    """
    global _apart  # noqa: PLW0603 - as there is one process, there is one
    if _apart is None and (apart := _Apart(waker)).begins():
        _apart = apart
    elif _apart is None:
        text = "no thread that begins processes: a FUSE share that hangs can hold up all HEIC and clips"
        log.warning("%s", text)


def popen(
    command: Sequence[str],
    *,
    stdin: int = DEVNULL,
    stdout: int = DEVNULL,
    stderr: int = DEVNULL,
    process_group: int | None = None,
) -> Popen[bytes]:
    """As `subprocess.Popen`, in /, with no other descriptors; pipes are not buffered. Raises OSError."""
    wanted = dict(zip(_STREAMS, (stdin, stdout, stderr), strict=True))
    with _pipes(wanted) as (theirs, ours):
        order = _Order(command, process_group)
        process = _apart.begun(order, theirs) if _apart else order.begun(theirs)
        process.stdin, process.stdout, process.stderr = map(ours.get, _STREAMS)
    return process


@contextmanager
def _pipes(wanted: Mapping[str, int]) -> Iterator[tuple[Mapping[str, int], Mapping[str, IO[bytes]]]]:
    """Yield the descriptors for the process, whose pipes are closed then, and our ends of these."""
    descriptors = {name: stream for name, stream in wanted.items() if stream != DEVNULL}
    files = dict[str, IO[bytes]]()
    with ExitStack() as theirs, ExitStack() as ours:
        for name in [name for name, stream in descriptors.items() if stream == PIPE]:
            read, write = os.pipe()
            mine, descriptors[name] = (write, read) if name == "stdin" else (read, write)
            theirs.callback(os.close, descriptors[name])
            files[name] = ours.enter_context(open(mine, "wb" if name == "stdin" else "rb", buffering=0))  # noqa: PTH123
        yield descriptors, files
        ours.pop_all()


class _Order(NamedTuple):
    command: Sequence[str]
    process_group: int | None

    def begun(self, descriptors: Mapping[str, int]) -> Popen[bytes]:
        stdin, stdout, stderr = (descriptors.get(name, DEVNULL) for name in _STREAMS)
        return Popen(
            self.command,
            cwd="/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            process_group=self.process_group,
        )


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Collected by the thread, what owns a descriptor would close another one's there, and stay open here."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Apart:
    """The thread. An order comes with its descriptors, through a socket: here they have other numbers."""

    def __init__(self, waker: int) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._waker = waker
        self._orders: SimpleQueue[tuple[_Order, Sequence[str]]] = SimpleQueue()
        self._answers: SimpleQueue[Popen[bytes] | Exception] = SimpleQueue()
        self._is_apart: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()

    def begins(self) -> bool:
        """Tell whether it does, with descriptors of its own."""
        try:
            threading.Thread(target=self._run, name=NAME, daemon=True).start()
        except RuntimeError:  # no room for it
            return False
        return self._is_apart.get()

    def begun(self, order: _Order, descriptors: Mapping[str, int]) -> Popen[bytes]:
        with self._lock, _nothing_collected():
            # Where they cannot go, no order is left for those of the next one.
            socket.send_fds(self._ours, [b"!"], list(descriptors.values()))
            self._orders.put((order, list(descriptors)))
            answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _run(self) -> None:
        is_apart = ctypes.CDLL(None).unshare(_CLONE_FILES) == 0
        if is_apart:
            # The number of the waker may be no other file's: a signal would be written into that.
            kept = sorted((2, self._theirs.fileno(), self._waker, os.sysconf("SC_OPEN_MAX")))
            for before, after in pairwise(kept):
                os.closerange(before + 1, after)
        self._is_apart.put(is_apart)
        while is_apart:
            self._answers.put(self._answer(self._received()))

    def _received(self) -> Sequence[int]:
        while True:
            with suppress(OSError, MemoryError):  # what has been sent is still there
                return socket.recv_fds(self._theirs, 1, len(_STREAMS))[1]
            time.sleep(_RETRY_SECONDS)

    def _answer(self, received: Sequence[int]) -> Popen[bytes] | Exception:
        order, names = self._orders.get()
        try:
            if len(received) < len(names):  # others found no place here
                return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return order.begun(dict(zip(names, received, strict=True)))
        except Exception as error:  # noqa: BLE001 - it is whoever's that wants the process
            return error
        finally:
            for descriptor in received:
                os.close(descriptor)
