"""FTP servers as a source of `archive`: what they send of a file, be it without an end."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from daemons import PHOTOS
from dropsight.archive.fetching import contents, fetched
from dropsight.archive.manifest import Named
from dropsight.errors import ImageError, StoreError
from dropsight.images.opening import Bounds

PHOTO = PHOTOS[0].read_bytes()
MIB = 2**20


def _serve(client: socket.socket, files: dict[str, bytes]) -> None:
    """Answer one client; what is called endless never ends, and what is called broken ends too early."""
    with client, client.makefile("rb") as lines, socket.create_server(("127.0.0.1", 0)) as data:
        client.sendall(b"220 here\r\n")
        for line in lines:
            verb, _, path = line.decode().strip().partition(" ")
            if verb == "PASV":
                high, low = divmod(data.getsockname()[1], 256)
                client.sendall(b"227 it is (127,0,0,1,%d,%d)\r\n" % (high, low))
            elif verb == "RETR" and path not in files:
                client.sendall(b"550 none\r\n")
            elif verb == "RETR":
                client.sendall(b"150 it comes\r\n")
                with data.accept()[0] as sent:
                    sent.sendall(files[path])
                    while "endless" in path:
                        sent.sendall(bytes(2**16))
                client.sendall(b"426 broken\r\n" if "broken" in path else b"226 all\r\n")
            else:
                client.sendall(b"230 yes\r\n" if verb == "USER" else b"200 yes\r\n")


@contextmanager
def ftp_server(files: dict[str, bytes]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with suppress(OSError):  # hung up on
                _serve(client, files)

        def listen() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"ftp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def content(url: str, size: int | None) -> bytes | None:
    return contents(Named(url, url, size, None), bounds=Bounds(max_bytes=MIB), is_wanted=bool)


@pytest.mark.timeout(60)
def test_an_ftp_server_that_sends_without_an_end_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job never ended: what was wanted had come, and the rest was read on to its end."""
    monkeypatch.setattr("dropsight.archive.fetching._AGAIN_SECONDS", ())
    files = {"/a.jpg": PHOTO, "/endless.jpg": PHOTO, "/broken.jpg": PHOTO}
    with ftp_server(files) as url:
        for size in (None, len(PHOTO), 10):
            assert content(f"{url}/a.jpg", size) == PHOTO
            with pytest.raises(ImageError, match="more than the limit of 1048576 bytes"):
                content(f"{url}/endless.jpg", size)
            clip = Named("", f"{url}/endless.jpg", size, None)
            with pytest.raises(ImageError, match="more than the limit"), fetched(clip, most_bytes=MIB):
                pass
        with fetched(Named("", f"{url}/a.jpg", 10, None), most_bytes=MIB) as copy:
            assert Path(copy).read_bytes() == PHOTO
        with pytest.raises(ImageError, match="there is no such file"):
            content(f"{url}/none.jpg", 10)
        with pytest.raises(StoreError, match="426 broken"):
            content(f"{url}/broken.jpg", 10)
