"""Images that are renamed by a second name, of which the first goes: as OpenSSH's SFTP server does it."""

import os
import time
from pathlib import Path

import pytest

from dropsight.config import Watch
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.readiness import seconds_to_one_name
from test_renamed_images import After, begun_anew, found, read, read_by, record, upload


def seconds_left(image: Path, *, age: float, once: bool = False) -> float:
    """Of an image that is found just now, and was changed so many seconds ago."""
    now = time.monotonic()
    candidate = Candidate(
        DropFolder.open(Watch(path=image.parent)), str(image), closed=False, ready_at=now, still_since=now
    )
    candidate.since = now - age
    return seconds_to_one_name(candidate, image.stat(), lambda _: age, once=once)


@pytest.mark.parametrize("once", [False, True])
def test_an_image_with_a_new_second_name_waits_until_that_is_its_only_one_or_stays(
    tmp_path: Path, *, once: bool
) -> None:
    """It was read by both: 7 of 600 by SFTP on a busy machine had two records."""
    (first := tmp_path / "tmp.jpg").write_bytes(b"image")
    assert seconds_left(first, age=0.0, once=once) == 0
    os.link(first, second := tmp_path / "1.jpg")
    assert seconds_left(first, age=0.0, once=once) > 0
    assert seconds_left(second, age=0.0, once=once) > 0
    assert seconds_left(second, age=60.0, once=once) == 0
    first.unlink()
    assert seconds_left(second, age=0.0, once=once) == 0


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
@pytest.mark.parametrize("waits", [False, True])
def test_an_image_that_gets_its_new_name_before_its_filing_has_one_record(
    tmp_path: Path, after: After, *, waits: bool
) -> None:
    """Also if it `waits` beyond that by its new name, as without leases (1 of 60), or for its only one."""
    with begun_anew(tmp_path, after) as desk:
        first = upload(desk, "tmp.jpg", b"image")
        os.link(desk.inbox / "tmp.jpg", desk.inbox / "1.jpg")
        second = found(desk, desk.inbox / "1.jpg")
        if waits:
            desk.backlog.postpone(second, seconds=0.0)
        record(desk, first)
        (desk.inbox / "tmp.jpg").unlink(missing_ok=True)
        if waits:
            assert desk.backlog.take() is second
        record(desk, read_by(second))
        assert desk.lines() == ["tmp.jpg"]


@pytest.mark.parametrize("after", ["move", "delete"])
def test_an_image_with_two_names_that_stay_is_recorded_by_both(tmp_path: Path, after: After) -> None:
    with begun_anew(tmp_path, after) as desk:
        (desk.inbox / "a.jpg").write_bytes(b"image")
        os.link(desk.inbox / "a.jpg", desk.inbox / "b.jpg")
        first, second = read(desk, desk.inbox / "a.jpg"), found(desk, desk.inbox / "b.jpg")
        record(desk, first)
        record(desk, read_by(second))
        assert desk.lines() == ["a.jpg", "b.jpg"]
