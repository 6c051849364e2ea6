"""A Ray cluster of two nodes, begun by the commands that people use, as processes of this machine."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropsight import crashpoints
from processes import begin, end

# Nobody's cluster but this test's; one image is there that ends its worker.
ENVIRON = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    crashpoints.VARIABLE: "in_decoding:poison",
}
_QUIET = ("--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000")


class RayNode:
    """`ray start` and all that it has begun."""

    def __init__(self, *arguments: str, log: Path) -> None:
        with log.open("wb") as out:
            self.process = begin(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *_QUIET, *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRON},
            )

    def workers(self) -> list[int]:
        """Return the processes of its actors."""
        return [pid for pid in self._below() if _title(pid).startswith("ray::ShardActor")]

    def kill(self) -> None:
        for pid in [*self._below(), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end(self.process)

    def _below(self) -> list[int]:
        found, pending = list[int](), [self.process.pid]
        while pending:
            children = children_of(pending.pop())
            found += children
            pending += children
        return found


class RayCluster:
    """A head and, once it is joined, a second node; each of one CPU."""

    def __init__(self, folder: Path) -> None:
        # Ray's sockets lie below, and a socket's path is short.
        self._temporary = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        self._folder = folder
        self._log = folder / "head.log"
        self.head = RayNode(
            "--head",
            "--port=0",
            "--include-dashboard=false",
            f"--temp-dir={self._temporary.name}",
            log=self._log,
        )
        self.second: RayNode | None = None

    @property
    def address(self) -> str | None:
        found = re.search(r"--address='([^']+)'", self._log.read_text())
        return found and found[1]

    def join(self) -> RayNode:
        self.second = RayNode(f"--address={self.address}", log=self._folder / "second.log")
        return self.second

    def close(self) -> None:
        for node in filter(None, (self.second, self.head)):
            node.kill()
        self._temporary.cleanup()


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    cluster = RayCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
