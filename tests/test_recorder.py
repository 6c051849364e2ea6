"""Group commit and its consequences, with a real journal, a real log and real files."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers import wait_until
from dropsight.config import Watch
from dropsight.errors import ErrorCode
from dropsight.records import (
    ErrorFacts,
    Failure,
    ImageFacts,
    Latency,
    ModelFacts,
    Prediction,
    Record,
    Result,
    drop_id,
    encode,
)
from dropsight.service.backlog import Backlog
from dropsight.service.dropfolder import DropFolder
from dropsight.service.recorder import GROUP_SECONDS, Recorder, company_seconds
from dropsight.service.recording import Finished, History, row_of
from dropsight.service.stats import Stats
from dropsight.service.store import Store
from dropsight.service.troubles import Troubles
from dropsight.sinks.jsonlog import JsonLog

MODEL = ModelFacts("m", "tflite", "int8", "sha256:0")


class Desk:
    """A recorder with all that it needs, in one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.inbox = root, root / "inbox"
        self.inbox.mkdir(exist_ok=True)
        settings = Watch(path=self.inbox, processed=root / "processed", failed=root / "failed")
        self.folder = DropFolder.open(settings)
        self.backlog = Backlog()
        self.store = Store(root / "state" / "journal.db")
        self.log = JsonLog(root / "r.jsonl", max_bytes=10**6, backups=1, compress=False)
        self.recorder = Recorder(
            self.store,
            self.log,
            backlog=self.backlog,
            stats=Stats(window_seconds=60),
            history=History(1000, None),
            troubles=Troubles(logging.getLogger()),
            on_recorded=lambda _: None,
        )

    def arrival(self, name: str, *, error: ErrorCode | None = None, data: bytes = b"image") -> Finished:
        """A file in the inbox, taken by a worker, its record made."""
        path = self.inbox / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self.backlog.hint(self.folder, str(path), closed=True)
        candidate = self.backlog.take()
        assert candidate
        return Finished(candidate, path.stat(), record_of(name, path.stat(), error))

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.recorder.run)
        thread.start()
        try:
            yield
        finally:
            self.recorder.stop()
            thread.join(30)

    def close(self) -> None:
        self.log.close()
        self.store.close()

    def lines(self) -> list[str]:
        lines = (self.root / "r.jsonl").read_text().splitlines()
        return [json.loads(line)["image_path"] for line in lines]


def record_of(name: str, stat: os.stat_result, error: ErrorCode | None) -> Record:
    record_id = drop_id("d", name.encode(), stat.st_size, stat.st_mtime_ns)
    if error:
        return Failure(
            id=record_id,
            time="t",
            device="d",
            camera="c",
            image_path=name,
            error=ErrorFacts(error, "bad"),
            latency_ms=Latency(),
        )
    return Result(
        id=record_id,
        time="t",
        device="d",
        camera="c",
        image_path=name,
        predicted_class=1,
        label="x",
        confidence=0.5,
        top_5_predictions={"1": 0.5},
        predictions=[Prediction(1, "x", 0.5)],
        image=ImageFacts(1, 1, stat.st_size, "jpeg", "t"),
        model=MODEL,
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )


def test_a_finished_image_gets_one_line_and_is_moved(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("cam/a.jpg"))
        wait_until(lambda: desk.backlog.counters().done == 1)
    assert desk.lines() == ["cam/a.jpg"]
    assert (tmp_path / "processed" / "cam" / "a.jpg").exists()
    assert desk.store.unfiled() == []
    desk.close()


def test_a_failed_image_lies_beside_its_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        desk.recorder.put(desk.arrival("a.jpg", error="truncated"))
        wait_until(lambda: desk.backlog.counters().failed == 1)
    reason = json.loads((tmp_path / "failed" / "a.jpg.reason.json").read_text())
    assert reason["error"]["code"] == "truncated"
    assert (tmp_path / "failed" / "a.jpg").exists()
    desk.close()


def test_a_crash_after_the_commit_is_mended_at_the_next_start_exactly_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    crashed = desk.arrival("a.jpg")
    desk.store.add([row_of(crashed, encode(crashed.record))])
    desk.close()
    for _ in range(2):
        desk = Desk(tmp_path)
        desk.recorder.recover([desk.folder])
        desk.close()
    assert desk.lines() == ["a.jpg"]
    assert (tmp_path / "processed" / "a.jpg").exists()


def test_a_crash_after_the_line_adds_no_second_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    crashed = desk.arrival("a.jpg")
    line = encode(crashed.record)
    desk.store.add([row_of(crashed, line)])
    desk.log.append([line])
    desk.close()
    desk = Desk(tmp_path)
    desk.recorder.recover([desk.folder])
    desk.close()
    assert desk.lines() == ["a.jpg"]


def test_a_file_that_changed_since_it_was_read_stays(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    finished = desk.arrival("a.jpg")
    (desk.inbox / "a.jpg").write_bytes(b"another image altogether")
    with desk.running():
        desk.recorder.put(finished)
        wait_until(lambda: desk.backlog.counters().done == 1)
    assert (desk.inbox / "a.jpg").exists()
    desk.close()


def test_a_later_image_of_the_same_name_does_not_replace_the_earlier(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        for number, data in enumerate((b"first", b"second one"), start=1):
            desk.recorder.put(desk.arrival("a.jpg", data=data))
            wait_until(lambda number=number: desk.backlog.counters().done == number)  # type: ignore[misc]
    kept = sorted(path.read_bytes() for path in (tmp_path / "processed").iterdir())
    assert kept == [b"first", b"second one"]
    desk.close()


def test_the_very_same_file_dropped_again_is_a_record_of_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        first = desk.arrival("a.jpg")
        desk.recorder.put(first)
        wait_until(lambda: desk.backlog.counters().done == 1)
        moved = tmp_path / "processed" / "a.jpg"
        moved.rename(desk.inbox / "a.jpg")
        desk.backlog.hint(desk.folder, str(desk.inbox / "a.jpg"), closed=True)
        candidate = desk.backlog.take()
        assert candidate
        desk.recorder.put(Finished(candidate, first.stat, first.record))
        wait_until(lambda: desk.backlog.counters().done == 2)
    ids = [json.loads(line)["id"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(set(ids)) == 2
    desk.close()


def test_drain_returns_when_everything_is_durable(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running():
        for number in range(100):
            desk.recorder.put(desk.arrival(f"{number}.jpg"))
        assert desk.recorder.drain(seconds=30)
        assert desk.recorder.visible == 100
    assert len(desk.lines()) == 100
    desk.close()


def test_slow_disks_and_waiting_images_get_long_groups_and_fast_disks_keep_nobody_waiting() -> None:
    """An SD card wears out by commits; a record that images queue behind gains nothing by haste."""
    assert company_seconds(commit_seconds=0.02, more_waits=False) == GROUP_SECONDS
    assert company_seconds(commit_seconds=0.0001, more_waits=True) == GROUP_SECONDS
    assert 0 < company_seconds(commit_seconds=0.0003, more_waits=False) < GROUP_SECONDS / 10
