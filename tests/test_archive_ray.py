"""`dropsight archive --engine ray` on a cluster of two nodes: what ends on the way costs nothing but time."""

import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import fsspec
import pytest

import hostile
from archives import content, files_in, parts, paths, run, times
from brokers import wait_until
from daemons import PHOTOS, command
from dropsight.archive.shard_parts import read_all
from dropsight.archive.storage import Storage
from processes import begin, end
from rays import ENVIRON, RayCluster, ray_cluster
from stores import s3_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # Of botocore and aiohttp.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[RayCluster]:
    """Its nodes know of the store."""
    assert store
    with ray_cluster(tmp_path_factory.mktemp("ray")) as made:
        wait_until(lambda: made.address is not None, what="the head node")
        made.join()
        yield made


def small_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    small = [cv2.resize(cv2.imread(str(photo)), (160, 120)) for photo in PHOTOS]  # type: ignore[arg-type] # photos
    for number in range(count):
        picture = small[number % len(small)].copy()
        picture[0, 0] = number % 256
        cv2.imwrite(str(folder / f"{number:04}.jpg"), picture)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and what no camera should drop."""
    folder = small_photos(tmp_path_factory.mktemp("archive") / "cards", 120)
    bad = (each for each in hostile.contents() if Path(each[0]).suffix in hostile.FORMATS)
    for name, data, _ in islice(bad, 50):
        (folder / f"hostile-{name}").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_photos(tmp_path_factory.mktemp("few") / "cards", 24)


def driver(
    cluster: RayCluster, source: Path | str, out: Path | str, *, shard: int = 20
) -> "subprocess.Popen[bytes]":
    asked = ["archive", str(source), "-o", str(out), "--shard", str(shard), "--engine", "ray"]
    return begin(
        command(*asked, "--address", str(cluster.address)),
        env={**os.environ, **ENVIRON},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    try:
        _, said = process.communicate(timeout=200)
        return process.returncode, said.decode()
    finally:
        end(process)


def test_ray_gives_what_this_machine_gives_hostile_images_included(
    cluster: RayCluster, source: Path, tmp_path: Path
) -> None:
    code, said = ended(driver(cluster, source, tmp_path / "ray"))
    assert code == 0, said
    run(source, tmp_path / "local", shard_rows=20)
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    assert paths(tmp_path / "ray") == files_in(source)
    assert {row["status"] for row in content(tmp_path / "ray")} == {"ok", "failed"}
    assert '"ray": "' in (tmp_path / "ray" / "job.json").read_text()


def test_an_image_that_ends_its_actor_costs_itself_alone_with_s3_as_source_and_target(
    cluster: RayCluster, tmp_path: Path
) -> None:
    cards = small_photos(tmp_path / "cards", 4)
    (cards / "bad.jpg").write_bytes((cards / "0000.jpg").read_bytes() + b"poison")
    system = fsspec.filesystem("s3")
    for name in ("cards", "results"):
        system.mkdir(name)
    for photo in cards.iterdir():
        system.put_file(str(photo), f"cards/2026/{photo.name}")
    code, said = ended(driver(cluster, "s3://cards/2026", "s3://results/2026", shard=3))
    assert code == 0, said
    assert "job.lock" not in Storage("s3://results/2026").names()
    rows = {row.path.rpartition("/")[2]: row for row in read_all(Storage("s3://results/2026"))}
    assert len(rows) == 5
    assert (rows["bad.jpg"].error or "").startswith("it crashes the worker that processes it: ")
    assert [name for name, row in rows.items() if row.status == "failed"] == ["bad.jpg"]


def test_a_driver_and_a_worker_that_are_killed_cost_no_row_and_double_none(
    cluster: RayCluster, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = driver(cluster, few, out, shard=1)
    wait_until(lambda: bool(parts(out)), what="a first part")
    first.kill()
    ended(first)
    before = set(times(parts(out)))
    second = driver(cluster, few, out, shard=1)
    done = len(parts(out))
    wait_until(lambda: second.poll() is not None or len(parts(out)) > done, what="another part")
    for pid in cluster.head.workers():
        os.kill(pid, signal.SIGKILL)
    code, said = ended(second)
    assert code == 0, said
    assert before <= set(times(parts(out)))  # whichever was done first
    assert paths(out) == files_in(few)


def test_a_node_that_is_killed_costs_no_row_and_doubles_none(
    cluster: RayCluster, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = driver(cluster, few, out, shard=1)
    assert cluster.second
    second = cluster.second
    wait_until(lambda: process.poll() is not None or bool(second.workers() and parts(out)), what="work there")
    second.kill()
    code, said = ended(process)
    assert code == 0, said
    assert paths(out) == files_in(few)


def test_a_cluster_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    asked = ["archive", str(PHOTOS[0]), "-o", str(tmp_path / "out"), "--engine", "ray"]
    process = begin(
        command(*asked, "--address", "127.0.0.1:1"),
        env={**os.environ, **ENVIRON},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, said = ended(process)
    assert code == 1
    assert said.count("\n") == 1
    assert "--address 127.0.0.1:1" in said
