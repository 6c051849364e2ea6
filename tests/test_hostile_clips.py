"""Clips that were made to do harm, dropped into the running daemon."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from brokers import wait_until
from clips import make_clip, numbered, of_photos
from daemons import PHOTOS, running
from test_clips import CONTAINERS, PLAYLISTS

CODES = {"truncated", "unreadable", "not_an_image", "too_large", "too_many_pixels", "empty"}


def hostile(folder: Path) -> None:
    """Fill a folder with cut, damaged, lying and overly large clips, and with texts that name other files."""
    random = np.random.default_rng(11)
    for kind, (codec, container) in CONTAINERS.items():
        pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        whole = folder / f"whole.{kind}"
        make_clip(whole, numbered(40), rate=25, codec=codec, container=container, pix_fmt=pix_fmt)
        data = np.frombuffer(whole.read_bytes(), np.uint8)
        for part in (1, 5, 9, 13):
            (folder / f"cut{part}.{kind}").write_bytes(data[: len(data) * part // 16].tobytes())
        for number in range(2):
            damaged = data.copy()
            damaged[random.integers(0, len(data), 8)] ^= np.uint8(16)
            (folder / f"flipped{number}.{kind}").write_bytes(damaged.tobytes())
    for name, text in PLAYLISTS.items():
        (folder / name).write_text(text.format(other=PHOTOS[0]))
    make_clip(folder / "fast.mkv", numbered(50), rate=10_000)
    make_clip(folder / "large.mkv", [np.zeros((1200, 1200, 3), np.uint8)])
    make_clip(folder / "long.mkv", numbered(3), rate=1).read_bytes()
    (folder / "zeros.mp4").write_bytes(bytes(100_000))
    (folder / "link.mp4").symlink_to(PHOTOS[0])
    os.mkfifo(folder / "pipe.mp4")


@pytest.mark.slow
def test_each_hostile_clip_has_one_record_and_the_daemon_goes_on(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    hostile(made)
    names = sorted(path.name for path in made.iterdir())
    watch = {"path": "inbox", "settle_seconds": 0.1, "patience_seconds": 0.2}
    settings = {"limits": {"max_pixels": 1_000_000}, "video": {"max_seconds": 2.5}}
    with running(tmp_path, watch=[watch], **settings) as house:
        assert house.process
        pid = house.process.pid
        for name in names:
            (made / name).rename(house.inbox / name)
        shutil.copyfile(PHOTOS[0], house.inbox / "photo.jpg")
        good = make_clip(tmp_path / "good.mkv", of_photos(PHOTOS[:1]) * 10)
        house.until(lambda: house.finished() == len(names) + 1, what="a record of each")
        good.rename(house.inbox / "good.mkv")
        wait_until(lambda: house.records()[-1]["image_path"] == "good.mkv")
        assert house.process.poll() is None
        assert house.status()["stats"]["memory_bytes"] < 2**29
        assert house.process.pid == pid
        assert house.status()["troubles"] == {}
    records = {record["image_path"]: record for record in house.records()}
    assert len(records) == len(house.records()) == len(names) + 2
    assert records["photo.jpg"]["status"] == records["good.mkv"]["status"] == "ok"
    codes = {name: record["error"]["code"] for name, record in records.items() if "error" in record}
    assert all(records[f"whole.{kind}"]["status"] == "ok" for kind in CONTAINERS)
    assert set(codes.values()) <= CODES | {"not_a_file"}
    assert codes["large.mkv"] == "too_many_pixels"
    assert codes["long.mkv"] == "too_large"
    assert {codes[name] for name in PLAYLISTS} <= {"not_an_image", "truncated"}
    assert {codes["link.mp4"], codes["pipe.mp4"]} == {"not_a_file"}


def test_a_kept_clip_of_terabytes_of_holes_is_refused_without_being_read(tmp_path: Path) -> None:
    """It took 4 kB of its uploader's disk, and all clips of other cameras waited for hours."""
    good = make_clip(tmp_path / "good.mkv", numbered(3))
    with running(tmp_path, watch=[{"path": "inbox", "after": "keep", "settle_seconds": 0.1}]) as house:
        with (tmp_path / "part").open("wb") as file:
            file.write(bytes.fromhex("00000010 66747970 69736f6d 00000200"))
            file.truncate(2**41)
        (tmp_path / "part").rename(house.inbox / "holes.mp4")
        house.until(lambda: house.finished() == 1, what="a record of it")
        good.rename(house.inbox / "good.mkv")
        house.until(lambda: house.finished() == 2, what="a record of another")
        assert [record["status"] for record in house.records()] == ["failed", "ok"]
        assert house.records()[0]["error"]["code"] == "too_large"
