"""Images that somebody opens for writing when they are on record, and still to be filed."""

import shutil
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, running
from disks import small_disk, write_protect
from dropsight.intake.readiness import writer
from test_watch import trouble


@pytest.mark.slow
@pytest.mark.parametrize("written", [PHOTOS[1].read_bytes(), b""])
def test_what_is_written_into_an_image_that_is_to_be_filed_gets_a_record_of_its_own(
    tmp_path: Path, written: bytes
) -> None:
    """As of scp, which opens a file some moments before it writes: it was filed as what it had been."""
    with small_disk(tmp_path / "processed"), running(tmp_path) as house:
        write_protect(house.processed, on=True)
        image = Path(shutil.copy(PHOTOS[0], house.inbox / "latest.jpg"))
        wait_until(lambda: "Read-only" in trouble(house, "filing"))
        with image.open("r+b") as upload, image.open("rb") as reader:
            if writer(reader.fileno()) == "unknown":
                pytest.skip("this file system grants no leases")
            write_protect(house.processed, on=False)
            wait_until(lambda: not trouble(house, "filing"))
            if written:
                upload.write(written)
                upload.truncate()
        wait_until(lambda: not house.waiting())
        filed = [each.read_bytes() for each in house.processed.iterdir()]
        assert filed == [written or PHOTOS[0].read_bytes()]
        assert len(house.records()) == (2 if written else 1)
        assert house.stop() == 0
