"""Archives in stores that fsspec knows: an S3 server and a web server as they are."""

import functools
import http.client
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from archives import CHANGING, by_name, content, run
from clips import make_clip, of_photos
from daemons import PHOTOS, dropsight
from dropsight.archive.deployments import read_deployments
from dropsight.archive.job_file import read_job
from dropsight.archive.output_formats import FormatFacts, write_format
from dropsight.archive.storage import Storage
from dropsight.errors import ConfigError, StoreError
from stores import s3_server, sftp_server

pytestmark = [
    pytest.mark.timeout(120),
    # Of botocore and aiohttp.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    for number in range(5):
        shutil.copy(PHOTOS[number], folder / f"{number}.jpg")
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "empty.jpg").write_bytes(b"")
    make_clip(folder / "clip.mp4", of_photos(PHOTOS[:2]), gop=1)
    return folder


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    out = tmp_path_factory.mktemp("local") / "out"
    run(source, out)
    return named_by_file(content(out))


def named_by_file(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**row, "path": Path(str(row["path"])).name, "captured": None} for row in rows]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def bucket(server: str, source: Path) -> str:
    store = fsspec.filesystem("s3")
    assert store.ls("") == [], server
    store.mkdir("cards")
    store.mkdir("results")
    for file in source.iterdir():
        store.put_file(str(file), f"cards/2026/{file.name}")
    store.pipe_file("cards/2026/notes.pdf", b"%PDF")
    return "s3://cards/2026"


def rows_there(place: str) -> list[dict[str, object]]:
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    parts = sorted(store.glob(f"{place.removeprefix('s3://')}/part-*.parquet"))
    tables = [pq.read_table(store.open(part, "rb")).drop_columns(list(CHANGING)) for part in parts]
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.slow
def test_an_s3_bucket_is_source_and_target_and_gives_the_same_as_a_folder(
    bucket: str, expected: list[dict[str, object]], tmp_path: Path
) -> None:
    out = "s3://results/first"
    job = run(bucket, out, shard_rows=3)
    rows = rows_there(out)
    assert (job.state, job.images) == ("done", 8)
    assert named_by_file(rows) == expected
    assert all(str(row["path"]).startswith("s3://cards/2026/") for row in rows)
    Storage(out).remove(["part-000001.parquet"])
    assert rows_there(out) != rows
    resumed = run(bucket, out, shard_rows=3)
    assert rows_there(out) == rows
    write_format("csv", Storage(out), FormatFacts(resumed))
    table = Storage(out).read("results.csv")
    assert table is not None
    assert table.count(b"\n") == 9
    (tmp_path / "cameras.csv").write_text("deploymentID,latitude,longitude\n2026,47.5,8.5\n")
    known = FormatFacts(resumed, read_deployments(tmp_path / "cameras.csv"))
    package = Storage(write_format("camtrap-dp", Storage(out), known).rpartition("/")[0])
    assert package.names() == ["datapackage.json", "deployments.csv", "media.csv", "observations.csv"]
    assert b"s3://cards/2026/" in (package.read("media.csv") or b"")
    assert read_job(Storage(out)) == resumed


def test_a_bucket_that_is_not_there_is_named_in_one_line(bucket: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, StoreError), match="s3://gone/cards"):
        run("s3://gone/cards", tmp_path / "out")
    with pytest.raises(StoreError, match="s3://gone/out"):
        run(bucket, "s3://gone/out")


def test_wrong_credentials_end_it_in_one_line(
    bucket: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    try:
        ask_for_keys(server, after=0)
        S3FileSystem.clear_instance_cache()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
        with pytest.raises(StoreError, match=r"access denied.*credentials"):
            run(bucket, tmp_path / "out")
    finally:
        ask_for_keys(server, after=10**9)
        S3FileSystem.clear_instance_cache()
    assert not list((tmp_path / "out").glob("*.parquet"))


def ask_for_keys(server: str, *, after: int) -> None:
    """Have the server look at keys, of which it knows none, after so many requests."""
    connection = http.client.HTTPConnection(server.removeprefix("http://"))
    with closing(connection):
        connection.request("POST", "/moto-api/reset-auth", str(after), {"Content-Type": "text/plain"})
        assert connection.getresponse().status == 200


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_folder_of_a_web_server_is_a_source(
    source: Path, tmp_path: Path, expected: list[dict[str, object]]
) -> None:
    handler = functools.partial(_Quiet, directory=os.fspath(source.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{web.server_port}/{source.name}/"
            run(url, tmp_path / "out")
            (tmp_path / "list.txt").write_text(f"{url}0.jpg\n{url}gone.jpg\n")
            run(tmp_path / "list.txt", tmp_path / "listed")
        finally:
            web.shutdown()
            thread.join()
    assert named_by_file(content(tmp_path / "out")) == expected
    assert by_name(tmp_path / "listed")["gone.jpg"]["error"] == "there is no such file"


@pytest.mark.slow
def test_a_folder_of_an_ssh_server_is_source_and_target(
    source: Path, tmp_path: Path, expected: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest names the host, which fsspec's own paths do not; a # in a name is no setting."""
    source = shutil.copytree(source, tmp_path / "cards #1")
    with sftp_server("camera", "secret", tmp_path / "known") as host:
        monkeypatch.setenv("FSSPEC_SFTP_PASSWORD", "secret")
        monkeypatch.setenv("FSSPEC_SFTP_KNOWN_HOSTS", str(tmp_path / "known"))
        done = dropsight("archive", f"{host}{source}", "-o", f"{host}{tmp_path}/out", "--shard", "9")
    assert done.returncode == 0, done.stderr
    rows = content(tmp_path / "out")
    assert named_by_file(rows) == expected
    assert {str(row["path"]).rpartition("/")[0] for row in rows} == {f"{host}{source}"}


def test_a_server_whose_key_nobody_knows_gets_no_password(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sits between here and there would get it, and all results; ssh asks, and so have we to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FSSPEC_SFTP_PASSWORD", "secret")
    with sftp_server("camera", "secret", tmp_path / "known") as host:
        for place in (f"{host}{source}", f"zip://*.jpg::{host}{source}/cards.zip"):
            done = dropsight("archive", place, "-o", f"{tmp_path}/out")
            assert done.returncode == 1
            assert "not trusted" in done.stderr
            assert "known_hosts" in done.stderr
        (tmp_path / ".ssh").mkdir()
        (tmp_path / "known").rename(tmp_path / ".ssh" / "known_hosts")
        done = dropsight("archive", f"{host}{source}", "-o", f"{tmp_path}/out")
    assert done.returncode == 0, done.stderr


def test_a_url_that_says_what_to_read_elsewhere_is_not_opened(tmp_path: Path) -> None:
    """Its templates are code to older versions of fsspec; a list of files may be a stranger's."""
    (tmp_path / "list.txt").write_text("reference://a.jpg::https://example.org/refs.json\n")
    for cards in ("reference://::/srv/refs.json", "simplecache::reference://x", tmp_path / "list.txt"):
        with pytest.raises(ConfigError, match="reference:// says what to read elsewhere"):
            run(cards, tmp_path / "out")


def test_a_password_in_a_url_is_refused_as_all_results_would_bear_it(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("sftp://camera:secret@host/cards/a.jpg\n")
    for cards, out in (
        ("sftp://camera:secret@host/cards", tmp_path / "out"),
        (tmp_path / "list.txt", tmp_path / "out"),
        (PHOTOS[0], "sftp://camera:secret@host/out"),
        ("zip://a.jpg::sftp://camera:secret@host/cards.zip", tmp_path / "out"),
    ):
        with pytest.raises(ConfigError, match="sftp://camera@host: a password") as refused:
            run(cards, out)
        assert "secret" not in str(refused.value)
    for place in ("sftp://", "s3://"):
        with pytest.raises(ConfigError, match="names no host and no bucket"):
            run(place, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_a_store_that_knows_conditions_gives_a_lock_to_one_alone(bucket: str) -> None:
    """Also where another one has come between the look and the write."""
    target = Storage(f"{bucket}/locked")
    assert [target.create("job.lock", name) for name in (b"first", b"second")] == [True, False]
    system = fsspec.filesystem("s3")
    with pytest.raises(FileExistsError):
        system.pipe_file("cards/2026/locked/job.lock", b"third", mode="create")
    assert target.read("job.lock") == b"first"


def test_what_is_not_installed_for_a_store_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gcsfs"):
        run("gs://cards", tmp_path / "out")
