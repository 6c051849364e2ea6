"""Web servers that an archive's sources name, and that send what they want."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clips import make_clip, of_photos
from daemons import PHOTOS
from dropsight.archive.fetching import contents, fetched
from dropsight.archive.listing import files_of
from dropsight.archive.manifest import Named
from dropsight.errors import ConfigError, ImageError
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
