"""A journal in which older and newer dropsights wrote: their records are read as far as they are known."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House
from dropsight.records import Expired, Failure, Result, decode, encode, with_total
from records import failure, result
from webs import ANY_PORT, address, ask

OLDER = {"schema": "dropsight/0", "id": "older", "status": "ok", "camera": "old", "image_path": "old/a.jpg"}
NEWER = {
    "schema": "dropsight/7",
    "id": "newer",
    "status": "ok",
    "time": "2031-01-01T00:00:00.000000Z",
    "camera": "new",
    "image_path": "new/b.jpg",
    "label": ["tabby", "cat"],
    "confidence": {"low": 0.4, "high": 0.6},
    "image": {"captured": "2031-01-01T00:00:00Z", "size": [640, 480], "width": "640 px"},
    "latency_ms": {"total": 5.0, "upload": {"queue": 1.0}},
    "moon": "full",
}
OTHER = {"schema": "dropsight/7", "id": "other", "status": "skipped", "camera": "new", "time": 17}
FAILED = {
    "id": "failed",
    "status": "failed",
    "camera": "old",
    "error": {"code": "eclipse", "message": "dark"},
}


def write(journal: Path, records: list[dict[str, Any]], *, unfiled: Path | None = None) -> list[bytes]:
    """As another version does it: not yet published, the image of the first not yet filed."""
    lines = [msgspec.json.encode(record) for record in records]
    with sqlite3.connect(journal) as db:
        for number, (record, line) in enumerate(zip(records, lines, strict=True)):
            path, size, mtime = b"/gone.jpg", 1, 1
            if unfiled and not number:
                path, size = os.fsencode(unfiled), unfiled.stat().st_size
                mtime = unfiled.stat().st_mtime_ns
            db.execute(
                "INSERT INTO record (id, path, size, mtime_ns, camera, status, line, total_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 9.5)",
                (record["id"], path, size, mtime, record["camera"], record["status"], line),
            )
    db.close()
    return lines


@pytest.mark.slow
def test_records_of_older_and_newer_versions_are_filed_published_and_shown(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url}, "web": ANY_PORT})
        try:
            house.start()
            assert house.stop() == 0
            image = house.inbox / "old" / "a.jpg"
            image.parent.mkdir()
            image.write_bytes(PHOTOS[0].read_bytes())
            (house.inbox / "new").mkdir()
            lines = write(tmp_path / "state" / "journal.db", [OLDER, NEWER, OTHER, FAILED], unfiled=image)
            with Subscriber(broker.port) as heard:
                house.start()
                wait_until(lambda: len(heard.topics("/failure/")) == 1)
                assert heard.topics("/result/old") == [lines[0]]
                assert heard.topics("/result/new") == [lines[1]]
                assert heard.topics("/skipped/new") == [lines[2]]
                wait_until(lambda: len(heard.topics("/state/")) == 2)
                assert heard.topics("/state/new") == [lines[1]]
            assert (house.processed / "old" / "a.jpg").exists()
            url = address(house)
            for query in ("", "?label=tabby", "?class=3", "?min_confidence=0.9"):
                found = ask(url, f"/api/results{query}")
                assert found.status == 200
                assert len(found.json()["results"]) == (0 if query else 4)
            for path in ("/api/stats", "/api/results/newer", "/api/results/newer/explanation", "/readyz"):
                assert ask(url, path).status in {200, 404}
            assert house.ask("explain", id="newer")["ok"] is False
            logged = [record["id"] for record in house.records()]
            assert logged == ["older", "newer", "other", "failed"]
            assert "Traceback" not in house.daemon_log()
        finally:
            house.kill()


def test_what_a_record_lacks_or_means_otherwise_stands_empty() -> None:
    newer = decode(msgspec.json.encode(NEWER))
    assert isinstance(newer, Result)
    assert (newer.id, newer.label, newer.confidence) == ("newer", "", 0.0)
    assert (newer.image.captured, newer.image.width, newer.latency_ms.total) == (
        "2031-01-01T00:00:00Z",
        0,
        5.0,
    )
    failed = decode(msgspec.json.encode(FAILED))
    assert isinstance(failed, Failure)
    assert (failed.error.message, failed.time, failed.image) == ("dark", "", None)
    assert isinstance(decode(b'{"status":"expired"}'), Expired)


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[1]", b'{"id": "\xff"}', b'{"status": "skipped"}'])
def test_what_is_no_record_at_all_counts_as_failed(line: bytes) -> None:
    assert isinstance(decode(line), Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = [field.encode_name for kind in (Result, Failure) for field in msgspec.structs.fields(kind)]


@given(st.dictionaries(st.sampled_from(["status", *NAMES]), JSON | st.just("ok")))
def test_whatever_stands_by_our_names_is_a_record(members: dict[str, object]) -> None:
    """A status that was an object ended `events`, and of the journal the start."""
    assert isinstance(decode(msgspec.json.encode(members)), Result | Failure)


def test_our_own_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    stat = (tmp_path / "a").stat()
    for record in (result("a", stat), failure("a", stat)):
        assert decode(encode(record)) == record


def test_a_total_is_put_only_where_ours_stands() -> None:
    ours = b'{"id":"1","latency_ms":{"wait":0.1,"total":0.0}}'
    assert json.loads(with_total(ours, 2.5))["latency_ms"]["total"] == 2.5
    for line in (b"{}", b'{"latency_ms":{"total":1.0},"moon":{"age":{}}}', b'{"a":{"total":"none"}}'):
        assert with_total(line, 2.5) == line
