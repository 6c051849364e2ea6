"""The daemon's side of the process that notifies: begun with the first notification, ended at rest."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec

import msgspec

from dropsight import children, installing
from dropsight.errors import SinkError
from dropsight.sinks.notify.notification import MESSAGE_BYTES, Notification, Receipt

REST_SECONDS = 60.0
# A service may take several requests, each with pauses and timeouts of its own.
LONGEST_SECONDS = 120.0
_LOOK_SECONDS = 0.25
_DEATH_SECONDS = 10.0
_SOUND = '"import apprise.attachment.file"'
MEMORY_BYTES = 256 * 2**20


class Dispatcher:
    """Thread-safe: one process for all targets, in which each notification has a thread of its own."""

    def __init__(
        self, *, rest_seconds: float = REST_SECONDS, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._rest_seconds, self.longest_seconds = rest_seconds, longest_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._busy, self._used_at = 0, 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, None where there is none."""
        process = self._process
        return process.pid if process else None

    def carry(
        self, notification: Notification, picture: bytes | None, *, stopping: Callable[[], bool]
    ) -> Receipt:
        """Have it told; raises SinkError where that is not known, soon after it is `stopping`, too.

        Should the process have been about to end, another one does it.
        """
        for _ in range(2):
            process = self._enter()
            try:
                if receipt := self._ask(notification, picture, stopping):
                    return receipt
            finally:
                self._leave()
            death = self._death(process)
        raise SinkError(f"the notification process {death}")

    def seconds_to_rest(self) -> float | None:
        """Return when the process is to be looked after again, None where there is none; end it at rest."""
        with self._lock:
            if self._process is None:
                return None
            left = self._used_at + self._rest_seconds - time.monotonic()
            if self._busy or left > 0:
                return max(left, 1.0)
            self._end()
        return None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _enter(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process and self._process.poll() is not None:
                self._end()
            if self._process is None:
                self._begin()
            assert self._process  # noqa: S101 - begun
            self._busy += 1
            return self._process

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1
            self._used_at = time.monotonic()

    def _begin(self) -> None:
        if fault := lack():
            raise SinkError(fault)
        try:
            self._process, self._door = children.begin(
                "dropsight.sinks.notify.apprise_process", str(MEMORY_BYTES)
            )
        except OSError as error:
            raise SinkError(f"cannot start the notification process: {error.strerror}") from error

    def _end(self) -> None:
        if self._door:
            self._door.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = self._door = None

    def _ask(
        self, notification: Notification, picture: bytes | None, stopping: Callable[[], bool]
    ) -> Receipt | None:
        """Return the receipt, None where the process ended before it gave one."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ours:
                with theirs, self._lock:
                    if self._door is None:
                        return None
                    socket.send_fds(self._door, [b"!"], [theirs.fileno()])
                _send(ours, notification, picture)
                return self._hear(ours, stopping)
        except (BrokenPipeError, ConnectionResetError):
            return None
        except OSError as error:
            text = f"it cannot be handed to the notification process: {error.strerror}"
            raise SinkError(text) from error

    def _hear(self, ours: socket.socket, stopping: Callable[[], bool]) -> Receipt | None:
        until = time.monotonic() + self.longest_seconds
        ours.settimeout(_LOOK_SECONDS)
        while True:
            try:
                message = ours.recv(MESSAGE_BYTES)
            except TimeoutError:
                if stopping():
                    raise SinkError("stopped") from None
                if time.monotonic() >= until:
                    self.close()
                    text = f"no answer within {self.longest_seconds:g} s; the notification process was ended"
                    raise SinkError(text) from None
                continue
            return _read(message) if message else None

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        try:
            code = process.wait(_DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed the connection without an answer"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}; whether Apprise is sound says {sys.executable} -c {_SOUND}"


def lack() -> str | None:
    """Say what to do where Apprise is not installed, or for others alone; None where it is there."""
    spec = find_spec("apprise")
    if spec is None:
        return f"notifications need Apprise: {installing.with_extra('notify')}"
    if spec.origin is None:  # a folder into which we may not look, as root's umask has made it
        return f"Apprise is installed, but not for this user to read: {installing.opening()}"
    return None


def _read(message: bytes) -> Receipt:
    try:
        return msgspec.msgpack.decode(message, type=Receipt)
    except msgspec.DecodeError as error:
        raise SinkError("the notification process sent invalid data") from error


def _send(ours: socket.socket, notification: Notification, picture: bytes | None) -> None:
    message = msgspec.msgpack.encode(notification)
    if picture is None:
        ours.sendall(message)
        return
    held = os.memfd_create("picture", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(held), "wb") as file:
            file.write(picture)
        socket.send_fds(ours, [message], [held])
    finally:
        os.close(held)
