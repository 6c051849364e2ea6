"""Uploads to a network share that the inbox lies on: their writers, and its clock, are another machine's."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from shares import OneFileShare
from test_watch import SOON

PHOTO = PHOTOS[0].read_bytes()


@contextmanager
def with_share(
    root: Path, data: bytes, kind: str = "fuse.sshfs", **settings: object
) -> Iterator[tuple[House, OneFileShare]]:
    """A daemon whose camera has a share, as of sshfs, an hour behind, with an upload as far as it is."""
    watch = {"path": "inbox", "after": "keep", "settle_seconds": 1.0, "patience_seconds": 60}
    house = House(root, {"watch": [watch], **settings})
    camera = house.inbox / "cam"
    camera.mkdir()
    behind = int(time.time()) - 3_600
    with OneFileShare(camera, "a.jpg", data, reads=10**9, kind=kind, stamp=behind) as share:
        try:
            yield house, share
        finally:
            house.kill()


@pytest.mark.slow
def test_half_an_upload_on_a_share_whose_clock_is_behind_is_waited_for(tmp_path: Path) -> None:
    """It looked as old as the clock was behind, counted as broken off, and failed."""
    with with_share(tmp_path, PHOTO[: len(PHOTO) // 2]) as (house, share):
        house.start()
        wait_until(lambda: house.counters()["postponed"] == 1 or len(house.records()) == 1)
        share.data = PHOTO
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok"
        assert house.stop() == 0


@pytest.mark.slow
def test_an_image_on_a_share_is_taken_though_no_lease_of_it_is_to_be_had(tmp_path: Path) -> None:
    """NFS 4 refuses one where the server delegates nothing, SMB without oplocks: as of one held open."""
    with with_share(tmp_path, PHOTO) as (house, share), ExitStack() as stack:
        stack.callback(os.close, os.open(share.place / "a.jpg", os.O_WRONLY))
        house.start()
        wait_until(lambda: len(house.records()) == 1, seconds=SOON)
        assert house.records()[0]["status"] == "ok"


@pytest.mark.slow
def test_an_image_whose_share_tells_an_earlier_time_is_no_older_than_since_it_was_found(
    tmp_path: Path,
) -> None:
    """Its clock is behind, or it tells the time that a copy keeps, as sshfs and FAT do: it expired unseen."""
    with with_share(tmp_path, PHOTO, queue={"max_age": 600}) as (house, _):
        house.start()
        wait_until(lambda: len(house.records()) == 1, seconds=SOON)
        assert house.records()[0]["status"] == "ok"
        assert house.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fuse.rclone", "fuse"])
def test_an_image_that_comes_to_a_store_or_folder_behind_any_fuse_is_noticed(
    tmp_path: Path, kind: str
) -> None:
    """Whoever writes there raises no event here: it waited for the next start, or for ever."""
    with with_share(tmp_path, PHOTO, kind) as (house, share):
        house.start()
        wait_until(lambda: len(house.records()) == 1, seconds=SOON)
        share.data = PHOTOS[1].read_bytes()
        wait_until(lambda: len(house.records()) == 2, seconds=SOON)
        assert house.stop() == 0
