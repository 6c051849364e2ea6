"""`dropsight archive` on this machine: each image one row, whatever ends on the way."""

import csv
import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from archives import (
    CHANGING,
    MODEL,
    asked,
    by_name,
    content,
    files_in,
    make_archive,
    parts,
    paths,
    run,
    table,
    times,
)
from brokers import wait_until
from daemons import PHOTOS, command, dropsight
from disks import fill, small_disk
from dropsight import crashpoints
from dropsight.archive import headway
from dropsight.archive.answer_settings import settings_of
from dropsight.archive.comparing import compare
from dropsight.archive.job_file import JobFile, read_job
from dropsight.archive.listing import Listed, files_of
from dropsight.archive.local_engine import LocalEngine
from dropsight.archive.manifest import read_facts, read_rows, write_manifest
from dropsight.archive.model_files import pack
from dropsight.archive.output_formats import FORMATS, PARQUET, FormatFacts, write_format
from dropsight.archive.ray_engine import ShardActor
from dropsight.archive.running import run_archive
from dropsight.archive.shard_parts import finished, write_part
from dropsight.archive.shard_worker import ShardWorker
from dropsight.archive.side_by_side import FinishedJob
from dropsight.archive.storage import Storage, system_of
from dropsight.archive.tasks import ArchiveJob, Shard, shard_rows_for
from dropsight.errors import ConfigError, DropsightError, ModelError, StoreError
from dropsight.inference.runtime import ImageInferenceRuntime
from dropsight.models.backends import locate
from dropsight.records import Failure, Result, decode
from format_checks import check_camtrap_dp, check_megadetector, check_speciesnet
from processes import begin, end
from tiny_tflite import tiny

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def result(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with all its formats."""
    out = tmp_path_factory.mktemp("results") / "out"
    cameras = out.with_name("cameras.csv")
    cameras.write_text(f"deploymentID,folder,latitude,longitude\nA,{source.name},47.5,8.5\n")
    formats = ("--format", ",".join([PARQUET, *FORMATS]), "--deployments", str(cameras))
    done = dropsight("archive", str(source), "-o", str(out), "--shard", "6", *formats)
    assert done.returncode == 0, done.stderr
    assert f"{len(files_in(source))} of {len(files_in(source))} images" in done.stdout
    return out


@pytest.fixture
def begun(result: Path, tmp_path: Path) -> Path:
    """A job of which the second part is missing."""
    out = tmp_path / "begun"
    shutil.copytree(result, out)
    parts(out)[1].unlink()
    return out


def test_each_image_is_one_row_in_the_order_of_the_paths_with_what_the_runtime_says(
    source: Path, result: Path
) -> None:
    assert paths(result) == files_in(source)
    rows = by_name(result)
    with ImageInferenceRuntime(MODEL, threads=1) as runtime:
        expected = runtime.predict(source / "card0" / "0000.jpg")
        digest = runtime.spec.digest
    row = rows["0000.jpg"]
    assert (row["status"], row["predicted_class"], row["label"]) == (
        "ok",
        expected.predicted_class,
        expected.label,
    )
    assert row["top_classes"] == [each.class_index for each in expected.predictions]
    assert row["confidence"] == pytest.approx(expected.confidence)
    assert (row["width"], row["height"], row["model_digest"]) == (512, 512, digest)
    assert row["captured"] is not None
    assert len(row["sha256"]) == 64
    assert (row["group"], row["group_confidence"]) == (
        expected.group,
        pytest.approx(expected.group_confidence),
    )


def test_a_bad_image_is_a_row_with_its_error_and_a_clip_one_with_its_fields(result: Path) -> None:
    rows = by_name(result)
    bad = [row for name, row in rows.items() if name.startswith("bad")]
    assert len(bad) == 8
    assert {row["status"] for row in bad} <= {"ok", "failed"}
    failed = [row for row in bad if row["status"] == "failed"]
    assert failed
    assert all(row["error_code"] and row["error"] and row["predicted_class"] is None for row in failed)
    assert rows["clip.mp4"]["clip"]["frames_read"] >= 1
    assert rows["clip.mp4"]["clip"]["codec"] == "h264"
    assert rows["0001.jpg"]["clip"] is None


def test_parts_have_the_schema_that_is_promised_and_are_packed_by_zstd(result: Path) -> None:
    """Also where a column is empty throughout, from which Arrow would guess a type of its own."""
    expected = {
        "path": pa.string(),
        "status": pa.string(),
        "predicted_class": pa.int32(),
        "label": pa.string(),
        "confidence": pa.float32(),
        "top_classes": pa.list_(pa.field("element", pa.int32())),
        "top_confidences": pa.list_(pa.field("element", pa.float32())),
        "width": pa.int32(),
        "height": pa.int32(),
        "captured": pa.timestamp("us", "UTC"),
        "error_code": pa.string(),
        "error": pa.string(),
        "sha256": pa.string(),
        "model_digest": pa.string(),
        "latency_ms": pa.float32(),
    }
    for part in parts(result):
        schema = pq.read_schema(part)
        assert dict(zip(schema.names[:-3], schema.types[:-3], strict=True)) == expected
        assert schema.names[-3:] == ["clip", "group", "group_confidence"]
        assert schema.types[-2:] == [pa.string(), pa.float32()]
        assert pq.read_metadata(part).row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table(sorted(map(str, parts(result)))).num_rows == table(result).num_rows


def test_a_part_that_is_missing_is_done_and_no_other(source: Path, result: Path, begun: Path) -> None:
    others = parts(begun)
    before = list(times(others))
    job = run(source, begun)
    assert (job.state, job.images) == ("done", len(files_in(source)))
    assert list(times(others)) == before
    assert content(begun) == content(result)


def test_a_job_that_is_done_is_not_done_again(source: Path, result: Path) -> None:
    before = list(times(parts(result)))
    done = dropsight("archive", str(source), "-o", str(result), "--shard", "6", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((result / "job.json").read_text())
    assert list(times(parts(result))) == before


def test_a_job_that_was_done_before_says_how_files_that_came_since_are_taken(
    source: Path, result: Path, tmp_path: Path
) -> None:
    """Who adds photos to a folder runs the same command again, and wonders."""
    out = tmp_path / "out"
    shutil.copytree(result, out)
    job = json.loads((out / "job.json").read_text())
    (out / "job.json").write_text(json.dumps({**job, "updated": "2026-01-01T00:00:00+00:00"}))
    done = dropsight("archive", str(source), "-o", str(out), "--shard", "6")
    assert f"{out}: was done before: for files that came since, name another folder, or list" in done.stderr
    done = dropsight("archive", str(source), "-o", str(out), "--shard", "6", "--format", "csv")
    assert "was done before" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tta": True}, "made without --tta"),
        ({"shard_rows": 7}, "of shards of 6"),
        ({"sources": [str(PHOTOS[0])]}, "the manifest of"),
    ],
)
def test_what_goes_on_with_other_settings_or_sources_is_refused(
    source: Path, begun: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        run(source, begun, **changes)
    assert refused.value.exit_code == 2
    assert "--overwrite" in str(refused.value)


@pytest.mark.slow
def test_a_job_that_an_older_dropsight_began_goes_on_without_the_columns_of_groups(
    source: Path, result: Path, begun: Path
) -> None:
    for part in parts(begun):
        old = pq.read_table(part).drop_columns(["group", "group_confidence"])
        facts = json.loads(old.schema.metadata[b"dropsight"])
        facts["job"] = {key: facts["job"][key] for key in ("manifest", "model", "shard_rows", "tta")}
        pq.write_table(old.replace_schema_metadata({"dropsight": json.dumps(facts)}), part)
    former = json.loads((begun / "job.json").read_text())
    del former["groups"], former["unknown"]
    (begun / "job.json").write_text(json.dumps({**former, "state": "stopped"}))
    assert run(source, begun).state == "done"
    without = table(result).drop_columns(["group", "group_confidence", *CHANGING])
    assert table(begun).drop_columns(list(CHANGING)).equals(without)
    assert compare(FinishedJob.at(str(result)), FinishedJob.at(str(begun))).agreed_by_group is None
    (begun / "job.json").unlink()
    with pytest.raises(ConfigError, match=r"made without groups; .*--overwrite"):
        run(source, begun)


@pytest.mark.slow
def test_an_answer_that_is_flatter_than_wanted_is_unknown_and_says_what_it_would_have_been(
    tmp_path: Path,
) -> None:
    for name in ("coffee", "flower"):
        shutil.copy(PHOTOS[0].with_name(f"{name}.jpg"), tmp_path)
    job = run(tmp_path, tmp_path / "out", unknown=0.3)
    rows = by_name(tmp_path / "out")
    assert (rows["coffee.jpg"]["label"], rows["coffee.jpg"]["group"]) == ("espresso", "cup")
    flat = rows["flower.jpg"]
    assert (flat["predicted_class"], flat["label"], flat["group"]) == (-1, "unknown", None)
    write_format("jsonl", Storage(str(tmp_path / "out")), FormatFacts(job))
    record = decode((tmp_path / "out" / "results.jsonl").read_bytes().splitlines()[1])
    assert isinstance(record, Result)
    assert (record.label, record.would_be) == ("unknown", job.model.labels[flat["top_classes"][0]])
    with pytest.raises(ConfigError, match=r"made with --unknown 0.3; .*--overwrite"):
        run(tmp_path, tmp_path / "out")
    other = tmp_path / "other.tflite"
    other.write_bytes(tiny([("float32", (1, 8, 8, 3))], [("float32", (1, 4))]))
    with pytest.raises(ConfigError, match="--unknown: auto has no effect, as the model has no threshold"):
        run(tmp_path, tmp_path / "none", model=str(other), unknown="auto")
    assert not (tmp_path / "none").exists()


def test_a_model_whose_labels_or_settings_changed_is_another_one(tmp_path: Path) -> None:
    """Its bytes are the same, its answers are not."""
    with ImageInferenceRuntime(MODEL, threads=1) as runtime:
        spec = runtime.spec
    changed = {settings_of(each) for each in (spec, replace(spec, temperature=2.0), replace(spec, groups=()))}
    assert len(changed) == 3
    job = ArchiveJob(
        out=str(tmp_path), manifest="m", model=spec.digest, shard_rows=5, settings=settings_of(spec)
    )
    write_part(job, Shard(0, 0, 0), [])
    assert list(finished(job, [Shard(0, 0, 0)])) == [0]
    with pytest.raises(ConfigError, match="made by other labels, groups or settings of the model"):
        finished(msgspec.structs.replace(job, settings="others"), [Shard(0, 0, 0)])
    with pytest.raises(ModelError, match="do not change them while the job runs"):
        ShardWorker(msgspec.structs.replace(job, settings="others"), str(spec.path))


@pytest.mark.slow
def test_another_model_is_refused_and_overwrite_begins_anew(
    source: Path, begun: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(tiny([("float32", (1, 8, 8, 3))], [("float32", (1, 4))]))
    refused = dropsight("archive", str(source), "-o", str(begun), "--shard", "6", "--model", str(other))
    assert refused.returncode == 2
    assert "of another model" in refused.stderr
    (begun / "notes.txt").write_text("not ours")
    job = run(source, begun, model=str(other), overwrite=True)
    assert job.state == "done"
    assert {row["model_digest"] for row in content(begun)} == {job.model.digest}
    assert not (begun / "results.csv").exists()
    assert not (begun / "camtrap-dp").exists()
    assert (begun / "notes.txt").read_text() == "not ours"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "how"),
    [
        (crashpoints.VARIABLE, "SIGSEGV"),
        (crashpoints.RAISE_VARIABLE, "OverflowError: a test has this raised at in_decoding"),
        (crashpoints.HANG_VARIABLE, "SIGALRM"),
    ],
)
def test_an_image_that_ends_its_worker_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, how: str
) -> None:
    for name in ("a", "b", "c", "d"):
        shutil.copy(PHOTOS[0], tmp_path / f"{name}.jpg")
    (tmp_path / "bad.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
    monkeypatch.setenv(variable, "in_decoding:poison")
    job = run(tmp_path, tmp_path / "out", shard_rows=3, most_seconds=3)
    rows = by_name(tmp_path / "out")
    assert (job.state, job.ok, job.errors) == ("done", 4, {"unreadable": 1})
    assert rows["bad.jpg"]["error"] == f"it crashes the worker that processes it: {how}"
    assert [row["status"] for row in content(tmp_path / "out")] == ["ok", "ok", "failed", "ok", "ok"]


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(source: Path, tmp_path: Path, result: Path) -> None:
    out = tmp_path / "out"
    process = begin([*command("archive", str(source), "-o", str(out), "--shard", "3")])
    try:
        wait_until(lambda: bool(parts(out)), what="a first part")
        for child in workers_of(process.pid):
            os.kill(child, signal.SIGKILL)
        assert process.wait(60) == 0
    finally:
        end(process)
    assert [row["predicted_class"] for row in content(out)] == [
        row["predicted_class"] for row in content(result)
    ]


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def silenced() -> Iterator[None]:
    """For what runs a worker's side here, where others want to hear of warnings afterwards."""
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("silenced")
def test_a_model_that_does_not_load_on_a_worker_ends_the_job_in_one_line(tmp_path: Path) -> None:
    """As where a worker has another runtime, or the file was replaced since the driver read it."""
    job = ArchiveJob(out=str(tmp_path), manifest="", model="sha256:another", shard_rows=1)
    model = locate(MODEL)
    files = pack(model)
    actor = ShardActor(msgspec.msgpack.encode(job), files, files.digest)
    assert b"not the model that the job was started with" in actor.begin()
    assert b"have changed on their way" in ShardActor(msgspec.msgpack.encode(job), files, "").begin()
    with closing(LocalEngine(job, str(model), most=1)) as engine, pytest.raises(DropsightError) as told:
        list(engine.map_unordered([Shard(0, 0, 1)]))
    assert "not the model that the job was started with" in str(told.value)


def test_a_model_goes_to_workers_with_the_files_that_say_what_it_is(tmp_path: Path) -> None:
    from tiny_tflite import tiny

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "m.tflite").write_bytes(tiny([("float32", (1, 8, 8, 3))], [("float32", (1, 2))]))
    (here / "m.yaml").write_text("labels: names/own.txt\n")
    (here / "names").mkdir()
    (here / "names" / "own.txt").write_text("cat\ndog\n")
    (here / "unrelated.bin").write_bytes(b"x")
    files = pack(here / "m.tflite")
    with ImageInferenceRuntime(files.unpack(there)) as runtime:
        assert runtime.spec.labels == ("cat", "dog")
    assert sorted(files.files) == ["m.tflite", "m.yaml", "names/own.txt"]


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along_and_what_is_done_stays_done(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = begin([*command("archive", str(source), "-o", str(out), "--shard", "3")])
    try:
        wait_until(lambda: bool(parts(out)), what="a first part")
        children = workers_of(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not any(is_alive(child) for child in children), what="no worker is left")
    finally:
        end(process)
    done = parts(out)
    before = list(times(done))
    assert len(done) < len(files_in(source)) / 3
    job = run(source, out, shard_rows=3)
    assert job.state == "done"
    assert list(times(done)) == before
    assert paths(out) == files_in(source)
    assert not list(out.glob(".*"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_ctrl_c_finishes_the_shards_in_hand_and_the_same_command_goes_on(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = begin(command("archive", str(source), "-o", str(out), "--shard", "2"), stderr=subprocess.PIPE)
    try:
        wait_until(lambda: bool(parts(out)), what="a first part")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
    finally:
        end(process)
    assert b"resumes from here" in said
    shown = json.loads(dropsight("archive", str(out), "--status", "--json").stdout)
    assert shown["state"] == "stopped"
    assert shown["images"] == len(content(out)) < len(files_in(source))
    assert run(source, out, shard_rows=2).state == "done"
    assert paths(out) == files_in(source)


@pytest.mark.slow
@pytest.mark.parametrize("last", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_or_sigterm_stops_at_once_and_the_same_command_goes_on(
    tmp_path: Path, last: signal.Signals
) -> None:
    """Here in the midst of an image that hangs."""
    for name, more in (("a", b""), ("b", b"poison"), ("c", b"")):
        (tmp_path / f"{name}.jpg").write_bytes(PHOTOS[0].read_bytes() + more)
    out = tmp_path / "out"
    process = begin(
        command("archive", str(tmp_path), "-o", str(out), "--shard", "1"),
        stderr=subprocess.PIPE,
        env={**os.environ, crashpoints.HANG_VARIABLE: "in_decoding:poison"},
    )
    try:
        wait_until(lambda: len(parts(out)) == 2, what="all parts but that of the one that hangs")
        process.send_signal(signal.SIGINT)
        said = process.stderr
        assert said
        wait_until(lambda: b"Ctrl-C again stops at once" in said.readline(), what="it is said")
        process.send_signal(last)
        assert process.wait(60) == 130
        assert said.read() == b"stopped: the same command resumes from here\n"
        said.close()
    finally:
        end(process)
    assert json.loads((out / "job.json").read_text())["state"] == "stopped"
    assert not (out / "job.lock").exists()
    assert run(tmp_path, out, shard_rows=None).state == "done"
    assert len(parts(out)) == 3


def test_status_says_how_far_how_fast_and_what_failed(result: Path, tmp_path: Path) -> None:
    shown = dropsight("archive", str(result), "--status")
    assert shown.returncode == 0
    assert "done, as of" in shown.stdout
    assert "images/s" in shown.stdout
    job = json.loads((result / "job.json").read_text())
    assert job["ok"] + sum(job["errors"].values()) == job["total"] == job["images"]
    assert job["errors"]
    assert (job["engine"], job["workers"] > 0, job["images_per_second"] > 0) == ("local", True, True)
    assert {"dropsight", "python", "pyarrow"} <= set(job["versions"])
    (tmp_path / "job.json").write_text(json.dumps({**job, "state": "running"}))
    shown = dropsight("archive", str(tmp_path), "--status")
    assert shown.stdout.startswith("interrupted, as of")
    assert "no driver is running: the same command resumes\n" in shown.stdout
    shown = dropsight("archive", str(tmp_path), "--status", "--json")
    assert json.loads(shown.stdout) == {**job, "state": "interrupted"}
    nothing = dropsight("archive", str(result.parent), "--status")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)


def test_json_lines_are_records_and_csv_has_a_line_for_each_image(source: Path, result: Path) -> None:
    records = [decode(line) for line in (result / "results.jsonl").read_bytes().splitlines()]
    assert [record.image_path for record in records] == files_in(source)
    rows = content(result)
    for record, row in zip(records, rows, strict=True):
        if isinstance(record, Result):
            assert (record.label, record.predicted_class) == (row["label"], row["predicted_class"])
            assert record.predictions[0].label == row["label"]
            assert (record.group or None) == row["group"]
        else:
            assert isinstance(record, Failure)
            assert record.error.code == row["error_code"]
    with (result / "results.csv").open(newline="") as table_file:
        lines = list(csv.DictReader(table_file))
    assert [line["path"] for line in lines] == files_in(source)
    for name in ("error_code", "group"):
        assert [line[name] for line in lines] == [row[name] or "" for row in rows]


def test_what_other_programs_read_of_real_files_is_valid_by_their_own_validators(
    source: Path, result: Path
) -> None:
    rows = content(result)
    found = check_megadetector(result / "megadetector.json")["images"]
    assert [str(source / each["file"]) for each in found] == files_in(source)
    assert [each["detections"] is None for each in found] == [row["status"] == "failed" for row in rows]
    assert [each["classifications"][0][0] for image in found for each in image["detections"] or []] == [
        str(row["predicted_class"]) for row in rows if row["status"] == "ok"
    ]
    predictions = check_speciesnet(result / "predictions.json")["predictions"]
    assert [each["filepath"] for each in predictions] == [row["path"] for row in rows if not row["clip"]]
    assert len(check_camtrap_dp(result / "camtrap-dp")["observations"]) == len(rows)


def listed(*sources: object) -> list[str]:
    return sorted(os.fsdecode(each.path) for source in sources for each in files_of(str(source)))


def test_a_source_is_a_folder_a_file_a_glob_or_a_list_of_these(source: Path) -> None:
    assert listed(source) == files_in(source)
    assert listed(PHOTOS[0]) == [str(PHOTOS[0])]
    assert listed(source / "card*" / "000?.jpg") == [name for name in files_in(source) if "/000" in name]
    (source.parent / "list.txt").write_text(f"# the first card\n{source.name}/card0\n\n{PHOTOS[0]}\n")
    card = [name for name in files_in(source) if "/card0/" in name]
    assert listed(source.parent / "list.txt") == sorted([*card, str(PHOTOS[0])])


def test_pictures_in_a_zip_are_listed_by_urls_that_open_them(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "cards.zip", "w") as cards:
        cards.write(PHOTOS[0], "2026/a.jpg")
    (url,) = listed(f"zip://::{tmp_path}/cards.zip")
    system, path = system_of(url)
    assert system.cat_file(path) == PHOTOS[0].read_bytes()


def test_a_link_that_leads_nowhere_is_passed_by_in_a_folder_and_in_a_glob(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "there.jpg").symlink_to(PHOTOS[0])
    for source in (tmp_path, tmp_path / "*.jpg"):
        assert listed(source) == [str(tmp_path / "there.jpg")]


def test_the_manifest_has_each_path_once_in_order_and_names_that_are_no_text(tmp_path: Path) -> None:
    strange = os.fsdecode(b"/x/\xff.jpg")
    found = [Listed(os.fsencode(name), 1, 2) for name in ("/x/b.jpg", strange, "/x/a.jpg", "/x/b.jpg")]
    storage = Storage(str(tmp_path))
    facts = write_manifest(storage, iter(found), ["/x"])
    assert facts == read_facts(storage)
    assert facts.rows == 3
    rows = read_rows(storage, 0, 3)
    assert [row.opens for row in rows] == ["/x/a.jpg", "/x/b.jpg", strange]
    assert rows[2].path == "/x/\\xff.jpg"
    assert [row.opens for row in read_rows(storage, 1, 2)] == ["/x/b.jpg"]


def entries(count: int) -> Iterator[Listed]:
    for number in range(count, 0, -1):
        yield Listed(b"/archive/of/cards/%09d.jpg" % number, number, number)


@pytest.mark.slow
def test_listing_takes_no_more_memory_for_ten_times_the_files(tmp_path: Path) -> None:
    """By the system's allocator: Arrow's own keeps, to a bound, what it once had."""
    script = (
        "import resource, sys; from pathlib import Path; from test_archive import entries\n"
        "from dropsight.archive.manifest import write_manifest\n"
        "from dropsight.archive.storage import Storage\n"
        "write_manifest(Storage(sys.argv[1]), entries(int(sys.argv[2])), ['x'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def megabytes(count: int) -> float:
        path = os.pathsep.join(sys.path)
        environ = {**os.environ, "PYTHONPATH": path, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        run_it = [sys.executable, "-c", script, str(tmp_path), str(count)]
        done = subprocess.run(run_it, env=environ, capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024

    assert megabytes(100_000) < megabytes(10_000) + 20


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{empty}", "-o", "{out}"], 2, "no images in"),
        (["{empty}/gone", "-o", "{out}"], 2, "there is no such file or folder"),
        (["{photo}"], 2, "-o is missing"),
        (["{photo}", "-o", "{out}", "--format", "xml"], 2, "no such format"),
        (["{packed}", "-o", "{out}"], 2, "for what is in it give zip://::/"),
        (["nowhere://x", "-o", "{out}"], 2, "nowhere"),
        (["{photo}", "-o", "{photo}/out"], 1, "cannot be made"),
        (["{photo}", "-o", "{out}", "--model", "gone.tflite"], 2, "gone.tflite"),
        (["{photo}", "-o", "{out}", "--address", "auto"], 2, "--address is for --engine ray"),
    ],
)
def test_bad_input_ends_with_one_clear_line_and_nothing_that_looks_whole(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {name: tmp_path / name for name in ("empty", "out")}
    places |= {"photo": PHOTOS[0], "packed": tmp_path / "Cards.ZIP"}
    places["packed"].touch()
    done = dropsight("archive", *(word.format(**places) for word in arguments))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not parts(tmp_path / "out")


@pytest.mark.slow
def test_a_full_disk_ends_the_job_in_one_line_and_once_there_is_room_it_goes_on(
    source: Path, tmp_path: Path, result: Path
) -> None:
    with small_disk(tmp_path / "disk", size="600k") as disk:
        out = disk / "out"
        assert run(source, out, sources=[str(PHOTOS[0])], overwrite=True).state == "done"
        ballast = fill(disk)
        with pytest.raises(DropsightError, match="No space left on device"):
            run(source, out, overwrite=True)
        assert paths(out) == [str(PHOTOS[0])]
        os.truncate(ballast, ballast.stat().st_size - 28_000)
        with pytest.raises(DropsightError, match="No space left on device"):
            run(source, out, overwrite=True)
        there, wanted = paths(out), files_in(source)
        shards = [wanted[first : first + 6] for first in range(0, len(wanted), 6)]
        # Whichever were small enough, each whole.
        assert there == [path for shard in shards if shard[0] in there for path in shard]
        ballast.unlink()
        assert run(source, out).state == "done"
        assert content(out) == content(result)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(StoreError, match=": cannot be read: access denied"):
        run(tmp_path, tmp_path / "out")


def test_overwrite_takes_nothing_away_before_the_new_listing_is_there(result: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(result, out)
    before = sorted(file.name for file in out.iterdir())
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "gone"):
        with pytest.raises(ConfigError):
            run(source, out, overwrite=True)
    assert sorted(file.name for file in out.iterdir()) == before


@pytest.mark.parametrize(("images", "rows"), [(1, 4), (100, 4), (1000, 7), (20_000, 156), (1_000_000, 1000)])
def test_shards_give_all_cores_work_also_of_a_few_images(images: int, rows: int) -> None:
    assert shard_rows_for(images) == rows


def test_progress_is_told_with_rate_and_time_left_where_there_is_no_terminal(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the log of a job on a cluster, whatever its engine; job.json knows of its workers meanwhile."""
    monkeypatch.setattr(headway, "_LINE_SECONDS", 0.0)
    monkeypatch.setattr(headway, "_FILE_SECONDS", 0.0)
    storage, seen = Storage(str(tmp_path / "out")), list[JobFile | None]()

    def look() -> bool:
        seen.append(read_job(storage))
        return False

    run_archive(asked(source, tmp_path / "out", shard_rows=12), stopped=look)
    assert {(job.state, job.workers > 0) for job in seen if job} >= {("running", True)}
    assert re.search(r"12/23 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+(img/s|s/img)\]", capsys.readouterr().err)


def test_a_full_disk_for_temporary_files_is_named(tmp_path: Path) -> None:
    def full() -> Iterator[Listed]:
        yield Listed(b"a.jpg")
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(StoreError, match="temporary files: database or disk is full"):
        write_manifest(Storage(str(tmp_path)), full(), ["x"])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_since_it_was_listed_is_a_row_with_its_error(tmp_path: Path) -> None:
    for name in "ab":
        shutil.copy(PHOTOS[0], tmp_path / f"{name}.jpg")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_archive(asked(tmp_path, out), stopped=lambda: True)
    assert not (out / "manifest.parquet").exists()
    write_manifest(Storage(str(out)), files_of(str(tmp_path)), [str(tmp_path)])
    (tmp_path / "b.jpg").unlink()
    run(tmp_path, out)
    assert by_name(out)["b.jpg"]["error"] == "there is no such file"
    assert by_name(out)["a.jpg"]["status"] == "ok"
