"""Web servers that an archive's sources name, and that send what they want."""

import contextlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from archives import content as content_of
from clips import make_clip, of_photos
from daemons import PHOTOS, dropsight
from dropsight.archive.fetching import contents, fetched
from dropsight.archive.listing import files_of
from dropsight.archive.manifest import Named
from dropsight.errors import ConfigError, ImageError, StoreError
from dropsight.images.opening import Bounds
from dropsight.video.sniffing import HEAD_BYTES, is_clip

pytestmark = [
    pytest.mark.timeout(120),
    # Of aiohttp.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
MOST = 2**20


class _Endless(http.server.BaseHTTPRequestHandler):
    """Sends the file of its name, then zeros without an end; any other as it is, without its length."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    sent: int = 0

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        endless = name.startswith("endless")
        with contextlib.suppress(OSError):  # hung up on
            self._send(self.files[name.removeprefix("endless-")])
            while endless and type(self).sent < 128 * MOST:
                self._send(bytes(2**16))
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if data:
            type(self).sent += len(data)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        pass


class _Refusing(_Endless):
    """Answers with the status that its path names; with 302 it leads in circles, with 307 to a file."""

    def do_GET(self) -> None:
        status = int(self.path.rpartition("/")[2].removesuffix(".jpg"))
        self.send_response(status)
        self.send_header("Location", "file:///etc/passwd" if status == 307 else self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Maze(_Endless):
    """Each folder has a file and two folders."""

    def do_GET(self) -> None:
        page = b'<a href="photo.jpg">one</a> <a href="a/">two</a> <a href="b/">three</a>'
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


@contextmanager
def web_server(
    files: dict[str, bytes], kind: type[_Endless] = _Endless
) -> Iterator[tuple[str, type[_Endless]]]:
    handler = type("_Handler", (kind,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}", handler
        finally:
            web.shutdown()
            thread.join()


def named(url: str, size: int | None = None) -> Named:
    return Named(url, url, size, None)


def content(what: Named) -> bytes | None:
    return contents(
        what, bounds=Bounds(max_bytes=MOST), is_wanted=lambda head: not is_clip(head[:HEAD_BYTES])
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    make_clip(tmp_path / "clip.mp4", of_photos(PHOTOS[:2]), gop=1)
    clip = (tmp_path / "clip.mp4").read_bytes()
    return {"photo.jpg": PHOTOS[0].read_bytes(), "clip.mp4": clip, "empty.jpg": b""}


@pytest.mark.parametrize("size", [None, 1000], ids=["of no size", "of a size that is a lie"])
def test_a_web_server_that_sends_without_an_end_is_hung_up_on(
    files: dict[str, bytes], size: int | None
) -> None:
    """Whoever is named by a stranger's list must not fill the memory, nor, by a clip, the disk."""
    with web_server(files) as (url, handler):
        with pytest.raises(ImageError, match="more than the limit of 1048576 bytes") as error:
            content(named(f"{url}/endless-photo.jpg", size))
        assert error.value.code == "too_large"
        assert content(named(f"{url}/endless-clip.mp4", size)) is None
        with (
            pytest.raises(ImageError, match="more than the limit of 1048576 bytes"),
            fetched(named(f"{url}/endless-clip.mp4", size), most_bytes=MOST),
        ):
            pass
        assert handler.sent < 64 * MOST


def test_what_a_web_server_sends_without_its_length_is_read_whole(files: dict[str, bytes]) -> None:
    with web_server(files) as (url, _):
        assert content(named(f"{url}/photo.jpg")) == files["photo.jpg"]
        assert content(named(f"{url}/clip.mp4")) is None
        with fetched(named(f"{url}/clip.mp4"), most_bytes=MOST) as path:
            assert Path(path).read_bytes() == files["clip.mp4"]
        with pytest.raises(ImageError, match="the file is empty"):
            content(named(f"{url}/empty.jpg"))


def test_folders_that_a_web_server_makes_up_are_walked_to_a_depth() -> None:
    """Beyond a thousand the walk ended with a traceback."""
    with web_server({}, _Maze) as (url, _), pytest.raises(ConfigError, match="deeper than 64 folders"):
        for _ in files_of(f"{url}/top/"):
            pass


@pytest.mark.parametrize(
    ("name", "fault"),
    [("page", "more than 16,777,216 bytes at once"), ("list.txt", "a line has more than 65,536 bytes")],
)
def test_a_web_server_s_list_without_an_end_is_hung_up_on(name: str, fault: str) -> None:
    """Whoever is named by a stranger's list took all memory of who lists it."""
    with web_server({name: b'<a href="photo.jpg">'}, _Endless) as (url, handler):
        with pytest.raises((StoreError, ConfigError), match=fault):
            list(files_of(f"{url}/endless-{name}"))
        assert handler.sent < 64 * MOST


def test_a_list_from_a_web_server_is_taken_line_by_line() -> None:
    with web_server({"list.txt": b"a.jpg\r\n# none.jpg\n\nb/c\xff.jpg"}) as (url, _):
        found = [each.path for each in files_of(f"{url}/list.txt")]
        assert found == [f"{url}/a.jpg".encode(), url.encode() + b"/b/c\xff.jpg"]


@pytest.mark.parametrize("line", ["zip://a.jpg::/srv/cards.zip", "tar://*.jpg::file:///srv/cards.tar"])
def test_a_list_from_a_web_server_leads_to_no_file_of_this_machine(line: str) -> None:
    """What a stranger wants to have looked at has no business in what lies here."""
    with (
        web_server({"list.txt": line.encode()}) as (url, _),
        pytest.raises(ConfigError, match="this machine"),
    ):
        list(files_of(f"{url}/list.txt"))


@pytest.mark.parametrize("name", ["400.jpg", "416.jpg", "451.jpg", "302.jpg", "307.jpg"])
def test_what_a_web_server_refuses_for_good_is_that_file_s_fault(name: str) -> None:
    """One such URL of a list ended the job, and every further one that was to go on with it."""
    with web_server({}, _Refusing) as (url, _), pytest.raises(ImageError, match="cannot be read"):
        content(named(f"{url}/{name}"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/a.jpg", "http://[::1.jpg", "data://x;base64,/9j.jpg"]
)
def test_a_url_that_is_none_ends_no_worker(url: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        content(named(url))


def test_a_url_that_is_none_is_a_line_where_it_is_listed(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://[::1/\n")
    with pytest.raises(StoreError, match="cannot be read: Invalid IPv6 URL"):
        list(files_of(str(tmp_path / "list.txt")))


def test_a_tar_file_of_odd_times_names_and_links_costs_its_odd_files_alone(tmp_path: Path) -> None:
    """A time beyond the calendar, or a name that is no UTF-8, ended an archive with a traceback."""
    photo, times = PHOTOS[0].read_bytes(), {"a.jpg": 2**60, "b.jpg": 10**12, "c.jpg": -(2**40), "d.jpg": 1}
    with tarfile.open(tmp_path / "cards.tar", "w", format=tarfile.GNU_FORMAT) as made:
        for name, at in {**times, "\udcff\n.jpg": 1}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(photo), at
            made.addfile(member, io.BytesIO(photo))
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("pipe.jpg", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            made.addfile(member)
    source, out = f"tar://::{tmp_path}/cards.tar", tmp_path / "out"
    assert dropsight("archive", source, "--output", str(out)).returncode == 0
    rows = content_of(out)
    assert [row["status"] for row in rows if "link" not in row["path"] and "pipe" not in row["path"]] == [
        "ok"
    ] * 5
    refused = [row["error"] for row in rows if row["status"] == "failed"]
    assert len(refused) == 2
    assert all(error.startswith("cannot be read: ") for error in refused)
    captured = {row["path"].removeprefix("tar://")[:5]: row["captured"] for row in rows}
    assert captured["a.jpg"] is captured["b.jpg"] is captured["c.jpg"] is None
    assert captured["d.jpg"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_file_of_a_time_beyond_the_calendar_has_none_in_a_manifest() -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:  # ext4 knows no such times
        for name, at in (("a.jpg", 2**40), ("b.jpg", -(2**40)), ("c.jpg", 1)):
            Path(folder, name).touch()
            os.utime(Path(folder, name), (at, at))
        assert {each.path[-5:]: each.mtime_us for each in files_of(folder)} == {
            b"a.jpg": None,
            b"b.jpg": None,
            b"c.jpg": 1_000_000,
        }
