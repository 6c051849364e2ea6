"""The engine of a Ray cluster: an actor for each of its CPUs, with the model, a shard at a time."""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from dropsight import installing
from dropsight.archive.engines import Ended
from dropsight.archive.model_files import ModelFiles, pack
from dropsight.archive.shard_worker import ShardWorker
from dropsight.archive.tasks import ArchiveJob, Shard, ShardDone, ShardLost, WorkerFault, WorkerReady
from dropsight.errors import ConfigError, DropsightError, ModelError, reason

log = logging.getLogger(__name__)

_Answer = WorkerReady | ShardDone | ShardLost | WorkerFault
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Answer)
_MOST_FALSE_STARTS = 3
# After so long, CPUs are counted anew: nodes come and go.
_LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 30.0


class ShardActor:
    """The side of the worker; Ray makes it, in a process of its own."""

    def __init__(self, job: bytes, files: ModelFiles, digest: str) -> None:
        self._job, self._files, self._digest = job, files, digest
        self._worker: ShardWorker | None = None

    def begin(self) -> bytes:
        """Open the model; it is in memory then, and its file can go."""
        logging.disable(logging.WARNING)
        try:
            if self._files.digest != self._digest:
                raise ModelError("the model's bytes have changed on their way to the worker")
            with tempfile.TemporaryDirectory(prefix="dropsight-model-") as folder:
                model = self._files.unpack(Path(folder))
                self._worker = ShardWorker(msgspec.msgpack.decode(self._job, type=ArchiveJob), str(model))
        except DropsightError as error:
            return _encode(WorkerFault.of(error))
        return _encode(WorkerReady())

    def do(self, shard: bytes) -> bytes:
        assert self._worker  # noqa: S101 - it has begun
        try:
            return _encode(self._worker.do(msgspec.msgpack.decode(shard, type=Shard)))
        except DropsightError as error:
            return _encode(WorkerFault.of(error))


class _Actor:
    """The driver's side: what it was asked last, and whether it has opened the model."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 - Ray's
        self.handle = handle
        self.asked: Any = handle.begin.remote()
        self.shard: Shard | None = None
        self.ready = False
        self.since = time.monotonic()

    def give(self, shard: Shard) -> None:
        self.since = time.monotonic()
        self.shard, self.asked = shard, self.handle.do.remote(_encode(shard))


class RayEngine:
    """Actors of one CPU each, as many as the cluster has by now; image bytes never pass through Ray."""

    libraries: tuple[str, ...] = ("ray",)

    def __init__(self, job: ArchiveJob, model: str, *, address: str | None = None, most: int) -> None:
        if find_spec("ray") is None:
            raise ConfigError([f"--engine ray needs ray: {installing.with_extra('cluster')}"])
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray, self._most, self.workers = ray, most, 0
        self._most_seconds = job.most_seconds
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address)
        files = pack(Path(model))
        self._made_of = (_encode(job), ray.put(files), files.digest)
        self._kind = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(ShardActor)
        self._actors: list[_Actor] = []
        self._false_starts = 0
        self._told_of_waiting = False
        self._last_sign = time.monotonic()

    def map_unordered(self, shards: Iterable[Shard]) -> Iterator[Ended]:
        waiting, left = iter(shards), True
        while True:
            self._grow()
            for actor in [actor for actor in self._actors if actor.ready and not actor.shard]:
                if left and (shard := next(waiting, None)):
                    actor.give(shard)
                elif left:
                    left = False
            busy = [actor for actor in self._actors if actor.shard or (left and not actor.ready)]
            if not left and not busy:
                return
            yield from self._hear(busy)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        self._end_all()
        most, self._most = self._most, 1
        try:
            yield
        finally:
            self._end_all()
            self._most = most

    def close(self) -> None:
        self._end_all()
        if self._ours:
            self._ray.shutdown()

    def _end_all(self) -> None:
        for actor in self._actors:
            self._end(actor)
        self._actors.clear()

    def _grow(self) -> None:
        cpus = int(self._ray.cluster_resources().get("CPU", 0))
        while len(self._actors) < min(cpus, self._most):
            self._actors.append(_Actor(self._kind.remote(*self._made_of)))

    def _hear(self, busy: list[_Actor]) -> Iterator[Ended]:
        """Wait for one of them; yield whose shard has ended."""
        if not busy:
            time.sleep(_LOOK_SECONDS)
            heard: list[Any] = []
        else:
            asked = [actor.asked for actor in busy]
            heard, _ = self._ray.wait(asked, num_returns=1, timeout=_LOOK_SECONDS)
        self._tell_of_waiting(heard)
        for actor in [actor for actor in busy if actor.asked in heard]:
            answer, shard = self._answer(actor), actor.shard
            if isinstance(answer, WorkerFault):
                raise answer.error()
            if isinstance(answer, ShardLost) and not answer.unanswered:
                self._lose(actor, answer)
            else:
                actor.ready, actor.shard, self._false_starts = True, None, 0
                self.workers = max(self.workers, sum(each.ready for each in self._actors))
            if shard and not isinstance(answer, WorkerReady):
                yield shard, answer

    def _answer(self, actor: _Actor) -> _Answer:
        try:
            answer: _Answer = _decoder.decode(self._ray.get(actor.asked))
            return answer
        except self._ray.exceptions.RayError as error:
            # Ray does not say by which signal; what was begun so long ago has probably hung.
            seconds = time.monotonic() - actor.since
            return ShardLost(f"{_first_line(error)} ({seconds:.0f} s)", hung=seconds >= self._most_seconds)

    def _lose(self, actor: _Actor, lost: ShardLost) -> None:
        self._end(actor)
        self._actors.remove(actor)
        if not actor.ready:
            self._false_starts += 1
            if self._false_starts >= _MOST_FALSE_STARTS:
                raise DropsightError(f"workers crash while opening the model: {lost.how}")

    def _end(self, actor: _Actor) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor.handle)

    def _tell_of_waiting(self, heard: list[Any]) -> None:
        """Say it once where nothing begins: Ray waits for CPUs without a word."""
        if heard:
            self._last_sign = time.monotonic()
        in_hand = any(actor.shard for actor in self._actors)
        if in_hand or self._told_of_waiting or time.monotonic() - self._last_sign < _PATIENCE_SECONDS:
            return
        self._told_of_waiting = True
        has, free = self._ray.cluster_resources(), self._ray.available_resources()
        log.warning(
            "no worker has started for %.0f s: the cluster has %g CPUs, of which %g are free",
            _PATIENCE_SECONDS,
            has.get("CPU", 0),
            free.get("CPU", 0),
        )


def _connect(ray: Any, address: str | None) -> None:  # noqa: ANN401 - the module
    if address:
        _need_there(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise DropsightError(f"--address {address or 'of a cluster here'}: {_first_line(error)}") from error


def _need_there(address: str) -> None:
    """Raise DropsightError unless somebody listens: Ray ends the process where nobody does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS).close()
    except OSError as error:
        raise DropsightError(f"--address {address}: no Ray cluster answers: {reason(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
