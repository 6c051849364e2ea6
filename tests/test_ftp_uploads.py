"""Clips and photos that a camera sends to a real FTP server, which writes them as they come."""

import ftplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from brokers import free_port, wait_until
from clips import make_clip, numbered
from daemons import PHOTOS, running
from processes import begin, end

WATCH = {"path": "inbox", "settle_seconds": 0.5, "patience_seconds": 3}


@contextmanager
def ftp_server(folder: Path) -> Iterator[ftplib.FTP]:
    port = free_port()
    options = ("-i", "127.0.0.1", "-p", str(port), "-d", str(folder), "-w")
    server = begin([sys.executable, "-W", "ignore", "-m", "pyftpdlib", *options], stderr=subprocess.DEVNULL)
    ftp = ftplib.FTP()  # noqa: S321 - it is what cameras have

    def is_there() -> bool:
        with suppress(OSError):
            ftp.connect("127.0.0.1", port, timeout=30)
            return True
        return False

    try:
        wait_until(is_there)
        ftp.login()
        yield ftp
    finally:
        ftp.close()
        end(server)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", numbered(125), rate=25).read_bytes()


@pytest.mark.slow
def test_clips_and_photos_that_come_by_ftp_are_recorded_once_and_whole(tmp_path: Path, clip: bytes) -> None:
    """One pauses in its midst for longer than anything stands still, with the connection open."""
    photo, half = PHOTOS[0].read_bytes(), len(clip) // 2
    with running(tmp_path, watch=[WATCH]) as house, ftp_server(house.inbox) as ftp:
        with ftp.transfercmd("STOR pausing.mp4") as upload:
            upload.sendall(clip[:half])
            wait_until((house.inbox / "pausing.mp4").exists)
            with ftplib.FTP(timeout=30) as another:  # noqa: S321
                another.connect("127.0.0.1", ftp.port)
                another.login()
                for name, data in (("quick.mp4", clip), ("photo.jpg", photo)):
                    with another.transfercmd(f"STOR {name}") as sent:
                        sent.sendall(data)
                    another.voidresp()
            house.until(lambda: len(house.records()) == 2, what="what came beside it")
            assert "pausing.mp4" in {each.name for each in house.inbox.iterdir()}
            upload.sendall(clip[half:])
        ftp.voidresp()
        house.until(lambda: len(house.records()) == 3 and not house.waiting(), what="the clip that paused")
        assert house.stop() == 0
    found = {each["image_path"]: (each["status"], each["kind"]) for each in house.records()}
    assert found == {
        "pausing.mp4": ("ok", "clip"),
        "quick.mp4": ("ok", "clip"),
        "photo.jpg": ("ok", "image"),
    }
    assert (house.processed / "pausing.mp4").read_bytes() == clip


@pytest.mark.slow
def test_a_clip_whose_upload_by_ftp_breaks_off_for_good_is_truncated(tmp_path: Path, clip: bytes) -> None:
    with running(tmp_path, watch=[WATCH]) as house, ftp_server(house.inbox) as ftp:
        with ftp.transfercmd("STOR cut.mp4") as upload:
            upload.sendall(clip[: len(clip) // 2])
        house.until(lambda: len(house.records()) == 1, what="its record")
        (record,) = house.records()
        assert (record["status"], record["error"]["code"]) == ("failed", "truncated")
