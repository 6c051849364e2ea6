"""Tags: what an image's name says of it, and a JSON file beside it, stands in its record and goes along."""

import errno
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.config import Watch
from dropsight.config.name_patterns import LONGEST_SEARCHED, TooSlowError, name_pattern
from dropsight.crashpoints import VARIABLE
from dropsight.files import filesystems
from dropsight.files.original import Original
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.readiness import Age, seconds_to_sidecar, seconds_to_wait
from dropsight.intake.tagging import (
    LONGEST_TEXT,
    MOST_TAG_BYTES,
    MOST_TAGS,
    SIDECAR,
    TagFile,
    read_sidecar_of,
    sidecar_names,
    tags_of,
    time_of,
)
from dropsight.journal.sidecars import move_along
from dropsight.names import as_json

PATTERN = r"(?P<station>[a-z]+)/(?P<serial>[0-9A-F]+)_(?P<captured>[0-9]{14})"


def test_named_groups_of_a_name_are_tags_and_its_time_is_when_it_was_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    found = tags_of("north/A7F_20261128101530.jpg", None, PATTERN)
    assert found.tags == {"station": "north", "serial": "A7F", "captured": "20261128101530"}
    assert (found.captured, found.warnings) == (time_of("2026-11-28T10:15:30"), ())
    other = tags_of("north/holiday.jpg", None, PATTERN)
    assert (other.tags, other.warnings) == ({}, ("its name does not match watch.name_pattern",))


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?:a|aa)+(?P<n>x)", "(?P<n>(?:a?b?)*)", "(?P<n>.*.*.*.*.*z)", "(?>(?P<n>a+)+b)"),
        *(f"{'a?' * 25}{'a' * 25}(?P<n>x)", f"{'(?:a|.)' * 25}(?P<n>x)"),
        *("(?P<n>a)?(?(n).*.*.*.*.*z|b)", "(?P<n>.*)(?=.*.*.*.*x)", "(?P<n>a*)(?P=n)*.*.*.*.*z"),
    ],
)
def test_a_pattern_that_a_name_keeps_busy_for_long_is_told(pattern: str) -> None:
    with pytest.raises(TooSlowError):
        name_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [
        (PATTERN, LONGEST_SEARCHED),
        ("(?P<n>(?:[a-z]++_)+)(?:[0-9]{1,2}/){3}(?:x|yz)?", LONGEST_SEARCHED),
        (r"(?P<site>[^_]*)_(?P<camera>[^_]*)_(?P<n>\d+)_\d\d\.jpe?g$", LONGEST_SEARCHED),
        ("(?P<site>.*)_(?P<camera>.*)z", LONGEST_SEARCHED),
        ("(?P<site>.*)_(?P<camera>.*)_(?P<n>.*)z", 179),
        ("x(?P<site>.*)_(?P<camera>.*)_(?P<n>.*)z", 67),
    ],
)
def test_the_more_a_pattern_leaves_open_the_shorter_are_the_paths_it_is_searched_for_in(
    pattern: str, longest: int
) -> None:
    assert name_pattern(pattern).longest == longest


_PIECES = (
    ".*",
    ".+?",
    "[^_]*",
    "[a-z_]+",
    "[0-9]{1,3}",
    "a?",
    "(?:a|ab)",
    "(?:[a-z]+_)*",
    "(?=.*x)",
    "(?>a*_)",
)


@given(st.lists(st.sampled_from((*_PIECES, "a", "_", "(?:a|)", "(?:aa)*", "(?i:A*)")), max_size=8), st.data())
@settings(max_examples=40)
def test_a_pattern_that_is_searched_for_finds_what_it_would_find_otherwise(
    pieces: list[str], data: st.DataObject
) -> None:
    pattern = "".join(pieces)
    try:
        searched = name_pattern(pattern)
    except TooSlowError:
        return
    path = data.draw(st.text("aAb_x0", max_size=12))
    found, wanted = searched.find(path), re.search(pattern, path)
    assert (found and found.span()) == (wanted and wanted.span())


def test_an_image_whose_name_has_no_room_for_a_sidecar_beside_it_is_looked_for_under_none() -> None:
    assert sidecar_names("a" * 250 + ".jpg") == ("a" * 250 + ".json",)
    assert sidecar_names("\u00e4" * 125 + "a.jpg") == ()


def test_a_sidecar_is_no_image_whatever_the_patterns_take() -> None:
    for seconds, is_image in ((None, True), (0.0, False)):
        folder = DropFolder.open(Watch(path=Path("/in"), patterns=("*",), sidecar_wait_seconds=seconds))
        assert folder.wants("/in/x.jpg.json") is is_image
        assert folder.wants("/in/x.jpg")


def test_no_pattern_is_searched_for_in_a_path_that_is_too_long() -> None:
    worst = "(?P<a>.*)_(?P<b>.*)_(?P<c>.*)z"
    found = tags_of("_" * 180, None, worst)
    (told,) = found.warnings
    assert told == "its path has 180 characters, and watch.name_pattern is searched for in up to 179"


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ("2026-11-28T10:15:30+02:00", "2026-11-28T08:15:30Z"),
        ("2026-11-28 10:15:30.250Z", "2026-11-28T10:15:30.250000Z"),
        ("1764324930", "2025-11-28T10:15:30Z"),
        (1764324930.5, "2025-11-28T10:15:30.500000Z"),
        ("1764324930500", "2025-11-28T10:15:30.500000Z"),
        *[(said, None) for said in ("20261128", "tomorrow", "20261399101530", "", 1e300, True)],
    ],
)
def test_a_time_is_iso_8601_digits_or_seconds_since_1970(said: str | float, when: str | None) -> None:
    assert time_of(said) == when


def test_what_a_sidecar_says_counts_before_the_name_and_what_is_no_tag_is_left_out_with_a_warning() -> None:
    said = {"serial": "B", "n": 3, "ok": True, "t": 2.5, "none": None, "list": [1], "long": "x" * 300}
    found = tags_of("north/A_20261128101530.jpg", TagFile("x.json", json.dumps(said).encode()), PATTERN)
    assert found.tags["serial"] == "B"
    assert [found.tags[name] for name in ("station", "n", "ok", "t")] == ["north", 3, True, 2.5]
    assert found.tags["long"] == "x" * LONGEST_TEXT
    assert not {"none", "list"} & found.tags.keys()
    assert found.warnings == (
        "its tag list is not text, a number, true or false, and is left out",
        f"its tag long is cut to {LONGEST_TEXT} characters",
    )


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        *[(data, "no JSON") for data in (b"{", b"[" * 10_000, b"", b'{"a": "\xe9"}', b'{"\xed\xa0\x80": 1}')],
        (b"[1]", "no object"),
    ],
)
def test_a_sidecar_that_is_none_is_a_warning(data: bytes, fault: str) -> None:
    sidecar = TagFile("a.json", data)
    found = tags_of("a.jpg", sidecar, None)
    assert (dict(found.tags), sidecar.is_whole) == ({}, data == b"[1]")
    assert fault in found.warnings[0]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300)
sidecars = st.dictionaries(st.text(max_size=80), scalars | st.lists(scalars, max_size=2), max_size=80)


@given(sidecars.map(lambda said: json.dumps(said).encode()) | st.binary(max_size=200), st.text(max_size=80))
def test_whatever_a_sidecar_holds_its_tags_are_few_flat_and_can_be_written(data: bytes, name: str) -> None:
    found = tags_of(name, TagFile("a.json", data), "(?P<name>.*)")
    assert len(found.tags) <= MOST_TAGS
    assert len(as_json(found.tags)) <= MOST_TAG_BYTES
    assert all(isinstance(value, str | int | float) for value in found.tags.values())
    assert json.loads(as_json(found.tags)) is not None


@pytest.mark.parametrize("lying", ["empty", "link", "pipe", "folder", "gone", "grown"])
def test_whatever_lies_beside_an_image_when_it_is_filed_holds_it_up_for_no_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lying: str
) -> None:
    """Of two names, so that it is copied; exchanged after it was looked at, but for the empty one."""
    sidecar, other, place = tmp_path / "a.json", tmp_path / "other", tmp_path / "place"
    sidecar.touch()
    place.mkdir()
    other.hardlink_to(sidecar)

    def move(_: Original, fd: int, target: str) -> bool:
        if lying != "empty":
            sidecar.unlink()
        match lying:
            case "link":
                sidecar.symlink_to(other)
            case "pipe":
                os.mkfifo(sidecar)
            case "folder":
                sidecar.mkdir()
            case "grown":
                sidecar.write_bytes(bytes(SIDECAR.max_bytes + 1))
        raise OSError(errno.EXDEV, f"{target} is elsewhere", fd)

    monkeypatch.setattr(Original, "move", move)
    fds = [os.open(folder, os.O_PATH) for folder in (tmp_path, place)]
    try:
        image = Original(fds[0], "a.jpg", sidecar.stat(), "0" * 32, str(tmp_path))
        move_along(image, fds[1], "a.jpg", part="part")
    finally:
        for fd in fds:
            os.close(fd)
    assert names(place) == (["a.jpg.tags.json"] if lying == "empty" else [])


def test_the_tags_of_an_image_take_few_kilobytes_of_its_record() -> None:
    said = {f"{number:02}": "\x1b" * 250 if number % 2 else [number] for number in range(64)}
    found = tags_of("a.jpg", TagFile("a.json", json.dumps(said).encode()), None)
    assert found.tags == dict.fromkeys(("01", "03"), "\x1b" * 250)
    assert len(as_json((found.tags, found.warnings))) < MOST_TAG_BYTES
    assert "more than 4,096 bytes, and 05 and others are left out" in found.warnings[-1]
    odd = TagFile("a.json", json.dumps({str(number): [] for number in range(64)}).encode())
    assert tags_of("a.jpg", odd, None).warnings[8:] == ("and 56 more of its tags",)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def watches(**more: object) -> list[dict[str, object]]:
    common = {"sidecar_wait_seconds": 3600, **more}
    return [{"path": "inbox", **common}, {"path": "spent", "after": "delete", **common}]


def seen(image: Path, *, seconds_ago: float) -> Candidate:
    folder = DropFolder.open(Watch(path=image.parent, sidecar_wait_seconds=5.0))
    since = time.monotonic() - seconds_ago
    return Candidate(folder, str(image), closed=True, ready_at=0.0, since=since)


def seconds_left(candidate: Candidate, age: Age, *, once: bool = False) -> float:
    """For its sidecar, once the image is whole."""
    with Path(candidate.path).open("rb") as file:
        stat = os.fstat(file.fileno())
        assert seconds_to_wait(candidate, file.fileno(), stat, age) == 0
    return seconds_to_sidecar(candidate, stat, age, once=once)


def test_a_slow_upload_does_not_use_up_the_time_in_which_its_sidecar_may_come(tmp_path: Path) -> None:
    """It had no tags, and where its name was used again, the next image had them."""
    (image := tmp_path / "slow.mp4").write_bytes(b"half")
    candidate = seen(image, seconds_ago=60)

    def age(stamp: float) -> float:
        return time.time() - stamp

    seconds_left(candidate, age)
    candidate.still_since -= 60
    with image.open("ab") as file:
        file.write(b" and half")
    assert seconds_left(candidate, age) > 0
    candidate.still_since -= 60
    image.chmod(0o600)
    assert seconds_left(candidate, age) == 0, "whoever touches it again and again holds up nothing"


def test_nor_does_a_writer_who_closes_it_long_after_its_last_byte(tmp_path: Path) -> None:
    """It has stood still since."""
    (image := tmp_path / "held.mp4").write_bytes(b"all of it")
    candidate = seen(image, seconds_ago=60)

    def age(_: float) -> float:
        return 60.0

    with image.open("ab"), image.open("rb") as file:
        assert seconds_to_wait(candidate, file.fileno(), os.fstat(file.fileno()), age) > 0
    assert seconds_left(candidate, age) > 0


def old(_: float) -> float:
    return 1e6


def test_a_sidecar_is_waited_for_though_its_image_has_the_times_of_its_original(tmp_path: Path) -> None:
    (image := tmp_path / "old.jpg").write_bytes(b"all of it")
    assert seconds_left(seen(image, seconds_ago=1), old) > 0
    assert seconds_left(seen(image, seconds_ago=60), old) == 0, "it lay there before a start"


@pytest.mark.parametrize(
    ("kind", "is_waited_for"),
    [("vfat", True), ("fuseblk", True), ("fuse.sshfs", True), ("nfs4", True), ("ext4", False)],
)
def test_a_sidecar_is_waited_for_where_nothing_tells_since_when_its_image_has_been_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kind: str, is_waited_for: bool
) -> None:
    """FAT and sshfs keep no time of change, and the clock of a share may be behind."""
    (image := tmp_path / "old.jpg").write_bytes(b"all of it")
    device = image.stat().st_dev
    mounts = f"1 0 {os.major(device)}:{os.minor(device)} / {tmp_path} rw - {kind} none rw\n"
    (tmp_path / "mounts").write_text(mounts)
    monkeypatch.setattr(filesystems, "MOUNTS", tmp_path / "mounts")
    candidate = seen(image, seconds_ago=1e6)
    assert (seconds_left(candidate, old) > 0) is is_waited_for
    assert seconds_left(candidate, old, once=True) == 0
    candidate.still_since -= 60
    assert seconds_left(candidate, old) == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_sidecar_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    folder = DropFolder.open(Watch(path=tmp_path, sidecar_wait_seconds=0))
    (tmp_path / "x.json").write_text('{"zone": "Süd"}', encoding=encoding)
    sidecar = read_sidecar_of(folder, str(tmp_path / "x.jpg"))
    assert sidecar
    assert sidecar.is_whole
    assert sidecar.tags() == {"zone": "Süd"}


def test_where_images_stay_one_whose_name_is_used_again_gets_its_own_tags(tmp_path: Path) -> None:
    """Those of the image before it lie there until its own come."""
    watch = {"path": "inbox", "after": "keep", "sidecar_wait_seconds": 3600}
    with running(tmp_path, watch=[watch]) as house:
        image, sidecar = house.inbox / "latest.jpg", house.inbox / "latest.jpg.json"
        for number, photo in enumerate(PHOTOS[:2]):
            shutil.copyfile(photo, house.inbox / "part")
            (house.inbox / "part").rename(image)
            wait_until(lambda: house.counters()["waiting"] == 1)
            assert len(house.records()) == number
            sidecar.write_text(json.dumps({"number": number}))
            house.until(lambda number=number: len(house.records()) == number + 1)  # type: ignore[misc]
    assert [record["tags"] for record in house.records()] == [{"number": 0}, {"number": 1}]


@pytest.mark.parametrize("after", ["move", "delete"])
def test_one_sidecar_left_over_does_not_give_each_image_of_a_name_the_tags_of_the_one_before(
    tmp_path: Path, after: str
) -> None:
    """The first has them; that one's own came later, and were the next one's, and so on."""
    watch = {"path": "inbox", "after": after, "sidecar_wait_seconds": 3600}
    with running(tmp_path, watch=[watch]) as house:
        image, sidecar = house.inbox / "latest.jpg", house.inbox / "latest.jpg.json"
        sidecar.write_text(json.dumps({"number": -1}))
        shutil.copyfile(PHOTOS[0], image)
        house.until(lambda: len(house.records()) == 1 and not list(house.inbox.iterdir()))
        sidecar.write_text(json.dumps({"number": 0}))
        for number, photo in enumerate(PHOTOS[1:3], start=1):
            shutil.copyfile(photo, house.inbox / "part")
            (house.inbox / "part").rename(image)
            (house.inbox / f"{number}.jpg.json").write_text('{"other": true}')
            shutil.copyfile(photo, house.inbox / f"{number}.jpg")
            house.until(lambda number=number: len(house.records()) == 2 * number)  # type: ignore[misc]
            assert image.exists()
            sidecar.write_text(json.dumps({"number": number}))
            house.until(lambda number=number: len(house.records()) == 2 * number + 1)  # type: ignore[misc]
    assert [record["tags"].get("number") for record in house.records()] == [-1, None, 1, None, 2]


def test_however_often_sidecars_came_first_one_that_comes_after_its_image_is_its_own(tmp_path: Path) -> None:
    """Four in a row, and each later image had the tags of the one before."""
    watch = {"path": "inbox", "after": "keep", "sidecar_wait_seconds": 1}
    with running(tmp_path, watch=[watch]) as house:
        image, sidecar = house.inbox / "latest.jpg", house.inbox / "latest.jpg.json"
        for number in range(6):
            is_first = number < 5
            for what in ("sidecar", "image") if is_first else ("image", "sidecar"):
                if what == "sidecar":
                    sidecar.write_text(json.dumps({"number": number}))
                else:
                    shutil.copyfile(PHOTOS[number % 3], house.inbox / "part")
                    (house.inbox / "part").rename(image)
            house.until(lambda number=number: len(house.records()) == number + 1)  # type: ignore[misc]
    assert [record["tags"]["number"] for record in house.records()] == [*range(6)]


def test_a_sidecar_that_comes_after_its_image_is_waited_for_and_goes_where_the_image_goes(
    tmp_path: Path,
) -> None:
    (tmp_path / "spent").mkdir()
    with running(tmp_path, watch=watches(name_pattern="(?P<number>[0-9]+)")) as house:
        (house.inbox / "x1.jpg.json").write_text('{"half')
        shutil.copyfile(PHOTOS[0], house.inbox / "x1.jpg")
        shutil.copy(PHOTOS[0], tmp_path / "spent" / "y2.jpg")
        (house.inbox / "z3.jpg").write_bytes(b"no picture")
        wait_until(lambda: house.counters()["waiting"] == 3)
        assert not house.records()
        (house.inbox / "x1.json").write_text('{"zone": "old"}')
        (tmp_path / "spent" / "y2.json").write_text('{"zone": "south", "captured": "2024-02-03T04:05:06Z"}')
        (house.inbox / "z3.jpg.json").write_text('{"zone": 7}')
        (house.inbox / "x1.jpg.json").write_text('{"zone": "north"}')
        house.until(lambda: len(house.records()) == 3 and house.waiting() == [house.inbox / "x1.json"])
        records = {record["image_path"]: record for record in house.records()}
        ignored = house.status()["stats"]["folders"].get("ignored", {"files": {}})
    assert {path: record["tags"] for path, record in records.items()} == {
        "x1.jpg": {"number": "1", "zone": "north"},
        "y2.jpg": {"number": "2", "zone": "south", "captured": "2024-02-03T04:05:06Z"},
        "z3.jpg": {"number": "3", "zone": 7},
    }
    assert records["y2.jpg"]["image"]["captured"] == "2024-02-03T04:05:06Z"
    assert not list((tmp_path / "spent").iterdir())
    assert names(house.processed) == ["x1.jpg", "x1.jpg.tags.json"]
    assert names(house.failed) == ["z3.jpg", "z3.jpg.reason.json", "z3.jpg.tags.json"]
    assert not ignored["files"]


def test_a_sidecar_is_filed_once_with_its_image_whenever_the_daemon_is_killed(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "sidecar_wait_seconds": 0}]})
    shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
    (house.inbox / "a.json").write_text('{"zone": "north"}')
    try:
        house.spawn("--once", **{VARIABLE: "in_filing"})
        assert house.ended() != 0
        house.spawn("--once")
        assert house.ended() == 0
    finally:
        house.kill()
    (record,) = house.records()
    assert record["tags"] == {"zone": "north"}
    assert names(house.processed) == ["a.jpg", "a.jpg.tags.json"]
    assert not house.waiting()


def test_an_image_that_is_put_back_with_its_filed_tags_has_them_again(tmp_path: Path) -> None:
    """Who tries another model moves both back from `processed`."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "sidecar_wait_seconds": 0}]})
    shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
    (house.inbox / "a.json").write_text('{"zone": "north"}')
    try:
        for _ in range(2):
            house.spawn("--once")
            assert house.ended() == 0
            assert names(house.processed) == ["a.jpg", "a.jpg.tags.json"]
            for name in names(house.processed):
                (house.processed / name).rename(house.inbox / name)
    finally:
        house.kill()
    assert [record["tags"] for record in house.records()] == [{"zone": "north"}] * 2
