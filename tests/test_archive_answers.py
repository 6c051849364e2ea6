"""Archives of models that give more than one answer: columns of their own, and what formats say of them."""

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from archives import content, parts, run
from clips import make_clip, of_photos
from daemons import PHOTOS
from dropsight.archive.output_formats import FormatFacts, write_format
from dropsight.archive.storage import Storage
from dropsight.errors import ConfigError
from dropsight.records import Result, decode
from tiny_tflite import Tensor, tiny

IMAGE: Tensor = ("float32", (1, 32, 32, 3))
FURTHER = ["present", "heads", "prediction_set"]
CLIP = "b.mp4"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    shutil.copy(PHOTOS[0], folder / "a.jpg")
    make_clip(folder / CLIP, of_photos(PHOTOS[:1]) * 2, gop=1)
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff none")
    return folder


def model_in(folder: Path, *outputs: int, **sidecar: Any) -> str:
    """Return a model of so many classes a head, each as sure as any other of them."""
    path = folder / "m.tflite"
    path.write_bytes(tiny([IMAGE], [("float32", (1, classes)) for classes in outputs]))
    path.with_suffix(".yaml").write_text(yaml.safe_dump(sidecar))
    return str(path)


def two_heads(folder: Path) -> str:
    """Return a model that says what it is, with a set of all there are, and how many, several at once."""
    (folder / "kinds.txt").write_text("cat\ndog\n")
    (folder / "tags.txt").write_text("red\nwet\nbig\n")
    heads = {"kind": {"output": 0, "labels": "kinds.txt"}, "tags": {"output": 1, "labels": "tags.txt"}}
    return model_in(
        folder, 2, 3, heads=heads, thresholds={"wet": 0.9}, prediction_set={"coverage": 0.9, "least": 0.4}
    )


def words(classes: list[Mapping[str, Any]]) -> list[str]:
    return [each["label"] for each in classes]


def test_each_head_what_is_present_and_the_set_are_columns_of_photos_and_clips(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    job = run(source, out, model=two_heads(tmp_path))
    assert list(job.further) == pq.read_schema(parts(out)[0]).names[-2:] == ["heads", "prediction_set"]
    photo, clip, failed = content(out)
    for row in (photo, clip):
        kind, tags = row["heads"]
        assert (kind["name"], kind["label"], kind["present"]) == ("kind", row["label"], None)
        assert (tags["name"], words(tags["present"])) == ("tags", ["red", "big"])
        assert tags["present"][1] == {"class": 2, "label": "big", "confidence": 0.5}
        assert words(tags["predictions"]) == ["red", "wet", "big"]
    assert photo["prediction_set"] == ["cat", "dog"]
    assert [failed[name] for name in ("heads", "prediction_set")] == [None, None]


def test_of_a_model_by_which_several_may_be_there_a_row_says_which_are(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = run(source, out, model=model_in(tmp_path, 3, thresholds={"1": 0.6}))
    assert list(job.further) == ["present"]
    photo, clip, failed = content(out)
    assert words(photo["present"]) == words(clip["present"]) == ["class 0", "class 2"]
    assert failed["present"] is None


def test_json_lines_have_these_as_records_do_and_csv_in_words(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = run(source, out, model=two_heads(tmp_path))
    for name in ("jsonl", "csv"):
        write_format(name, Storage(str(out)), FormatFacts(job))
    record = decode((out / "results.jsonl").read_bytes().splitlines()[0])
    assert isinstance(record, Result)
    assert record.prediction_set == ["cat", "dog"]
    assert record.heads
    assert [record.heads[name].multi_label or False for name in ("kind", "tags")] == [False, True]
    assert [each.label for each in record.heads["tags"].present or ()] == ["red", "big"]
    assert record.heads["tags"].predictions[1].confidence == 0.5
    with (out / "results.csv").open(newline="") as file:
        photo, _, failed = csv.DictReader(file)
    assert (photo["heads"], photo["prediction_set"]) == ("kind: cat; tags: red, big", "cat; dog")
    assert (failed["heads"], failed["prediction_set"]) == ("", "")


def older(out: Path) -> None:
    """Make of the first part one of a dropsight that knew no such columns, and forget the others."""
    first, *others = parts(out)
    had = pq.read_table(first)
    old = had.drop_columns([name for name in FURTHER if name in had.column_names])
    facts = json.loads(old.schema.metadata[b"dropsight"])
    del facts["job"]["further"], facts["job"]["settings"]
    pq.write_table(old.replace_schema_metadata({"dropsight": json.dumps(facts)}), first)
    for part in others:
        part.unlink()
    job = json.loads((out / "job.json").read_text())
    del job["further"]
    (out / "job.json").write_text(json.dumps({**job, "state": "stopped"}))


def test_a_job_that_was_begun_without_these_columns_goes_on_without_and_says_so(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, out = two_heads(tmp_path), tmp_path / "out"
    run(source, out, model=model, shard_rows=1)
    older(out)
    for _ in range(2):  # the second time, it is this dropsight's job.json that it goes on from
        caplog.clear()
        assert run(source, out, model=model, shard_rows=1).state == "done"
        (said,) = [each.message for each in caplog.records if "was begun without" in each.message]
        assert said == (
            f"{out} was begun without the columns heads, prediction_set, and stays without; "
            "start over with --overwrite to have them"
        )
        assert [pq.read_schema(part).names[-1] for part in parts(out)] == ["clip"] * 3
        parts(out)[2].unlink()
    (out / "job.json").unlink()
    with pytest.raises(ConfigError, match=r"without the columns heads, prediction_set; .*--overwrite"):
        run(source, out, model=model, shard_rows=1)
    assert list(run(source, out, model=model, overwrite=True).further) == ["heads", "prediction_set"]


def test_sets_of_another_size_are_not_mixed_with_those_that_are_there(source: Path, tmp_path: Path) -> None:
    model, out = model_in(tmp_path, 2, prediction_set={"coverage": 0.9, "least": 0.4}), tmp_path / "out"
    run(source, out, model=model)
    model_in(tmp_path, 2, prediction_set={"coverage": 0.8, "least": 0.6})
    with pytest.raises(ConfigError, match="made by other labels, groups or settings of the model"):
        run(source, out, model=model)
    model_in(tmp_path, 2)
    with pytest.raises(ConfigError, match="made with the column prediction_set; name another folder"):
        run(source, out, model=model)


def test_a_job_that_began_without_groups_may_be_gone_on_with_more_than_once(
    source: Path, tmp_path: Path
) -> None:
    model, out = model_in(tmp_path, 2, groups={"any": [0, 1]}), tmp_path / "out"
    run(source, out, model=model, shard_rows=1)
    older(out)
    first, job = parts(out)[0], json.loads((out / "job.json").read_text())
    old = pq.read_table(first).drop_columns(["group", "group_confidence"])
    facts = json.loads(old.schema.metadata[b"dropsight"])
    del facts["job"]["groups"], job["groups"]
    pq.write_table(old.replace_schema_metadata({"dropsight": json.dumps(facts)}), first)
    (out / "job.json").write_text(json.dumps(job))
    for _ in range(2):
        assert run(source, out, model=model, shard_rows=1).state == "done"
        parts(out)[2].unlink()
