"""Which camera an image is of, and which cameras are expected."""

import shutil
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, dropsight, faults, running
from dropsight.config import Watch
from dropsight.intake.folder import DropFolder
from webs import ANY_PORT, address, ask

DAHUA = "2026-11-27/001/jpg/12/30/00[M][0@0][0].jpg"


@pytest.mark.parametrize(
    ("said", "image", "camera"),
    [
        (None, "front/a.jpg", "front"),
        (None, "a.jpg", "default"),
        (None, "1/2026/11/a.jpg", "1"),
        (None, "2026/11/27/12/a.jpg", "default"),
        (None, "20261127/front/a.jpg", "front"),
        (None, "2026-11-27/2026-11-27_12/a.jpg", "default"),
        (None, "2026-11-27T12/back/a.jpg", "back"),
        (None, "porch/2026Y12M17D11H/a.jpg", "porch"),
        (None, "2026Y12M17D11H/a.jpg", "default"),
        (None, DAHUA, "001"),
        (None, "2099 street/a.jpg", "2099 street"),
        ("yard", DAHUA, "yard"),
        (1, "20261127/front/a.jpg", "20261127"),
        (2, "20261127/front/a.jpg", "front"),
        (2, "20261127/a.jpg", "default"),
        ("([^/_]+)_[0-9]+[.]jpg$", "in/porch_0815.jpg", "porch"),
        ("([^/_]+)_[0-9]+[.]jpg$", "in/other.jpg", "default"),
    ],
)
def test_the_camera_is_the_first_folder_that_is_no_date_or_what_the_watch_says(
    said: str | int | None, image: str, camera: str
) -> None:
    assert DropFolder.open(Watch(path=Path("/in"), camera=said)).camera(f"/in/{image}") == camera


def test_images_of_a_date_tree_are_of_one_camera_by_folder_by_number_and_by_name(tmp_path: Path) -> None:
    named = {"path": "yard", "camera": "yard"}
    with running(tmp_path, watch=[{"path": "inbox"}, named]) as house:
        for day, photo in enumerate(PHOTOS[:3]):
            for inbox in (house.inbox, tmp_path / "yard"):
                folder = inbox / f"2026-11-2{day}" / "jpg"
                folder.mkdir(parents=True)
                shutil.copy(photo, folder)
        wait_until(lambda: len(house.records()) == 6)
        assert sorted(record["camera"] for record in house.records()) == ["jpg"] * 3 + ["yard"] * 3


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("camera: 0", "watch.0.camera: is 0, and folders below the inbox count from 1"),
        (
            'camera: "(a"',
            "watch.0.camera: is not a valid pattern: missing ), unterminated subpattern at position 0",
        ),
        ('camera: "(?:a)"', "watch.0.camera: has no group; put what is the name in brackets"),
        ("camera: a/b", "watch.0.camera: is not a name; give one without /"),
        ('name_pattern: "(a"', "watch.0.name_pattern: is not a valid pattern: missing )"),
        (f'name_pattern: "{"(" * 3_000}a{")" * 3_000}"', "watch.0.name_pattern: is not a valid pattern"),
        ('name_pattern: "(a)"', "watch.0.name_pattern: has no named group; the name is the tag's"),
        ('name_pattern: "(?P<a>(x+)+)y"', "watch.0.name_pattern: has nested repetition"),
        ('camera: "(.*)_.*_.*_.*_.*z"', "watch.0.camera: is ambiguous about where its parts end"),
        ('ignore: ["a/b"]', "watch.0.ignore.0: matches no folder: give a name alone"),
        ('ignore: [".git"]', "watch.0.ignore.0: matches no folder: give a name alone"),
    ],
)
def test_what_names_no_camera_no_tag_and_no_folder_is_refused(tmp_path: Path, said: str, fault: str) -> None:
    (tmp_path / "c.yaml").write_text(f"watch: [{{{said}}}]\n")
    done = dropsight("check", "-c", str(tmp_path / "c.yaml"))
    assert done.returncode == 2
    assert fault in faults(done)[0]


def test_an_expected_camera_is_known_from_the_start_and_silent_if_it_never_sends(tmp_path: Path) -> None:
    watch = {"path": "inbox", "silence": 0.5, "cameras": ["front", "back"]}
    with running(tmp_path, web=ANY_PORT, watch=[watch]) as house:
        metrics = ask(address(house), "/metrics").body.decode()
        for camera in ("front", "back"):
            assert any(
                f'camera="{camera}"' in line and line.endswith(" 0.0") for line in metrics.splitlines()
            )
            wait_until(lambda camera=camera: "silent" in house.status()["stats"]["problems"].get(camera, {}))  # type: ignore[misc]
        (house.inbox / "front").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "front")
        wait_until(lambda: "no longer silent" in house.daemon_log())
