"""Files of a source that would end its job at each run, keep it busy, or be passed by without a word."""

import fcntl
import io
import os
import signal
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import ParseError

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from archives import by_name, run
from daemons import PHOTOS
from dropsight.archive import fetching
from dropsight.archive.fetching import contents, digest_of_clip
from dropsight.archive.listing import files_of
from dropsight.archive.manifest import Named
from dropsight.errors import ConfigError, ImageError, StoreError
from dropsight.images.opening import Bounds
from stores import s3_server, sftp_server

pytestmark = [
    pytest.mark.timeout(120),
    # Of botocore, aiohttp, asyncssh and pyftpdlib.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
CLIP = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"


def content(path: str) -> bytes | None:
    return contents(Named(path, path, None, None), bounds=Bounds(), is_wanted=bool)


def test_a_clip_of_terabytes_of_holes_costs_a_row_and_no_hours(tmp_path: Path) -> None:
    """Its digest was taken of all of it, at each run anew, and no bound of time held there."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    (tmp_path / "cards" / "clip.mp4").write_bytes(CLIP)
    os.truncate(tmp_path / "cards" / "clip.mp4", 2**42)
    run(tmp_path / "cards", tmp_path / "out")
    rows = by_name(tmp_path / "out")
    assert (rows["photo.jpg"]["status"], rows["clip.mp4"]["error_code"]) == ("ok", "too_large")


def test_a_clip_that_is_exchanged_for_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Between the look at its first bytes and its digest."""
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(ImageError, match="a named pipe"):
        digest_of_clip(str(tmp_path / "clip.mp4"), most_bytes=2**20)


@contextmanager
def leased(file: Path) -> Iterator[None]:
    """Hold a lease of it, as any owner may: who opens it has to wait, or is sent away."""
    former = signal.signal(signal.SIGIO, lambda *_: None)  # whoever opens it is told by it
    held = os.open(file, os.O_RDWR)
    try:
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("this file system knows no leases")
        yield
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, former)


def test_a_file_that_its_owner_holds_a_lease_of_costs_its_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the job, in a line that named no file, and each further run as well."""
    monkeypatch.setattr(fetching, "_AGAIN_SECONDS", (0.0,))
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    with leased(tmp_path / "photo.jpg"), pytest.raises(ImageError, match="cannot be read"):
        content(str(tmp_path / "photo.jpg"))
    assert content(str(tmp_path / "photo.jpg")) == PHOTOS[0].read_bytes()


ODD = ("./a.jpg", "../b.jpg", "/c.jpg", "d//e.jpg", "d/./f.jpg", "d/../g.jpg", "h.jpg", "h.jpg/i.jpg")


def packed(file: Path, names: tuple[str, ...], photo: bytes) -> str:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as made:
            for name in names:
                made.writestr(name, photo)
    else:
        with tarfile.open(file, "w") as made:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(photo)
                made.addfile(member, io.BytesIO(photo))
    return f"{file.suffix[1:]}://::{file}"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_whatever_a_file_in_a_zip_or_tar_is_called_it_is_listed_and_read(tmp_path: Path, kind: str) -> None:
    """All of `tar cf cards.tar .` was passed by without a word, as folders called . are hidden ones."""
    photo = PHOTOS[0].read_bytes()
    source = packed(tmp_path / f"cards.{kind}", (*ODD, ".hidden/j.jpg", "k/.l.jpg"), photo)
    found = sorted(os.fsdecode(each.path) for each in files_of(source))
    inner = sorted(each.partition("://")[2].partition("::")[0] for each in found)
    assert inner == sorted(name.replace("//", "/") if kind == "tar" else name for name in ODD)
    assert [content(each) == photo for each in found] == [True] * len(ODD)


def test_a_folder_within_a_tar_file_has_what_lies_below_it(tmp_path: Path) -> None:
    source = packed(tmp_path / "cards.tar", ("cards/a.jpg", "cards/b/c.jpg", "others/d.jpg"), b"x")
    found = [os.fsdecode(each.path) for each in files_of(source.replace("://", "://cards/", 1))]
    assert [each.partition("::")[0] for each in found] == ["tar://cards/a.jpg", "tar://cards/b/c.jpg"]


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    made = fsspec.filesystem("memory")
    made.store.clear()
    yield made
    made.store.clear()


def test_a_name_with_signs_of_a_pattern_is_found_in_a_store_as_on_this_machine(
    store: fsspec.AbstractFileSystem,
) -> None:
    """Nothing matches IMG[1].jpg, least of all the file of this name: it was passed by without a word."""
    store.pipe_file("/cards/IMG[1].jpg", b"x")
    assert [each.path for each in files_of("memory://cards/IMG[1].jpg")] == [b"memory:///cards/IMG[1].jpg"]
    with pytest.raises(ConfigError, match="nothing matches it"):
        list(files_of("memory://cards/IMG[2].jpg"))


def test_a_list_of_windows_begins_with_its_first_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{PHOTOS[0]}\r\n", "utf-8-sig")
    assert [each.path for each in files_of(str(tmp_path / "list.txt"))] == [os.fsencode(PHOTOS[0])]
    (tmp_path / "list.txt").write_text(f"{PHOTOS[0]}\r\n", "utf-16")
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        list(files_of(str(tmp_path / "list.txt")))


def test_a_list_s_web_server_is_asked_for_nothing_until_its_turn(tmp_path: Path) -> None:
    """One that is gone, or sends an ETag that is no text, prevented the list of all others, at each run."""
    lines = ("http://127.0.0.1:1/photo?id=7", "http://127.0.0.1:1/photo", "http://127.0.0.1:1/[1].jpg")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert [each.path.decode() for each in files_of(str(tmp_path / "list.txt"))] == list(lines)


def test_the_bucket_of_somebody_s_account_is_opened_by_no_list(tmp_path: Path) -> None:
    line = "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/theirs/a.jpg"
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(ConfigError, match="only where it is given as a source"):
        list(files_of(str(tmp_path / "list.txt")))


def test_a_bucket_that_is_called_as_none_can_be_is_that_file_s_fault() -> None:
    """It ended each run of the job."""
    with s3_server(), pytest.raises(ImageError, match="Invalid bucket name"):
        content("s3://B@d/a.jpg")


def odd_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"x")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"y")
    return folder


def by_last_name(url: str) -> dict[bytes, str]:
    return {each.path.rpartition(b"/")[2]: os.fsdecode(each.path) for each in files_of(url)}


def test_names_of_any_bytes_are_listed_and_read_by_sftp_and_nothing_waits_for_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an uploader's prevented the list of all others; a pipe held up the server for all."""
    folder = odd_folder(tmp_path / "cards")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to("pipe.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    known = tmp_path / "known"
    monkeypatch.setitem(fsspec.config.conf, "sftp", {"password": "secret", "known_hosts": str(known)})
    with sftp_server("tester", "secret", known) as server:
        found = by_last_name(f"{server}{folder}/")
        assert sorted(found) == [b"caf\xe9.jpg", b"loop.jpg", b"photo.jpg"]
        assert content(found[b"caf\xe9.jpg"]) == b"y"
        with pytest.raises(ImageError):
            content(found[b"loop.jpg"])


def test_names_of_any_bytes_are_listed_and_read_by_ftp(tmp_path: Path) -> None:
    folder = odd_folder(tmp_path / "cards")
    with ftp_server(folder) as server:
        found = by_last_name(f"{server}/")
        assert sorted(found) == [b"caf\xe9.jpg", b"photo.jpg"]
        assert content(found[b"caf\xe9.jpg"]) == b"y"


@contextmanager
def ftp_server(folder: Path) -> Iterator[str]:
    from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped]
    from pyftpdlib.handlers import FTPHandler  # type: ignore[import-untyped]
    from pyftpdlib.servers import ThreadedFTPServer  # type: ignore[import-untyped]

    class Handler(FTPHandler):  # type: ignore[misc]  # of a package without types
        authorizer = DummyAuthorizer()
        unicode_errors = "surrogateescape"

    Handler.authorizer.add_anonymous(str(folder))
    server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.1})
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.close_all()
        thread.join()


class Talker(MemoryFileSystem):  # type: ignore[misc]  # of a package without types
    """A system of a server that says what nobody expects."""

    protocol = "talker"
    fault: ClassVar[Exception] = KeyError("type")

    def ls(self, *_: object, **__: object) -> list[Any]:
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "said"),
    [(KeyError("type"), "cannot be listed: KeyError: 'type'"), (ParseError("no element"), "no element")],
    ids=["FTP", "WebDAV"],
)
def test_what_a_server_says_that_nobody_expects_is_a_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    """An FTP server's list without types ended an archive so, or a WebDAV server's answer without XML."""
    fsspec.register_implementation("talker", Talker, clobber=True)
    monkeypatch.setattr(Talker, "fault", fault)
    with pytest.raises(StoreError, match=said):
        list(files_of("talker://host/cards/"))
