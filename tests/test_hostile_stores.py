"""Stores, servers and names of strangers that would end a job without its results, or never."""

import os
import tempfile
import zipfile
from pathlib import Path

import fsspec
import msgspec
import pytest

from archives import by_name, run
from clips import make_clip, of_photos
from daemons import PHOTOS
from dropsight.archive import fetching, ssh_answers
from dropsight.archive.fetching import contents, fetched, sweep_copies
from dropsight.archive.listing import files_of
from dropsight.archive.manifest import Named
from dropsight.archive.rows import ArchiveRow
from dropsight.archive.shard_parts import write_part
from dropsight.archive.storage import absolute
from dropsight.archive.tasks import ArchiveJob, Shard
from dropsight.errors import ConfigError, ImageError, StoreError
from dropsight.images.opening import Bounds
from stores import answering, s3_server, sftp_server

pytestmark = [
    pytest.mark.timeout(120),
    # Of botocore, aiohttp and asyncssh.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
MOST = 2**20


def listed(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "list.txt").write_text("\n".join([str(PHOTOS[0]), *lines]))
    return tmp_path / "list.txt"


def content(url: str, size: int | None = None) -> bytes | None:
    return contents(Named(url, url, size, None), bounds=Bounds(max_bytes=MOST), is_wanted=bool)


def test_a_server_whose_words_are_no_text_costs_its_own_row_alone(tmp_path: Path) -> None:
    """Nothing of its shard could be written, and no single image was found to be guilty: the job ended."""
    told = (
        b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe[/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    with answering(told) as url:
        run(listed(tmp_path, f"{url}/a.jpg"), tmp_path / "out")
    rows = dict(by_name(tmp_path / "out"))
    assert rows.pop("a.jpg")["error"].startswith(r"cannot be read: http://\xff\xfe[/")
    assert [row["status"] for row in rows.values()] == ["ok"]


def test_a_row_that_cannot_be_written_is_found_by_a_trial(tmp_path: Path) -> None:
    """Whatever it is: images are tried one by one then, and so is the making of their rows."""
    odd = ArchiveRow(path="a.jpg", status="failed", error="\udcff", model_digest="m")
    job = ArchiveJob(out=str(tmp_path), manifest="m", model="m", shard_rows=1)
    for is_trial in (False, True):
        with pytest.raises(UnicodeEncodeError):
            write_part(job, Shard(0, 0, 1, trial=is_trial), [odd])
    assert write_part(job, Shard(0, 0, 1, trial=True), [msgspec.structs.replace(odd, error="x")]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_web_server_of_a_list_that_refuses_all_is_no_matter_of_credentials(tmp_path: Path) -> None:
    """Four such lines of a stranger's list ended a job, and every further one that was to go on with it."""
    with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as url:
        run(listed(tmp_path, *(f"{url}/{number}.jpg" for number in range(4))), tmp_path / "out", shard_rows=2)
    rows = by_name(tmp_path / "out")
    assert [rows[f"{number}.jpg"]["error"][:13] for number in range(4)] == ["access denied"] * 4
    assert rows[PHOTOS[0].name]["status"] == "ok"


@pytest.mark.parametrize(
    "server",
    [
        *("h -oProxyCommand=touch", "u@h -oProxyCommand=touch", "-oProxyCommand=touch", "u@-Jh", "-Jh@h"),
        *("h;id", "$(id)@h", "h`id`", "h|id", "h\tid", "u&@h", "h'", 'h"', "u\\h@h", "h%20-J@-h", ""),
    ],
)
def test_a_server_of_ssh_is_named_as_no_command_may_be(tmp_path: Path, server: str) -> None:
    """ProxyCommand of ~/.ssh/config is a command that has the host in it: a blank began an option of ssh."""
    with pytest.raises(ConfigError, match=r"is no user and host of a server|names no host"):
        list(files_of(str(listed(tmp_path, f"sftp://{server}/a.jpg"))))
    with pytest.raises(ConfigError, match=r"is no user and host of a server"):
        absolute(f"zip://a.jpg::ssh://{server}/cards.zip")


@pytest.mark.parametrize(
    "server",
    ["h", "camera@h:22", "first.last+x@REALM@h-1.example.org", "u@[fe80:0:0:0:0:0:0:1%eth0]:2222", "ü@höst"],
)
def test_usual_names_of_servers_of_ssh_are_taken(server: str) -> None:
    assert absolute(f"sftp://{server}/cards") == f"sftp://{server}/cards"


def test_folders_deeper_than_any_path_are_one_row_s_error(tmp_path: Path) -> None:
    """Whoever may write to the source made them in a second, and no archive of it could be listed again."""
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        former, folder = folder, os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(former)
    os.close(folder)
    for source in (tmp_path, tmp_path / "**"):
        found = {os.fsdecode(each.path): each for each in files_of(str(source))}
        assert str(tmp_path / "photo.jpg") in found
        (deep,) = (path for path in found if path != str(tmp_path / "photo.jpg"))
        with pytest.raises(ImageError, match="File name too long"):
            content(deep)


def test_an_object_that_was_exchanged_since_it_was_listed_is_read_to_the_bounds() -> None:
    """Its size was believed: who may write to a bucket had all of the memory, of a clip all of the disk."""
    store = fsspec.filesystem("memory")
    try:
        store.pipe_file("/cards/a.jpg", bytes([7]) * (2 * MOST))
        for ask in (
            content,
            lambda url, size: fetched(Named(url, url, size, None), most_bytes=MOST).__enter__(),
        ):
            with pytest.raises(ImageError, match="more than the limit of 1048576 bytes"):
                ask("memory:///cards/a.jpg", 1000)
        store.pipe_file("/cards/a.jpg", bytes([7]) * 2000)
        for listed_size in (1000, 2000, 3000, 0, None):
            assert content("memory:///cards/a.jpg", listed_size) == bytes([7]) * 2000
            with fetched(Named("", "memory:///cards/a.jpg", listed_size, None), most_bytes=MOST) as copy:
                assert Path(copy).read_bytes() == bytes([7]) * 2000
    finally:
        store.rm("/cards", recursive=True)


def test_a_pattern_of_many_wildcards_takes_no_time(tmp_path: Path) -> None:
    """One line of a list, with a long name in a zip file, and nothing ended it, not even Ctrl-C."""
    with zipfile.ZipFile(tmp_path / "cards.zip", "w") as packed:
        packed.writestr("a" * 200 + ".jpg", b"")
    with pytest.raises(ConfigError, match="nothing matches it"):
        list(files_of(f"zip://{'*a' * 12}*b.jpg::{tmp_path}/cards.zip"))
    assert len(list(files_of(f"zip://{'*a' * 12}*.jpg::{tmp_path}/cards.zip"))) == 1


def test_links_that_lead_back_through_many_wildcards_come_to_an_end(tmp_path: Path) -> None:
    """Ten of them, and a line of a list with ten wildcards, and a listing had no end, nor heard of Ctrl-C."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "1.jpg").touch()
    (tmp_path / "elsewhere" / "card").mkdir(parents=True)
    (tmp_path / "elsewhere" / "card" / "2.jpg").touch()
    for number in range(10):
        (tmp_path / "cards" / f"back{number}").symlink_to(".")
    (tmp_path / "cards" / "to").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cards" / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="nothing matches"):
        list(files_of(f"{tmp_path}/cards/{'*/' * 30}none.jpg"))
    for pattern, wanted in (("*.jpg", 1), ("*/*/*.jpg", 2), ("to/*/*.jpg", 1), ("t?/*/*.jpg", 1)):
        found = [os.fsdecode(each.path) for each in files_of(f"{tmp_path}/cards/{pattern}")]
        assert len({os.path.realpath(path) for path in found}) == len(found) == wanted


def test_copies_of_clips_that_killed_workers_left_are_taken_away_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be of gigabytes, and each Ctrl-C left one for each core."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.pipe_file("/clip.mp4", bytes(2000))
    with fetched(Named("", "memory:///clip.mp4", 2000, None), most_bytes=MOST) as copy:
        left, young, other = (tmp_path / name for name in ("dropsight-clip-1", "dropsight-clip-2", "mine"))
        for file in (left, young, other):
            file.touch()
        os.mkfifo(tmp_path / "dropsight-clip-pipe")
        for old in (left, other, Path(copy)):
            os.utime(old, (0, 0))
        sweep_copies()
        assert not left.exists()
        assert young.exists()
        assert other.exists()
        assert Path(copy).read_bytes() == bytes(2000)
    store.rm("/clip.mp4")


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.jpg", "r.jpg"),
        ("*/?.jpg", "a/1.jpg b/1.jpg"),
        ("[b]/**/*.jpg", "b/1.jpg b/c/2.jpg b/c/d/3.jpg"),
        ("**/c/*.jpg", "b/c/2.jpg"),
        ("b/*/*.jpg", "b/c/2.jpg"),
        ("**", "a/1.jpg b/1.jpg b/c/2.jpg b/c/d/3.jpg r.jpg"),
    ],
)
def test_patterns_match_elsewhere_as_on_this_machine(tmp_path: Path, pattern: str, wanted: str) -> None:
    with zipfile.ZipFile(tmp_path / "cards.zip", "w") as packed:
        for name in (
            "a/1.jpg",
            "b/1.jpg",
            "b/c/2.jpg",
            "b/c/d/3.jpg",
            "r.jpg",
            ".h.jpg",
            "a/.h/4.jpg",
            "a/n.pdf",
        ):
            packed.writestr(name, b"")
            (tmp_path / "cards" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cards" / name).write_bytes(b"")
    there = [each.path.decode() for each in files_of(f"zip://{pattern}::{tmp_path}/cards.zip")]
    assert sorted(each.partition("://")[2].partition("::")[0] for each in there) == wanted.split()
    here = [os.fsdecode(each.path) for each in files_of(f"{tmp_path}/cards/{pattern}")]
    assert sorted(os.path.relpath(each, tmp_path / "cards") for each in here) == wanted.split()


def test_what_lies_in_folders_without_a_name_is_listed_and_read(tmp_path: Path) -> None:
    """A bucket has cards//a.jpg where a script put one slash too much: no word was said of such."""
    names = ("cards/a.jpg", "cards//b.jpg", "cards/x//y//c.jpg", "/d.jpg", "cards//.h/e.jpg", "cards//n.pdf")
    with s3_server():
        store = fsspec.filesystem("s3")
        store.mkdir("slashes")
        for name in names:
            store.pipe_file(f"slashes/{name}", PHOTOS[0].read_bytes())
        store.pipe_file("slashes/cards/", b"")
        run("s3://slashes", tmp_path / "out")
        found = {row["path"]: row["status"] for row in by_name(tmp_path / "out").values()}
    assert found == {f"s3://slashes/{name}": "ok" for name in names[:4]}


def test_a_server_of_ssh_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held a job for ever, and so did a connection that was gone without a word."""
    monkeypatch.setattr(fetching, "_AGAIN_SECONDS", ())
    make_clip(tmp_path / "clip.mp4", of_photos(PHOTOS[:2]), gop=1)
    (tmp_path / "silent.jpg").write_bytes(PHOTOS[0].read_bytes())
    with sftp_server("camera", "secret", tmp_path / "known") as host:
        settings = {"password": "secret", "known_hosts": str(tmp_path / "known")}
        monkeypatch.setitem(fsspec.config.conf, "sftp", settings)
        assert content(f"{host}{tmp_path}/clip.mp4") == (tmp_path / "clip.mp4").read_bytes()
        monkeypatch.setattr(ssh_answers, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(StoreError, match="cannot be read: no answer in time"):
            content(f"{host}{tmp_path}/silent.jpg")
    fsspec.get_filesystem_class("sftp").clear_instance_cache()
