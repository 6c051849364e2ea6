"""Clips in the inbox of the real daemon: each becomes one record, and none stands in an image's way."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import wait_until
from clips import make_clip, of_photos
from daemons import PHOTOS, House, dropsight, running
from dropsight import VideoInferenceRuntime
from dropsight.inference.clip_records import MOST_BYTES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of three photos, two seconds each."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = [picture for picture in of_photos(PHOTOS[:3]) for _ in range(20)]
    return {kind: make_clip(folder / f"clip.{kind}", pictures) for kind in ("mp4", "mkv", "ts")}


@pytest.fixture(scope="module")
def mixed(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A daemon that has met clips, images, and files that are neither, under each other's names."""
    root = tmp_path_factory.mktemp("mixed")
    watch: list[dict[str, Any]] = [
        {"path": "inbox"},
        {"path": "kept", "after": "keep"},
        {"path": "spent", "after": "delete"},
    ]
    house = House(root, {"watch": watch, "limits": {"max_bytes": "130kB"}})
    for folder in ("kept", "spent"):
        (root / folder).mkdir()
        shutil.copy(made["mkv"], root / folder / "clip.mkv")
    (house.inbox / "yard").mkdir()
    shutil.copy(made["mp4"], house.inbox / "yard" / "clip.MP4")
    shutil.copyfile(made["mp4"], house.inbox / "clip.jpg")
    shutil.copy(made["ts"], house.inbox / "clip.ts")
    shutil.copyfile(PHOTOS[0], house.inbox / "photo.jpg")
    shutil.copy(PHOTOS[0], house.inbox / "photo.mp4")
    (house.inbox / "script.ts").write_text("export const answer: number = 42;\n")
    (house.inbox / "list.avi").write_text(f"ffconcat version 1.0\nfile '{made['mp4']}'\n")
    (house.inbox / "nothing.mp4").touch()
    (house.inbox / "half.mp4").write_bytes(made["mp4"].read_bytes()[: made["mp4"].stat().st_size // 2])
    try:
        house.start()
        wait_until(lambda: house.finished() == 11, what="a record of each")
        house.until(lambda: not house.waiting(), what="an empty inbox")
        yield house
    finally:
        house.kill()


def by_path(house: House) -> dict[str, dict[str, Any]]:
    return {record["image_path"]: record for record in house.records()}


def test_a_clip_has_one_record_with_an_images_keys_and_the_answer_of_the_library(
    mixed: House, made: dict[str, Path]
) -> None:
    found = by_path(mixed)
    clip, photo = found["yard/clip.MP4"], found["photo.jpg"]
    assert (clip["kind"], photo["kind"]) == ("clip", "image")
    assert clip.keys() - photo.keys() == {"clip"}
    assert clip["camera"] == "yard"
    assert clip["latency_ms"]["total"] > clip["latency_ms"]["inference"] > 0
    with VideoInferenceRuntime() as runtime:
        same = runtime.predict(made["mp4"])
    assert clip["predictions"] == [
        {"class": each.class_index, "label": each.label, "confidence": each.confidence}
        for each in same.predictions
    ]
    assert [row[:2] for row in clip["clip"]["timeline"]] == [list(row[:2]) for row in same.clip.timeline]
    assert clip["image"]["bytes"] == made["mp4"].stat().st_size


def test_what_a_file_is_tells_its_content_and_not_its_name(mixed: House) -> None:
    found = by_path(mixed)
    assert len(found) == 10  # two of them have the same name, in two inboxes
    assert {name: record["kind"] for name, record in found.items() if record["status"] == "ok"} == {
        "yard/clip.MP4": "clip",
        "clip.jpg": "clip",
        "clip.ts": "clip",
        "clip.mkv": "clip",
        "photo.jpg": "image",
        "photo.mp4": "image",
    }
    assert {name: record["error"]["code"] for name, record in found.items() if "error" in record} == {
        "script.ts": "not_an_image",
        "list.avi": "not_an_image",
        "nothing.mp4": "empty",
        "half.mp4": "truncated",
    }


def test_clips_are_filed_away_as_images_are(mixed: House, made: dict[str, Path]) -> None:
    assert (mixed.processed / "yard/clip.MP4").read_bytes() == made["mp4"].read_bytes()
    assert (mixed.failed / "half.mp4.reason.json").exists()
    assert (mixed.root / "kept/clip.mkv").exists()
    assert not (mixed.root / "spent/clip.mkv").exists()


def test_clips_are_counted_for_themselves_and_slow_no_images_down(mixed: House) -> None:
    stats = mixed.status()["stats"]
    assert {"done": 5, "failed": 2, "waiting": 0}.items() <= stats["clips"].items()
    assert stats["counters"]["done"] == 7
    assert stats["latency_ms"]["since_start"]["total"]["count"] == 2
    assert "clips      5 done, 2 failed, 0 waiting" in dropsight("status", "-c", str(mixed.config)).stdout


@pytest.mark.slow
def test_a_clip_that_stays_where_it_is_has_no_second_record(mixed: House) -> None:
    """Neither at the next walk nor after a restart."""
    before = len(mixed.records())
    assert mixed.stop() == 0
    mixed.start()
    mixed.ask("rescan")
    shutil.copy(PHOTOS[1], mixed.inbox / "later.jpg")
    wait_until(lambda: len(mixed.records()) > before, what="the record of what came later")
    assert [record["image_path"] for record in mixed.records()[before:]] == ["later.jpg"]


def test_where_video_is_off_clips_are_ignored_files(tmp_path: Path, made: dict[str, Path]) -> None:
    (tmp_path / "inbox").mkdir()
    shutil.copy(made["mp4"], tmp_path / "inbox")
    with running(tmp_path, video=None) as house:
        wait_until(lambda: not house.status()["stats"]["folders"]["counting"])
        assert house.status()["stats"]["folders"]["ignored"]["files"] == {".mp4": 1}


@pytest.mark.slow
def test_without_pyav_clips_are_read_by_opencv_which_is_said_once(
    tmp_path: Path, made: dict[str, Path]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['av'] = None\n")
    environ = {"PYTHONPATH": str(tmp_path)}
    house = House(tmp_path, {})
    for number in range(2):
        shutil.copy(made["mkv"], house.inbox / f"{number}.mkv")
    done = dropsight("run", "--once", "-c", str(house.config), environ=environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("clips are read by OpenCV, which decodes every frame") == 1
    assert [(each["kind"], each["status"]) for each in house.records()] == [("clip", "ok")] * 2
    checked = dropsight("check", "-c", str(house.config), environ=environ)
    assert "warn  clips    clips are read by OpenCV" in checked.stdout
    assert "ok    clips    read by PyAV" in dropsight("check", "-c", str(house.config)).stdout


@pytest.mark.slow
def test_run_once_takes_clips(tmp_path: Path, made: dict[str, Path]) -> None:
    house = House(tmp_path, {})
    shutil.copy(made["mkv"], house.inbox)
    done = dropsight("run", "--once", "-c", str(house.config))
    assert done.returncode == 0, done.stderr
    assert [(each["kind"], each["status"]) for each in house.records()] == [("clip", "ok")]


@pytest.mark.slow
def test_a_record_stays_below_its_bound_however_many_frames_and_long_names(tmp_path: Path) -> None:
    """A thousand rows, and names of classes as long as a line."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"{number} {'x' * 150}" for number in range(1000)))
    settings = {"video": {"max_frames": 1000, "every_seconds": 0.01, "skip_still": False}}
    house = House(tmp_path, {**settings, "model": {"labels": str(labels)}})
    pictures = of_photos(PHOTOS, height=64, width=96)
    make_clip(house.inbox / "long.mp4", [pictures[number % len(pictures)] for number in range(200)])
    done = dropsight("run", "--once", "-c", str(house.config))
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "logs" / "results.jsonl").read_text().splitlines()
    assert len(line) <= MOST_BYTES + 100
    (record,) = house.records()
    assert record["clip"]["frames_classified"] == 200
    assert record["clip"]["timeline"]
    assert record["clip"]["segments"]
