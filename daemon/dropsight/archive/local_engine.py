"""The engine of one machine: a process for each core, each with an interpreter of one thread."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

import msgspec

from dropsight import children
from dropsight.archive.engines import Ended
from dropsight.archive.tasks import ArchiveJob, Shard, ShardDone, ShardLost, WorkerFault, WorkerReady
from dropsight.errors import ConfigError, DropsightError, MachineError

_Answer = WorkerReady | ShardDone | ShardLost | WorkerFault
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Answer)
# A worker that ends before it is ready takes no shard with it: so often, and it is no accident.
_MOST_FALSE_STARTS = 3


class _Child:
    """A process and its shard in hand; ready once its model is open."""

    def __init__(self, job: ArchiveJob, model: str) -> None:
        self.process, ours = children.begin("dropsight.archive.local_child", model)
        self.connection = Connection(ours.detach())
        self.shard: Shard | None = None
        self.ready = False
        self._send(_encode(job))

    def give(self, shard: Shard) -> None:
        self.shard = shard
        self._send(_encode(shard))

    def answer(self) -> _Answer:
        try:
            answer: _Answer = _decoder.decode(self.connection.recv_bytes())
            return answer
        except (EOFError, OSError):
            code = self.process.wait()
            return ShardLost(_how(code), hung=code == -signal.SIGALRM)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is heard of by `answer`
            self.connection.send_bytes(message)


class LocalEngine:
    """Processes of the project's own kind: begun by a command, never forked, ended with this one."""

    libraries: tuple[str, ...] = ()

    def __init__(self, job: ArchiveJob, model: str, *, address: str | None = None, most: int) -> None:
        if address:
            raise ConfigError(["--address is for --engine ray"])
        self._job, self._model = job, model
        self.workers = min(len(os.sched_getaffinity(0)), most)
        self._children: list[_Child] = []
        self._false_starts = 0

    def map_unordered(self, shards: Iterable[Shard]) -> Iterator[Ended]:
        waiting = iter(shards)
        while len(self._children) < self.workers:
            self._begin()
        for child in [child for child in self._children if child.ready]:
            self._feed(child, waiting)
        while busy := [child for child in self._children if child.shard or not child.ready]:
            heard = wait([child.connection for child in busy])
            for child in [child for child in busy if child.connection in heard]:
                if ended := self._hear(child):
                    yield ended
                if child in self._children:
                    self._feed(child, waiting)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        self.close()
        workers, self.workers = self.workers, 1
        try:
            yield
        finally:
            self.close()
            self.workers = workers

    def close(self) -> None:
        for child in self._children:
            child.end()
        self._children.clear()

    def _begin(self) -> None:
        try:
            self._children.append(_Child(self._job, self._model))
        except OSError as error:
            raise MachineError(f"cannot start a worker process: {error.strerror}") from error

    def _feed(self, child: _Child, waiting: Iterator[Shard]) -> None:
        if child.ready and (shard := next(waiting, None)):
            child.give(shard)

    def _hear(self, child: _Child) -> Ended | None:
        """Take what a child says; raises DropsightError where it is a fault."""
        answer, shard = child.answer(), child.shard
        if isinstance(answer, WorkerFault):
            raise answer.error()
        if isinstance(answer, ShardLost) and not answer.unanswered:
            self._replace(child, answer)
        else:
            child.ready, child.shard, self._false_starts = True, None, 0
        if shard is None or isinstance(answer, WorkerReady):
            return None
        return shard, answer

    def _replace(self, child: _Child, lost: ShardLost) -> None:
        child.end()
        self._children.remove(child)
        if not child.ready:
            self._false_starts += 1
            if self._false_starts >= _MOST_FALSE_STARTS:
                raise DropsightError(f"workers crash while opening the model: {lost.how}")
        self._begin()


def _how(code: int) -> str:
    """Say how a process ended."""
    with contextlib.suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"
