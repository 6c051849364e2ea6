"""Every way in which a file arrives, against the real daemon."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running

PHOTO = PHOTOS[0]
DATA = PHOTO.read_bytes()
Arrival = Callable[[Path, Path, Path], Path]
"""Has a file arrive in an inbox, by way of a folder outside of it; returns where it lies below the inbox."""


def written_plainly(inbox: Path, _: Path, file: Path) -> Path:
    (inbox / file.name).write_bytes(file.read_bytes())
    return Path(file.name)


def renamed_inside(inbox: Path, _: Path, file: Path) -> Path:
    part = inbox / f"{file.name}.tmp"
    part.write_bytes(file.read_bytes())
    part.rename(inbox / file.name)
    return Path(file.name)


def renamed_in_from_outside(inbox: Path, outside: Path, file: Path) -> Path:
    shutil.copy(file, outside)
    (outside / file.name).rename(inbox / file.name)
    return Path(file.name)


def linked_from_a_part_and_the_part_removed(inbox: Path, _: Path, file: Path) -> Path:
    part = inbox / f"{file.name}.filepart"
    part.write_bytes(file.read_bytes())
    os.link(part, inbox / file.name)
    part.unlink()
    return Path(file.name)


def linked_from_outside(inbox: Path, outside: Path, file: Path) -> Path:
    shutil.copy(file, outside)
    os.link(outside / file.name, inbox / file.name)
    return Path(file.name)


def in_a_new_folder_at_once(inbox: Path, _: Path, file: Path) -> Path:
    folder = inbox / "new" / "deep"
    folder.mkdir(parents=True)
    (folder / file.name).write_bytes(file.read_bytes())
    return Path("new/deep") / file.name


def in_a_folder_renamed_in(inbox: Path, outside: Path, file: Path) -> Path:
    (outside / "cam").mkdir()
    shutil.copy(file, outside / "cam")
    (outside / "cam").rename(inbox / "cam")
    return Path("cam") / file.name


def opened_twice(inbox: Path, _: Path, file: Path) -> Path:
    data = file.read_bytes()
    with (inbox / file.name).open("wb") as part:
        part.write(data[: len(data) // 2])
    with (inbox / file.name).open("ab") as part:
        part.write(data[len(data) // 2 :])
    return Path(file.name)


def written_with_a_pause(inbox: Path, _: Path, file: Path) -> Path:
    data = file.read_bytes()
    with (inbox / file.name).open("wb", buffering=0) as part:
        part.write(data[: len(data) // 2])
        time.sleep(1.0)  # the writer's own slowness is what is tested
        part.write(data[len(data) // 2 :])
    return Path(file.name)


ARRIVALS: list[Arrival] = [
    written_plainly,
    renamed_inside,
    renamed_in_from_outside,
    linked_from_a_part_and_the_part_removed,
    linked_from_outside,
    in_a_new_folder_at_once,
    in_a_folder_renamed_in,
    opened_twice,
    written_with_a_pause,
]


@pytest.mark.slow
@pytest.mark.parametrize("observer", ["inotify", "polling"])
@pytest.mark.parametrize("arrive", ARRIVALS, ids=lambda arrive: arrive.__name__)
def test_an_image_is_recorded_exactly_once_and_whole_however_it_arrives(
    tmp_path: Path, arrive: Arrival, observer: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    watch = [{"observer": observer, "poll_seconds": 0.2, "settle_seconds": 0.5}]
    with running(tmp_path, watch=watch) as house:
        relative = arrive(house.inbox, outside, PHOTO)
        wait_until(lambda: house.finished() >= 1, what="one record")
        house.until(lambda: not house.waiting(), what="an empty inbox")
        assert house.stop() == 0
    (record,) = house.records()
    assert record["status"] == "ok"
    assert record["image_path"] == str(relative)
    assert record["image"]["bytes"] == PHOTO.stat().st_size
    assert (house.processed / relative).read_bytes() == PHOTO.read_bytes()


def test_what_lay_in_the_inbox_before_the_start_is_found(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    shutil.copy(PHOTO, tmp_path / "inbox" / "early.jpg")
    with running(tmp_path) as house:
        wait_until(lambda: house.finished() == 1)


@pytest.mark.slow
def test_a_file_of_a_keep_folder_is_recorded_once_across_restarts(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"after": "keep"}]) as house:
        shutil.copyfile(PHOTO, house.inbox / "a.jpg")
        wait_until(lambda: house.finished() == 1)
        house.stop()
        house.start()
        shutil.copyfile(PHOTO, house.inbox / "b.jpg")
        wait_until(lambda: house.finished() == 1)
        house.stop()
    assert [record["image_path"] for record in house.records()] == ["a.jpg", "b.jpg"]
    assert len(house.waiting()) == 2


def test_delete_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"after": "delete"}]) as house:
        shutil.copyfile(PHOTO, house.inbox / "a.jpg")
        wait_until(lambda: house.finished() == 1)
        house.until(lambda: not house.waiting())
    assert not list(house.processed.glob("*"))


@pytest.mark.slow
def test_a_file_that_is_looked_at_while_its_writer_ends_gets_one_record(tmp_path: Path) -> None:
    """Opened before the last write, judged after the close: the size and time at opening are not its own."""
    content = PHOTOS[0].read_bytes()
    pieces = [content[start : start + 2_048] for start in range(0, len(content), 2_048)]
    with running(tmp_path, watch=[{"path": "inbox", "after": "delete"}]) as house:
        for number in range(1, 301):
            with (house.inbox / f"{number:03}.jpg").open("wb", buffering=0) as file:
                # The longer a writer takes, the later it ends in the steps of whom its creation woke.
                for piece in pieces if number % 2 else [content]:
                    file.write(piece)
            house.until(lambda: not house.waiting())
        wait_until(lambda: not house.counters()["waiting"])
        assert len(house.records()) == 300


LITTER = [
    *(".stversions/front/a.jpg", ".Trash-1000/files/t.jpg", ".rsync-partial/p.jpg", "front/.~tmp~/p.jpg"),
    *("front/.AppleDouble/a.jpg", "front/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/front/r.jpg"),
    *("$RECYCLE.BIN/x.jpg", "lost+found/l.jpg", "Thumbs/t.jpg"),
]


@pytest.mark.parametrize("observer", ["inotify", "polling"])
def test_what_lies_in_hidden_folders_and_in_those_of_the_system_is_passed_by(
    tmp_path: Path, observer: str
) -> None:
    ignore = ["@eaDir", "#recycle", "$recycle.bin", "lost+found", "thumbs"]
    watch = [{"ignore": ignore, "observer": observer, "poll_seconds": 0.2}]
    with running(tmp_path, watch=watch) as house:
        for name in LITTER:
            (house.inbox / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PHOTO, house.inbox / name)
        house.ask("rescan")
        (house.inbox / "front" / "sub").mkdir()
        shutil.copy(PHOTO, house.inbox / "front" / "sub" / "a.jpg")
        wait_until(lambda: len(house.waiting()) == len(LITTER))
        house.ask("rescan")
        shutil.copy(PHOTO, house.inbox / "front" / "b.jpg")
        wait_until(lambda: len(house.records()) == 2)
        assert {record["camera"] for record in house.records()} == {"front"}
        wait_until(lambda: len(house.waiting()) == len(LITTER))


def test_an_upload_that_is_staged_in_a_hidden_folder_is_left_alone_until_it_is_renamed(
    tmp_path: Path,
) -> None:
    """As rsync does with --delay-updates: what was taken from there, its rename would not find."""
    with running(tmp_path) as house:
        staged = house.inbox / "front" / ".~tmp~"
        staged.mkdir(parents=True)
        for number in range(3):
            shutil.copy(PHOTO, staged / f"{number}.jpg")
        shutil.copyfile(PHOTO, house.inbox / "probe.jpg")
        house.ask("rescan")
        wait_until(lambda: house.finished() == 1)
        for path in sorted(staged.iterdir()):
            path.rename(house.inbox / "front" / path.name)
        house.until(lambda: not house.waiting())
        assert {record["image_path"] for record in house.records()} == {
            *("probe.jpg", "front/0.jpg", "front/1.jpg", "front/2.jpg")
        }
        assert len(house.records()) == 4


def write_part(path: Path, start: int, end: int | None = None) -> None:
    """As an FTP server does that is asked to resume: a process of its own, cutting nothing that is there."""
    options = ["bs=1", f"seek={start}", "conv=notrunc", "status=none"]
    subprocess.run(["dd", f"of={path}", *options], input=DATA[start:end], check=True)


@pytest.mark.parametrize("observer", ["inotify", "polling"])
def test_an_upload_in_parts_is_waited_for_between_them_and_one_that_was_renamed_is_not(
    tmp_path: Path, observer: str
) -> None:
    """Each part is written in one go and closed, and has stood still for longer than the settle time."""
    watch = {"path": "inbox", "settle_seconds": 0, "patience_seconds": 1000}
    with running(tmp_path, watch=[{**watch, "observer": observer, "poll_seconds": 0.1}]) as house:
        upload, third = house.inbox / "upload.jpg", len(DATA) // 3
        for number in (1, 2):
            write_part(upload, (number - 1) * third, number * third)
            wait_until(lambda: house.counters()["postponed"] == 1)
            house.ask("rescan")
            shutil.copyfile(PHOTO, house.inbox / f"probe{number}.jpg")
            wait_until((house.processed / f"probe{number}.jpg").exists)
            assert upload.exists()
        (tmp_path / "half.jpg").write_bytes(DATA[:third])
        if observer == "polling":  # which sees no renames: but what is as old as that is no upload
            os.utime(tmp_path / "half.jpg", (hour_ago := time.time() - 3_600, hour_ago))
        (tmp_path / "half.jpg").rename(house.inbox / "half.jpg")
        wait_until(lambda: len(house.records()) == 3)
        assert house.records()[2]["error"]["code"] == "truncated"
        write_part(upload, 2 * third)
        wait_until(lambda: len(house.records()) == 4)
        assert (house.records()[3]["image_path"], house.records()[3]["status"]) == ("upload.jpg", "ok")
        wait_until((house.processed / "upload.jpg").exists)
        assert (house.processed / "upload.jpg").read_bytes() == DATA


@pytest.mark.slow
def test_an_upload_that_is_held_open_while_it_stands_still_is_waited_for(tmp_path: Path) -> None:
    watch = {"path": "inbox", "settle_seconds": 0.2, "patience_seconds": 1000}
    with running(tmp_path, watch=[watch]) as house:
        upload, half = house.inbox / "upload.jpg", len(DATA) // 2
        with upload.open("wb", buffering=0) as file:
            file.write(DATA[:half])
            wait_until(lambda: house.counters()["postponed"] == 1)
        house.ask("rescan")
        write_part(upload, half)
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok"


def test_an_upload_that_failed_where_it_stays_is_taken_again_once_it_grows(tmp_path: Path) -> None:
    watch = {"path": "inbox", "after": "keep", "settle_seconds": 0, "patience_seconds": 0}
    with running(tmp_path, watch=[watch]) as house:
        write_part(house.inbox / "upload.jpg", 0, 1000)
        wait_until(lambda: len(house.records()) == 1)
        write_part(house.inbox / "upload.jpg", 1000)
        wait_until(lambda: house.records()[-1]["status"] == "ok")
        assert house.records()[0]["error"]["code"] == "truncated"


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete", "keep"])
@pytest.mark.parametrize("before", [b"", b"\0" * len(DATA)], ids=["empty", "preallocated"])
def test_an_upload_whose_file_was_made_and_closed_long_before_is_recorded_once_it_is_written(
    tmp_path: Path, before: bytes, after: str
) -> None:
    """What it was by then has failed; what is written by its name is an image of its own."""
    watch = {"path": "inbox", "after": after, "settle_seconds": 0.1, "patience_seconds": 0.1}
    with running(tmp_path, watch=[watch]) as house:
        (house.inbox / "upload.jpg").write_bytes(before)
        wait_until(lambda: [record["status"] for record in house.records()] == ["failed"])
        wait_until(lambda: after == "keep" or not house.waiting())
        write_part(house.inbox / "upload.jpg", 0)
        wait_until(lambda: len(house.records()) == 2)
        assert (house.records()[1]["status"], house.records()[1]["image_path"]) == ("ok", "upload.jpg")


def test_a_camera_that_leaves_out_the_end_marker_is_not_taken_for_an_upload(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"path": "inbox", "patience_seconds": 1000}]) as house:
        for number in range(3):
            (house.inbox / f"{number}.jpg").write_bytes(DATA.rstrip(b"\0")[:-2])
        wait_until(lambda: house.finished() == 3)
        assert {record["status"] for record in house.records()} == {"ok"}


def test_a_single_run_waits_for_no_upload_that_stands_still(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "settle_seconds": 0, "patience_seconds": 1000}]})
    write_part(house.inbox / "upload.jpg", 0, 1000)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert [record["error"]["code"] for record in house.records()] == ["truncated"]


def test_an_upload_that_breaks_off_for_good_is_a_failure_after_the_patience(tmp_path: Path) -> None:
    watch = {"path": "inbox", "settle_seconds": 0.1, "patience_seconds": 0.5}
    with running(tmp_path, watch=[watch]) as house:
        (house.inbox / "upload.jpg").write_bytes(DATA[:1000])
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["error"]["code"] == "truncated"
