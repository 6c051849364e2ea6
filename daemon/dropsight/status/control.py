"""The control socket in the state folder: other programs ask, the daemon answers, one JSON line each way."""

import contextlib
import grp
import logging
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from dropsight import crashpoints
from dropsight.errors import DropsightError, StoreError, machine_error
from dropsight.status.supervision import Supervision
from dropsight.threads import begins

log = logging.getLogger(__name__)

NAME = "dropsight.sock"
REQUEST_BYTES = 4_096
ANSWER_BYTES = 2**24
TIMEOUT_SECONDS = 5.0
AT_ONCE = 8
RETRY_SECONDS = 1.0


class Request(msgspec.Struct, frozen=True):
    command: str


class NotRunningError(DropsightError):
    pass


class ControlSocket:
    """The listening socket in the state folder: it may stay over a reload, while one server follows another.

    Whoever asks in between waits for the daemon that comes.
    """

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._folder = Path()
        self._file: os.stat_result | None = None

    def open(self, folder: Path) -> socket.socket:
        """Return the listener, the former one where that is in this folder; raises StoreError."""
        if self._listener and folder == self._folder and self._lies_there():
            return self._listener
        self.close()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                (folder / NAME).unlink()
            with _address(folder) as address:
                listener.bind(address)
                _open_to_the_group(address)
            self._file = (folder / NAME).stat()
        except OSError as error:
            listener.close()
            raise StoreError(f"{folder / NAME} cannot be made: {error.strerror}") from error
        listener.setblocking(False)
        self._listener, self._folder = listener, folder
        return listener

    def close(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):  # the disk may be gone; the next start makes room for its own
            if self._lies_there():
                (self._folder / NAME).unlink()
        self._listener.close()
        self._listener = None

    def _lies_there(self) -> bool:
        try:
            there = (self._folder / NAME).stat()
        except OSError:
            return False
        return self._file is not None and os.path.samestat(there, self._file)


class ControlServer:
    """Answers one request per connection; unknown requests go to `otherwise`.

    A thread a connection: who asks slowly, or for something slow, keeps nobody else waiting. A question has
    so many `seconds`, in however many pieces it comes.
    """

    def __init__(
        self,
        listener: socket.socket,
        answers: Mapping[str, Callable[[], bytes]],
        *,
        otherwise: Callable[[bytes], bytes],
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._listener, self._seconds = listener, seconds
        self._answers, self._otherwise = answers, otherwise
        self._stop_reader, self._stop_writer = os.pipe2(os.O_CLOEXEC)
        self._thread: threading.Thread | None = None
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def start(self, supervision: Supervision) -> None:
        self._listener.listen(AT_ONCE)
        self._thread = supervision.start("control", self._run)

    def close(self) -> None:
        """Take no further question; the listener stays open."""
        os.close(self._stop_writer)
        if self._thread:
            self._thread.join(TIMEOUT_SECONDS)
            if self._thread.is_alive():  # it waits for who is answered; then it sees that this is over
                return
        os.close(self._stop_reader)

    def _run(self) -> None:
        while self._asked():
            crashpoints.reach("in_control")
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:  # whoever it was has gone
                continue
            except OSError as error:
                if not machine_error(error):
                    raise
                time.sleep(RETRY_SECONDS)  # no descriptor is left: whoever asks waits
                continue
            self._free.acquire()
            thread = threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True)
            if not begins(thread):  # whoever asks may do so again
                log.warning("control socket: request not answered: no thread can be started")
                connection.close()
                self._free.release()

    def _asked(self) -> bool:
        """Wait for somebody who asks; False when closed."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        return self._stop_reader not in {descriptor for descriptor, _ in poll.poll()}

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                line = _read_line(connection, max_bytes=REQUEST_BYTES, seconds=self._seconds)
                answer = self._answer(line)
                connection.settimeout(self._seconds)
                connection.sendall(answer + b"\n")
        except Exception:  # one question's, whatever it is
            log.exception("internal error in a control socket request")
        finally:
            self._free.release()

    def _answer(self, line: bytes) -> bytes:
        try:
            answer = self._answers[msgspec.json.decode(line, type=Request).command]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            return self._otherwise(line)
        return answer()


def ask(folder: Path, command: str, *, patience: float = TIMEOUT_SECONDS, **more: str) -> bytes:
    """Ask the daemon whose state lies in this folder; raises NotRunningError where there is none.

    `patience` is in seconds: an explanation takes longer than a status. Raises DropsightError where there is
    one that does not answer, or not to us.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            with _address(folder) as address:
                connection.connect(address)
            connection.sendall(msgspec.json.encode({"command": command, **more}) + b"\n")
            answer = _read_line(connection, max_bytes=ANSWER_BYTES, seconds=patience)
        except PermissionError as error:
            raise DropsightError(_no_entry(folder)) from error
        except BlockingIOError as error:
            fault = f"{folder / NAME}: dropsight is running, but too many ask it at once"
            raise DropsightError(f"{fault}; try again") from error
        except TimeoutError as error:
            fault = f"{folder / NAME}: dropsight is running, but has not answered for {patience:g} s"
            raise DropsightError(
                f"{fault}; it is busy or hung; see its log (journalctl -u dropsight)"
            ) from error
        except OSError as error:
            raise NotRunningError(f"no dropsight is running with its state in {folder}") from error
    if not answer:
        raise NotRunningError(f"the dropsight with its state in {folder} has just ended")
    return answer


def _open_to_the_group(address: str) -> None:
    """Let the group ask and command, unless the umask shuts it out; nobody else, whatever the umask.

    To connect takes the right to write, which a umask that lets the group read keeps from it.
    """
    readable = Path(address).stat().st_mode & stat.S_IRGRP
    Path(address).chmod(0o770 if readable else 0o700)


def _no_entry(folder: Path) -> str:
    """Say who may ask; of the socket itself nothing may be seen, only of a folder above it."""
    path = folder / NAME
    number = next(each for each in (path, *path.parents) if os.access(each, os.F_OK)).stat().st_gid
    if number == 0:
        return f"{path}: permission denied: only its user may connect; use sudo"
    try:
        group = grp.getgrgid(number).gr_name
    except KeyError:
        group = str(number)
    fault = f"{path}: permission denied: only its user and the group {group} may connect"
    return f"{fault}; join it (sudo usermod -aG {group} $USER) and log in again, or use sudo"


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give the socket's path by way of the folder's descriptor: the kernel's limit is 108 bytes."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)


def _read_line(connection: socket.socket, *, max_bytes: int, seconds: float) -> bytes:
    """Raises TimeoutError where it has not come in so many seconds in all, however many pieces have."""
    received, deadline = b"", time.monotonic() + seconds
    while not received.endswith(b"\n") and len(received) < max_bytes:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(65_536)
        if not chunk:
            break
        received += chunk
    return received.rstrip(b"\n")
