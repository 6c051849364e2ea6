"""Configs, rules, names, logs and results for scripts/fuzz.py, and what reads them."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import resources
from pathlib import Path
from time import thread_time

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dropsight import config
from dropsight.archive import job_file, manifest, shard_parts
from dropsight.archive.storage import Storage
from dropsight.commands.replaying import replay
from dropsight.config.name_patterns import name_pattern
from dropsight.errors import ConfigError, StoreError
from dropsight.events.compiling import compile_rules, in_words
from dropsight.events.machine import Machine
from dropsight.events.sighting import sighting_of
from dropsight.intake.tagging import TagFile, tags_of
from dropsight.names import as_json, as_text
from dropsight.records import Result
from dropsight.records import decode as decode_record
from fuzz import Throw
from fuzz_throwing import LAUGHS, Finding, a_file
from results import make_results


def rules() -> list[bytes]:
    whole = """
    location: {latitude: 52.5, longitude: 13.4, time_zone: Europe/Berlin}
    events:
    - {name: fox, labels: [red fox, "h:*"], confidence: {"*": 0.1, red fox: 0.8}, confirm: 1 of 3}
    - {name: dusk, labels: ["*"], active: "sunset-30m..sunrise+1h", days: "mon..fri", cooldown_seconds: 9}
    - {name: rare, labels: ["*"], cameras: [f*], tags: {site: north, n: 3}, active: 22:00-6:30, unless: fox}
    """
    short = "events: [{name: a, labels: ['*'], confirm: 1 of 1, renotify_above: [0.9]}]"
    return [whole.encode(), LAUGHS, short.encode()]


RECORD = {
    "status": "ok",
    "id": "a",
    "camera": "front",
    "label": "red fox",
    "predicted_class": 1,
    "confidence": 0.9,
    "predictions": [{"class": 1, "label": "red fox", "confidence": 0.9}],
    "tags": {"site": "north", "n": 3},
}


def ruled(path: Path) -> None:
    """Compile the rules of a config, say them, and have them see two records and the time pass."""
    found = compile_rules(config.load(path))
    machine = Machine(found)
    for time in ("2026-11-28T22:00:00Z", "2026-11-28T22:00:01Z"):
        record = decode_record(json.dumps({**RECORD, "time": time}).encode())
        if isinstance(record, Result) and (sighting := sighting_of(record)):
            machine.step(sighting)
    machine.tick(2e9)
    for rule in found:
        in_words(rule)


TAGS_OF = "(?P<site>[^/]+)/(?P<nr>[0-9]+)?_?(?P<captured>[^_]*)"
PATTERN_SECONDS = 1.0


def tagged() -> list[bytes]:
    said = b'{"site": "north", "n": 3, "ok": true, "captured": "2026-11-28T10:15:30+02:00", "\\u001b": "\\n"}'
    return [b"north/7_20261128101530.jpg\n" + said, b"a/b_1764324930500.jpg\n{}", b"\n[]", b"x\n" + b"[" * 99]


def read_tags(data: bytes) -> None:
    name, _, said = data.partition(b"\n")
    sidecar = TagFile("x.json", said)
    tags = tags_of(as_text(os.fsdecode(name)), sidecar if sidecar.is_whole else None, TAGS_OF)
    json.loads(as_json([tags.tags, tags.captured, tags.warnings]))


def patterns() -> list[bytes]:
    forms = (
        *(TAGS_OF, "(?P<a>.*)_(?P<b>.*)_(?P<c>[0-9]+)z", "(?i)^(\\w+)-(?:a|b?)(?=.*x)(?>y*)z*+$"),
        *("(?P<q>a)?(?(q)b|c{2,4}?)(?P=q)", "(?:[a-z]+_)*(?:aa?|a.){1,2}[^_/]*?"),
    )
    return [form.encode() for form in forms]


def search(data: bytes) -> None:
    """A pattern that is taken is searched for in any path in no time."""
    pattern = name_pattern(data[:200].decode(errors="replace"))
    for piece in ("_", "a", "a_", "/a", "1", pattern.compiled.pattern or "x"):
        path = (piece * pattern.longest)[: pattern.longest - 1]
        for each in (path, path + "!"):
            began = thread_time()
            pattern.find(each)
            if thread_time() - began > PATTERN_SECONDS:
                raise Finding(f"{each!r} takes {thread_time() - began:.1f} s")


def configs() -> list[bytes]:
    whole = (resources.files("dropsight.config") / "dropsight.yaml").read_bytes()
    short = b"watch: [{path: /srv/in, after: keep}]\nmqtt: {url: 'mqtt://u:p@hub:1883'}\nweb: null\n"
    return [whole, short, b"model: {path: x.tflite}\nlimits: {max_bytes: 20MB}\n", LAUGHS]


def a_config() -> AbstractContextManager[Throw]:
    return a_file("dropsight.yaml", config.load, ConfigError)


def results() -> list[bytes]:
    """A part, a manifest and a job's file."""
    with tempfile.TemporaryDirectory() as folder:
        make_results(folder, {f"{number}.jpg": ("cat", 0.5) for number in range(3)})
        names = ("part-000000.parquet", manifest.NAME, job_file.NAME)
        return [(Path(folder) / name).read_bytes() for name in names]


@contextmanager
def read_results() -> Iterator[Throw]:
    """Each input in the place of each file, beside sound ones."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(make_results(folder, {f"{number}.jpg": ("cat", 0.5) for number in range(3)}))
        reads: dict[str, Callable[[], object]] = {
            "part-000000.parquet": lambda: list(shard_parts.read_all(storage)),
            manifest.NAME: lambda: list(manifest.read_all(storage)),
            job_file.NAME: lambda: job_file.read_job(storage),
        }

        def throw(data: bytes) -> None:
            for name, read in reads.items():
                (Path(folder) / name).write_bytes(data)
                with contextlib.suppress(StoreError, MemoryError):
                    read()

        yield throw


def logs() -> list[bytes]:
    times = ("2026-11-28T22:00:00Z", "2026-11-28T22:00:01+01:00")
    lines = [json.dumps({**RECORD, "time": time}).encode() for time in times]
    return [b"\n".join(lines), b"[" * 99 + lines[0], lines[1] + b"\n{}\n{"]


def replayed(path: Path) -> None:
    replay(REPLAYING, [path])


REPLAYING = msgspec.convert({"events": [{"name": "a", "labels": ["*"], "confirm": "1 of 1"}]}, config.Config)
