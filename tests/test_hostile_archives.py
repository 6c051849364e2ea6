"""Folders and results of strangers: what is listed, read and shown of them ends nothing and has an end."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives import content, run
from daemons import PHOTOS
from dropsight import children
from dropsight.archive.comparing import compare
from dropsight.archive.example_pictures import homes_of, pictures_of
from dropsight.archive.job_file import read_job
from dropsight.archive.listing import Listed, files_of
from dropsight.archive.manifest import NAME, SCHEMA, read_facts, write_manifest
from dropsight.archive.shard_parts import finished, read_all
from dropsight.archive.side_by_side import FinishedJob
from dropsight.archive.storage import Storage
from dropsight.archive.tasks import ArchiveJob, shards_of
from dropsight.archive.urls import check_listed, protocols_of
from dropsight.cli import read
from dropsight.errors import ConfigError, DropsightError, StoreError
from results import Answers, make_results

ANSWERS: Answers = {"1.jpg": ("cat", 0.5), "2.jpg": ("dog", 0.5)}
CORPUS = Path(__file__).parent / "corpus"
ESCAPE = "\x1b]0;\x07\n"


def names(source: Path) -> set[str]:
    return {Path(os.fsdecode(each.path)).name for each in files_of(str(source))}


def test_links_that_lead_in_circles_end_no_listing_and_are_one_row_s_error(tmp_path: Path) -> None:
    card = tmp_path / "card"
    (card / "a" / ".hidden").mkdir(parents=True)
    for photo in (card / "1.jpg", card / "a" / "2.jpg", card / "a" / ".hidden" / "3.jpg"):
        photo.touch()
    (card / "loop.jpg").symlink_to("loop.jpg")
    for number in range(3):
        (card / "a" / f"back{number}").symlink_to("..")
    assert Listed(os.fsencode(card / "loop.jpg")) in list(files_of(str(card)))
    for pattern in ("**/*.jpg", "**", "**/**/?.*"):
        assert names(card / pattern) == {"1.jpg", "2.jpg"}
    with pytest.raises(ConfigError, match="nothing matches"):
        names(card / "none/**/*.jpg")


@pytest.mark.parametrize("lines", ["list.txt\n", "other.txt\n", "a" * 70_000, None])
def test_a_list_that_has_no_end_is_refused(tmp_path: Path, lines: str | None) -> None:
    if lines is None:
        os.mkfifo(tmp_path / "list.txt")
    else:
        (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(ConfigError, match="list"):
        names(tmp_path / "list.txt")


@pytest.mark.parametrize(
    "line", ["webhdfs://host/x.jpg", "simplecache::http://host/x.jpg", "zip://x.jpg::ftp://host/x.zip"]
)
def test_a_list_leads_to_no_server_whose_answers_have_no_bound(tmp_path: Path, line: str) -> None:
    """Whoever made it could have each worker take half of the memory, or all of the disk."""
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=":// is opened only where it is given as a source"):
        names(tmp_path / "list.txt")


@pytest.mark.parametrize(
    "url", ["s3://b/x.jpg", "https://host/x.jpg", "zip://x.jpg::s3://b/c.zip", "tar://x.jpg::/srv/c.tar"]
)
def test_a_list_may_name_stores_web_servers_and_what_lies_in_a_file(url: str) -> None:
    check_listed(url)


def test_a_manifest_leads_by_no_protocol_that_its_sources_do_not_have(tmp_path: Path) -> None:
    """Whoever may write to the results had them lead, for who goes on with the job, to any server."""
    card, out = tmp_path / "card", Storage(str(tmp_path / "out"))
    card.mkdir()
    cached = f"simplecache::file://{PHOTOS[0]}"
    out.make()
    write_manifest(out, [Listed(cached.encode())], [str(card)])
    run(card, out.place)
    (row,) = content(Path(out.place))
    assert row["error"] == f"{cached}: simplecache:// is opened only where it is given as a source"
    out.remove([name for name in out.names() if name != NAME])
    write_manifest(out, [Listed(cached.encode())], [f"simplecache::file://{card}"])
    run(f"simplecache::file://{card}", out.place)
    assert [row["status"] for row in content(Path(out.place))] == ["ok"]


def test_by_what_a_source_is_opened_has_all_of_its_names() -> None:
    assert {"webhdfs", "webHDFS", "zip"} <= set(
        protocols_of(["zip://::webhdfs://host/c.zip", "/srv/list.txt"])
    )


def test_of_what_a_list_or_a_result_names_no_url_and_no_name_is_more_than_its_own_error() -> None:
    odd = [
        "/a\0b.jpg",
        "data://x.jpg",
        "nonesuch://x.jpg",
        "zip://x::file:///dev/null",
        "reference://x.jpg",
        "sftp://127.0.0.1:1/x.jpg",
        "webhdfs://127.0.0.1:1/x.jpg",
        "simplecache::http://127.0.0.1:1/x.jpg",
    ]
    assert {path: type(found) for path, found in pictures_of(odd).items()} == dict.fromkeys(odd, str)
    assert homes_of(["/a/b/1.jpg", "/a/2.jpg", "s3://b/c/d.jpg"]) == ["/a", "s3://b"]


def column(name: str, value: object, kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = pa.array([value] * len(table), kind or table.schema.field(name).type)
        return table.set_column(table.schema.get_field_index(name), name, values)

    return change


def no_text(table: pa.Table) -> pa.Table:
    raw = pa.array([b"\xff"] * len(table), pa.binary())
    label = pa.StringArray.from_buffers(len(table), *raw.buffers()[1:])
    return table.set_column(table.schema.get_field_index("label"), "label", label)


@pytest.mark.parametrize(
    "change",
    [
        *(column("confidence", value) for value in (float("nan"), float("inf"), -1.0)),
        *(column("label", 7, pa.int64()), column("label", b"\xff", pa.binary()), no_text),
        *(column("captured", 2**62), column("path", None), lambda table: table.drop_columns(["label"])),
        lambda table: table.append_column(table.schema.field("label"), table["label"]),
    ],
)
def test_parts_that_dropsight_has_not_written_are_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    """By whoever reads them: some faults are of columns that a comparison does not look at."""
    here = make_results(tmp_path, ANSWERS)
    (part,) = tmp_path.glob("part-*")
    table = pq.read_table(part)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), part)
    job = FinishedJob.at(here)
    with pytest.raises(StoreError):
        assert list(read_all(job.storage)) and compare(job, job)  # noqa: PT018 - either


@pytest.mark.parametrize(("rows", "claimed"), [(10_001, 10_001), (2, 2**60), (2, -1)])
def test_a_manifest_that_claims_more_than_it_holds_is_not_read(
    tmp_path: Path, rows: int, claimed: int
) -> None:
    """The first has them in one group, which would be in memory at once."""
    job = FinishedJob.at(make_results(tmp_path, ANSWERS))
    facts = msgspec.json.decode(pq.read_metadata(tmp_path / NAME).metadata[b"dropsight"])
    footer = {b"dropsight": msgspec.json.encode({**facts, "rows": claimed})}
    empty = {name: pa.nulls(rows) for name in SCHEMA.names[1:]}
    table = pa.table({"path": pa.array(["/x.jpg"] * rows), **empty}).cast(SCHEMA)
    pq.write_table(table.replace_schema_metadata(footer), tmp_path / NAME)
    with pytest.raises(StoreError, match="not a manifest"):
        compare(job, job)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["path"]),
        lambda table: table.rename_columns(["path\0", *SCHEMA.names[1:]]),
        lambda table: table.set_column(0, "path", pa.nulls(len(table), pa.string())),
    ],
)
def test_a_manifest_of_other_columns_is_refused(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    """Found by scripts/fuzz.py, as was a name of a column that is no text (tests/corpus/results)."""
    job = FinishedJob.at(make_results(tmp_path, ANSWERS))
    table = pq.read_table(tmp_path / NAME)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), tmp_path / NAME)
    with pytest.raises(StoreError, match="not a manifest"):
        compare(job, job)


def test_a_column_whose_name_is_no_text_is_no_traceback(tmp_path: Path) -> None:
    job = FinishedJob.at(make_results(tmp_path, ANSWERS))
    (part,) = tmp_path.glob("part-*")
    part.write_bytes((CORPUS / "results" / "column-name").read_bytes())
    with pytest.raises(StoreError, match="cannot be read"):
        list(read_all(job.storage))


def test_results_that_unpack_to_gigabytes_end_in_a_line_and_not_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary of one text of 8 MB, for 2,000 rows: 9 kB of a file become 16 GB."""
    answers: Answers = {f"{number}.jpg": ("cat", 0.5) for number in range(2_000)}
    here = make_results(tmp_path, answers, shard=len(answers))
    (part,) = tmp_path.glob("part-*")
    table = pq.read_table(part)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), pa.array(["x" * 2**23]))
    changed = table.set_column(table.schema.get_field_index("label"), "label", long)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), part, store_schema=False)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + 512 * 2**20
    monkeypatch.setattr(children, "half_of_memory", lambda: most)
    with pytest.raises(DropsightError, match=r"size|memory"):
        read(["compare", here, here]).load()()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_pipe_in_the_place_of_a_file_of_results_is_not_waited_for(tmp_path: Path) -> None:
    here = make_results(tmp_path, ANSWERS)
    job = FinishedJob.at(here)
    for name in (part.name for part in (*tmp_path.glob("part-*"), tmp_path / NAME)):
        (tmp_path / name).rename(tmp_path / "kept")
        os.mkfifo(tmp_path / name)
        with pytest.raises(StoreError, match="not a file"):
            compare(job, job)
        (tmp_path / "kept").replace(tmp_path / name)
    (tmp_path / "job.json").unlink()
    os.mkfifo(tmp_path / "job.json")
    held = os.open(tmp_path / "job.json", os.O_RDWR)  # by who never writes
    with pytest.raises(StoreError, match="not a file"):
        read_job(job.storage)
    os.close(held)
    (tmp_path / "job.json").unlink()
    (tmp_path / "job.json").touch()
    os.truncate(tmp_path / "job.json", 2**40)
    with pytest.raises(StoreError, match="more than"):
        read_job(job.storage)


def test_a_part_of_more_rows_than_its_shard_is_not_gone_on_with(tmp_path: Path) -> None:
    """Empty rows cost nothing in a part, and a line each in the formats that are made of it."""
    storage = Storage(make_results(tmp_path, ANSWERS))
    facts = read_facts(storage)
    assert facts
    job = ArchiveJob(out=storage.place, manifest=facts.digest, model="sha256:model", shard_rows=3)
    shards = shards_of(facts.rows, 3)
    assert set(finished(job, shards)) == {0}
    (part,) = tmp_path.glob("part-*")
    table = pq.read_table(part)
    twice = pa.concat_tables([table, table]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(twice, part)
    with pytest.raises(ConfigError, match="not the part of its rows"):
        finished(job, shards)


def test_what_a_job_s_file_says_does_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage(make_results(tmp_path, ANSWERS))
    job = read_job(storage)
    assert job
    model = msgspec.structs.replace(job.model, name=ESCAPE)
    msgspec.structs.replace(
        job, engine=ESCAPE, updated=ESCAPE, state="running", errors={ESCAPE: 1}, model=model
    ).write(storage)
    (tmp_path / "job.lock").write_bytes(b'{"host": "\xff"}')
    read(["archive", str(tmp_path), "--status"]).load()()
    assert "\x1b" not in capsys.readouterr().out
    for damaged in (b'{"a": "\xff"}', b'{"state":' * 5_000, b""):
        (tmp_path / "job.json").write_bytes(damaged)
        with pytest.raises(StoreError, match="not a job"):
            read_job(storage)
