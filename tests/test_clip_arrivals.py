"""Every way in which a clip arrives, whole or in parts, against the real daemon."""

import subprocess
from pathlib import Path

import pytest

from brokers import wait_until
from clips import make_clip, numbered
from daemons import running
from dropsight.images.opening import open_named
from dropsight.video.completeness import is_whole
from test_arrivals import ARRIVALS

CONTAINERS = ("mp4", "mkv", "avi", "mov")
ENDLESS = ("ts", "flv", "h264", "mpg")
CODECS = {"mpg": "mpeg2video"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of 5 s."""
    folder = tmp_path_factory.mktemp("clips")
    return {
        kind: make_clip(
            folder / f"clip.{kind}",
            numbered(125),
            rate=25,
            codec=CODECS.get(kind, "libx264"),
        )
        for kind in (*CONTAINERS, *ENDLESS)
    }


def write_part(path: Path, data: bytes, start: int, end: int | None = None) -> None:
    """As an FTP server does that is asked to resume: a process of its own, cutting nothing that is there."""
    options = ["bs=1M", "oflag=seek_bytes", f"seek={start}", "conv=notrunc", "status=none"]
    subprocess.run(["dd", f"of={path}", *options], input=data[start:end], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("observer", ["inotify", "polling"])
def test_a_clip_is_recorded_exactly_once_and_whole_however_it_arrives(
    tmp_path: Path, made: dict[str, Path], observer: str
) -> None:
    watch = [{"path": "inbox", "observer": observer, "poll_seconds": 0.2, "settle_seconds": 0.5}]
    expected = {}
    with running(tmp_path, watch=watch) as house:
        for number, arrive in enumerate(ARRIVALS):
            outside, inbox = tmp_path / f"outside{number}", house.inbox / str(number)
            outside.mkdir()
            inbox.mkdir()
            file = made["mp4" if number % 2 else "ts"]
            expected[f"{number}/{arrive(inbox, outside, file)}"] = file
        house.until(lambda: len(house.records()) == len(expected), what="a record of each")
        house.until(lambda: not house.waiting(), what="an empty inbox")
        assert house.stop() == 0
    records = {record["image_path"]: record for record in house.records()}
    assert records.keys() == expected.keys()
    for path, file in expected.items():
        assert records[path]["status"] == "ok", records[path]
        assert records[path]["clip"]["duration"] == 5.0
        assert (house.processed / path).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_tells_whether_it_is_whole(tmp_path: Path, made: dict[str, Path], kind: str) -> None:
    data = made[kind].read_bytes()
    for sixteenth in range(17):
        part = tmp_path / f"{sixteenth}.{kind}"
        part.write_bytes(data[: len(data) * sixteenth // 16])
        with open_named(part) as file:
            assert is_whole(file) == (sixteenth == 16), sixteenth


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_may_end_anywhere_is_not_taken_for_whole(made: dict[str, Path], kind: str) -> None:
    with open_named(made[kind]) as file:
        assert not is_whole(file)


def test_a_clip_in_fragments_may_have_one_more(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    clip = make_clip(tmp_path / "fragments.mp4", numbered(50), container_options=options)
    with open_named(clip) as file:
        assert not is_whole(file)


@pytest.mark.slow
def test_an_upload_that_pauses_in_mid_clip_is_waited_for(tmp_path: Path, made: dict[str, Path]) -> None:
    """Each part is written in one go and closed; a camera that resumes its upload pauses for ten seconds."""
    watch = {"path": "inbox", "settle_seconds": 5, "patience_seconds": 1000}
    data = made["mp4"].read_bytes()
    with running(tmp_path, watch=[watch]) as house:
        upload, third = house.inbox / "upload.mp4", len(data) // 3
        for number in (0, 1):
            write_part(upload, data, number * third, (number + 1) * third)
            wait_until(lambda: house.counters()["postponed"] == 1)
            house.ask("rescan")
        assert not house.records()
        write_part(upload, data, 2 * third)
        wait_until(lambda: len(house.records()) == 1)
        (record,) = house.records()
        assert (record["status"], record["clip"]["duration"]) == ("ok", 5.0)


@pytest.mark.slow
def test_a_stream_that_pauses_is_not_recorded_by_half(tmp_path: Path, made: dict[str, Path]) -> None:
    """Any part of a transport stream is one: it has to have stood still for longer than a pause."""
    watch = {"path": "inbox", "settle_seconds": 1.5, "patience_seconds": 1000}
    data = made["ts"].read_bytes()
    with running(tmp_path, watch=[watch]) as house:
        write_part(house.inbox / "upload.ts", data, 0, len(data) // 2)
        wait_until(lambda: house.counters()["postponed"] == 1)
        write_part(house.inbox / "upload.ts", data, len(data) // 2)
        wait_until(lambda: len(house.records()) == 1)
        (record,) = house.records()
        assert (record["status"], record["clip"]["duration"]) == ("ok", 5.0)


def test_a_clip_that_is_written_to_while_it_is_held_open_waits_for_its_writer(
    tmp_path: Path, made: dict[str, Path]
) -> None:
    watch = {"path": "inbox", "settle_seconds": 0, "patience_seconds": 0}
    data = made["mpg"].read_bytes()
    with running(tmp_path, watch=[watch]) as house:
        with (house.inbox / "upload.mpg").open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            wait_until(lambda: house.counters()["postponed"] == 1)
            house.ask("rescan")
            file.write(data[len(data) // 2 :])
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["image"]["bytes"] == len(data)


def test_an_upload_that_breaks_off_for_good_is_truncated_once_it_has_stood_still(
    tmp_path: Path, made: dict[str, Path]
) -> None:
    watch = {"path": "inbox", "settle_seconds": 0.1, "patience_seconds": 0.5}
    with running(tmp_path, watch=[watch]) as house:
        for kind in ("mp4", "mkv", "avi"):
            data = made[kind].read_bytes()
            write_part(house.inbox / f"upload.{kind}", data, 0, len(data) // 2)
        wait_until(lambda: len(house.records()) == 3)
        assert {record["error"]["code"] for record in house.records()} == {"truncated"}
        wait_until((house.failed / "upload.mkv.reason.json").exists)


def test_a_clip_that_changes_while_it_is_read_is_read_again(tmp_path: Path, made: dict[str, Path]) -> None:
    """Where nobody can tell that a writer still has it, half a clip must not be all that is told of it."""
    watch = {"path": "inbox", "settle_seconds": 0, "patience_seconds": 0}
    data = made["ts"].read_bytes()
    half = tmp_path / "half.ts"
    half.write_bytes(data[: len(data) // 2])
    with running(tmp_path, watch=[watch]) as house:
        with house.clip_in_hand(half, "a.ts"):
            write_part(house.inbox / "a.ts", data, len(data) // 2)
        wait_until(lambda: len(house.records()) == 2)
        assert house.records()[1]["clip"]["duration"] == 5.0
