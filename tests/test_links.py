"""Links and mounts give folders and images further names; what has two is taken once."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running
from test_watch import unmount

INSIDE = {"processed": "inbox/processed", "failed": "inbox/failed"}


def faults_of(root: Path, *watches: dict[str, str]) -> list[str]:
    (root / "c.yaml").write_text(yaml.safe_dump({"mqtt": None, "web": None, "watch": list(watches)}))
    done = dropsight("check", "-c", str(root / "c.yaml"))
    assert done.returncode == 2
    return [line.split(maxsplit=2)[2] for line in done.stdout.splitlines() if line.startswith("FAIL")]


def test_an_image_is_taken_once_where_the_inbox_is_a_link_and_processed_lies_in_its_target(
    tmp_path: Path,
) -> None:
    (tmp_path / "link").symlink_to("inbox")
    watch = {"path": "link", **INSIDE, "observer": "polling", "poll_seconds": 0.1}
    with running(tmp_path, watch=[watch]) as house:
        (house.inbox / "front").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "front")
        wait_until((house.inbox / "processed" / "front" / PHOTOS[0].name).exists)
        for _ in range(3):
            house.ask("rescan")
            shutil.copy(PHOTOS[1], house.inbox / "front")
            wait_until(lambda: not (house.inbox / "front" / PHOTOS[1].name).exists())
        assert len(house.records()) == 4
        assert {record["camera"] for record in house.records()} == {"front"}


def test_an_image_is_taken_once_where_processed_is_mounted_into_the_inbox(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "observer": "polling", "poll_seconds": 0.1}]})
    house.processed.mkdir()
    (view := house.inbox / "view").mkdir()
    if subprocess.run(
        ["mount", "--bind", house.processed, view], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting needs root")
    try:
        house.start()
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox)
            wait_until((view / photo.name).exists)
        assert len(house.records()) == 3
    finally:
        house.kill()
        unmount(view)


@pytest.mark.slow
def test_folders_that_lie_in_each_other_by_another_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inbox" / "front").mkdir(parents=True)
    (tmp_path / "link").symlink_to("inbox")
    (tmp_path / "inner").symlink_to("inbox/front")
    inbox, link, inner = ({"path": name} for name in ("inbox", "link", "inner"))
    at = str(tmp_path)
    assert faults_of(tmp_path, inbox, link) == [
        f"watch.1.path: {at}/link is already watched under another name; watch it once"
    ]
    assert faults_of(tmp_path, inbox, inner) == [
        f"watch.1.path: {at}/inner is inside watch.0.path, under another name; give a folder outside it"
    ]
    assert faults_of(tmp_path, {**inbox, "processed": "link"}) == [
        f"watch.0.processed: {at}/link is watch.0.path itself, under another name; give another folder"
    ]


def test_a_link_to_an_image_of_the_same_inbox_is_passed_by_and_one_that_leads_out_is_a_failure(
    tmp_path: Path,
) -> None:
    """The camera daemon motion renews `lastsnap.jpg` with each snapshot."""
    with running(tmp_path) as house:
        (house.inbox / "front").mkdir()
        last = house.inbox / "front" / "lastsnap.jpg"
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox / "front")
            last.unlink(missing_ok=True)
            last.symlink_to(photo.name)
            wait_until((house.processed / "front" / photo.name).exists)
        house.ask("rescan")
        (house.inbox / "out.jpg").symlink_to(PHOTOS[0])
        wait_until(lambda: len(house.records()) == 4)
        assert [record["image_path"] for record in house.records() if record["status"] != "ok"] == ["out.jpg"]
        assert last.is_symlink()
        wait_until(lambda: house.counters()["waiting"] == 0)


def test_links_that_lead_to_links_without_an_end_hold_up_no_walk(tmp_path: Path) -> None:
    """Following 1,500 of them was more than Python's stack takes; each is followed nowhere."""
    house = House(tmp_path, {})
    for number in range(1_500):
        (house.inbox / f"{number}.jpg").symlink_to(f"{number + 1}.jpg")
    shutil.copyfile(PHOTOS[0], house.inbox / "there-before.jpg")
    try:
        house.start()
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok"
        assert house.status()["troubles"] == {}
    finally:
        house.kill()


@pytest.mark.slow
def test_a_link_planted_where_failed_lies_blinds_no_camera_and_keeps_no_start_from_working(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", **INSIDE}]})
    (house.inbox / "front").mkdir()
    (house.inbox / "failed").symlink_to("front")
    house.start()
    try:
        shutil.copy(PHOTOS[0], house.inbox / "front")
        wait_until((house.inbox / "processed" / "front" / PHOTOS[0].name).exists)
        assert house.stop() == 0
        (house.inbox / "failed").unlink()
        (house.inbox / "failed").symlink_to(house.inbox)
        house.start()
        shutil.copy(PHOTOS[1], house.inbox / "front")
        wait_until((house.inbox / "processed" / "front" / PHOTOS[1].name).exists)
        (house.inbox / "failed").unlink()
        (house.inbox / "x.jpg").write_bytes(b"no picture")
        wait_until((house.inbox / "failed" / "x.jpg").exists)
        house.ask("rescan")
        (house.inbox / "y.jpg").write_bytes(b"no picture")
        wait_until((house.inbox / "failed" / "y.jpg").exists)
        assert len(house.records()) == 4
    finally:
        house.kill()
