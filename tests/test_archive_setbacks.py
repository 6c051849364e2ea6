"""What an archive does where memory lacks, and where servers do not answer that only a list names."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from archives import MODEL
from daemons import PHOTOS
from dropsight.archive import fetching
from dropsight.archive.answer_settings import settings_of
from dropsight.archive.driving import drive
from dropsight.archive.engines import Ended
from dropsight.archive.listing import Listed
from dropsight.archive.manifest import write_manifest
from dropsight.archive.shard_worker import ShardWorker
from dropsight.archive.storage import Storage
from dropsight.archive.tasks import ArchiveJob, Shard, ShardDone, ShardLost, shards_of
from dropsight.errors import StoreError
from dropsight.inference.runtime import ImageInferenceRuntime
from stores import answering

pytestmark = [
    pytest.mark.timeout(120),
    # Of botocore, aiohttp, asyncssh and pyftpdlib.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


class Engine:
    """Loses shards as it is told; `asked` are those that it was given, and whether alone."""

    libraries: tuple[str, ...] = ()

    def __init__(self, loses: Callable[[Shard, bool], ShardLost | None]) -> None:
        self.workers = 2
        self._loses = loses
        self.asked: list[tuple[Shard, bool]] = []

    def map_unordered(self, shards: Iterable[Shard]) -> Iterator[Ended]:
        for shard in shards:
            self.asked.append((shard, self.workers == 1))
            yield shard, self._loses(shard, self.workers == 1) or ShardDone({})

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.workers = 1
        yield
        self.workers = 2

    def close(self) -> None:
        pass


def test_what_lacks_memory_beside_others_is_done_alone_and_blamed_for_nothing() -> None:
    """Two large pictures at once, and the job ended in 'not enough memory', at each run."""
    engine = Engine(lambda _, is_alone: None if is_alone else ShardLost("want of memory"))
    done = [shard for shard, _ in drive(engine, shards_of(3, 2), stopped=lambda: False)]
    assert [(shard.number, shard.lethal) for shard in done] == [(0, {}), (1, {})]


def test_what_lacks_memory_alone_as_well_is_named_and_the_others_done() -> None:
    def loses(shard: Shard, _: bool) -> ShardLost | None:  # noqa: FBT001
        is_guilty = shard.start <= 1 < shard.stop and 1 not in shard.lethal
        return ShardLost("want of memory") if is_guilty else None

    done = [shard for shard, _ in drive(Engine(loses), shards_of(3, 3), stopped=lambda: False)]
    assert [shard.lethal for shard in done] == [{1: "want of memory"}]


def test_shards_whose_server_does_not_answer_come_once_more_when_all_others_are_done() -> None:
    """Some servers only have too much to do."""
    engine = Engine(
        lambda shard, _: (
            ShardLost("no answer", unanswered=True) if shard.number == 0 and not shard.last else None
        )
    )
    done = [shard.number for shard, _ in drive(engine, shards_of(3, 1), stopped=lambda: False)]
    assert done == [1, 2, 0]
    assert [(shard.number, shard.last) for shard, _ in engine.asked] == [
        *((number, False) for number in range(3)),
        (0, True),
    ]


def worker_of(lines: list[str], folder: Path, protocols: tuple[str, ...] = ()) -> tuple[ShardWorker, Shard]:
    storage = Storage(str(folder))
    storage.make()
    facts = write_manifest(storage, [Listed(os.fsencode(line)) for line in lines], ["list.txt"])
    with ImageInferenceRuntime(MODEL, threads=1) as runtime:
        job = ArchiveJob(
            out=str(folder),
            manifest=facts.digest,
            model=runtime.spec.digest,
            shard_rows=facts.rows,
            settings=settings_of(runtime.spec, sets=False),
            protocols=protocols,
        )
    return ShardWorker(job, MODEL), Shard(0, 0, facts.rows)


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS = {
    "hangs up": b"",
    "sends less": HEAD + b"Content-Length: 1000\r\n\r\nabc",
    "sends half": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "is busy": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "packs badly": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
    "leads to one that is gone": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_list_s_web_server_that_does_not_do_costs_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Each run of the job ended there, until somebody took that line off the list."""
    monkeypatch.setattr(fetching, "_AGAIN_SECONDS", ())
    with answering(answer) as url:
        worker, shard = worker_of([str(PHOTOS[0]), f"{url}/a.jpg"], tmp_path / "out")
        with closing(worker):
            lost = worker.do(shard)
            assert isinstance(lost, ShardLost)
            assert lost.unanswered
            done = worker.do(msgspec.structs.replace(shard, last=True))
    assert isinstance(done, ShardDone)
    assert done.counts == {"ok": 1, "unreadable": 1}


def test_a_server_that_does_not_answer_is_not_waited_for_with_each_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand lines of a list, 15 minutes each."""
    monkeypatch.setattr(fetching, "_AGAIN_SECONDS", ())
    asked: list[bytes] = []
    with answering(b"", asked) as url:
        lines = [f"{url}/{number:03}.jpg" for number in range(100)]
        worker, shard = worker_of(lines, tmp_path / "out")
        with closing(worker):
            worker.do(shard)
            before = len(asked)
            assert isinstance(worker.do(shard), ShardLost)
            assert len(asked) == before
            done = worker.do(msgspec.structs.replace(shard, last=True))
    assert isinstance(done, ShardDone)
    assert done.counts == {"unreadable": 100}
    assert len(asked) < 30


class Guarded(MemoryFileSystem):  # type: ignore[misc]  # of a package without types
    """A store that refuses what is called after its owner's secrets."""

    protocol = "guarded"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def _open(self, path: str, *of: object, **how: object) -> Any:
        if "secret" in path:
            raise PermissionError(path)
        return super()._open(path, *of, **how)


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    yield fsspec.filesystem("guarded")
    Guarded.store.clear()


def test_files_of_a_store_that_it_refuses_end_no_job_where_it_gives_others(
    tmp_path: Path, guarded: Guarded
) -> None:
    """Four in a row that an uploader had closed, or that lie in a glacier, ended each run of it."""
    lines = [f"guarded:///cards/secret{number}.jpg" for number in range(4)]
    worker, shard = worker_of([*lines, "guarded:///cards/z.jpg"], tmp_path / "out", ("guarded",))
    refused = msgspec.structs.replace(shard, stop=4)
    with closing(worker):
        with pytest.raises(StoreError, match="and all others of a shard: access denied"):
            worker.do(refused)
        guarded.pipe_file("guarded:///cards/z.jpg", PHOTOS[0].read_bytes())
        assert worker.do(refused) == ShardDone({"unreadable": 4})
