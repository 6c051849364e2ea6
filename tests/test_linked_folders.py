"""`watch[].follow_links`: links to folders are cameras, where root or our own user made them."""

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Watch
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import destination
from dropsight.status.ignored import Ignored, Tally
from test_watch import mount, unmount

STRANGER = 12_345


@contextmanager
def following(root: Path, *others: dict[str, Any], **settings: Any) -> Iterator[House]:
    with running(root, watch=[{"path": "inbox", "follow_links": True, **settings}, *others]) as house:
        yield house


def linked(root: Path, name: str, *inside: str) -> Path:
    """Make a folder elsewhere and a link in the inbox to it; return the folder."""
    folder = root / "elsewhere" / name
    for path in (folder, *(folder / each for each in inside), root / "inbox"):
        path.mkdir(parents=True, exist_ok=True)
    (root / "inbox" / name).symlink_to(folder)
    return folder


def drop(folder: Path, number: int = 0) -> Path:
    shutil.copy(PHOTOS[number], folder)
    return folder / PHOTOS[number].name


def cameras(house: House) -> list[str]:
    return sorted(record["camera"] for record in house.records())


def ignored(house: House) -> dict[str, Any]:
    house.ask("rescan")
    found: dict[str, Any] = house.status()["stats"]["folders"]["ignored"]
    return found


def stranger_links(link: Path, place: Path) -> None:
    made = link.parent.parent / f"{link.name}-made-elsewhere"
    made.symlink_to(place)
    os.chown(made, STRANGER, STRANGER, follow_symlinks=False)
    made.rename(link)


@pytest.mark.slow
@pytest.mark.parametrize("observer", ["inotify", "polling"])
def test_a_link_to_a_folder_is_a_camera_from_start_to_filing(tmp_path: Path, observer: str) -> None:
    porch = linked(tmp_path, "porch", "sub")
    before = drop(porch)
    with following(tmp_path, observer=observer, poll_seconds=0.1) as house:
        wait_until((house.processed / "porch" / before.name).exists)
        drop(porch / "sub", 1)
        wait_until((house.processed / "porch" / "sub" / PHOTOS[1].name).exists)
        (porch / "bad.jpg").write_bytes(b"no picture")
        wait_until((house.failed / "porch" / "bad.jpg").exists)
        garden = linked(tmp_path, "garden")  # heard of as it comes
        (porch / "sub" / "new").mkdir()
        drop(porch / "sub" / "new", 2)
        drop(garden, 3)
        wait_until(lambda: house.finished() == 5)
        assert cameras(house) == ["garden", *["porch"] * 4]
        assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]
        assert not (house.processed / "porch").is_symlink()


@pytest.mark.slow
def test_status_and_check_say_which_links_are_followed_and_which_are_not(tmp_path: Path) -> None:
    porch = linked(tmp_path, "porch")
    (tmp_path / "inbox" / "loop").symlink_to(tmp_path / "inbox")
    (tmp_path / "inbox" / "twin").symlink_to(porch)
    (tmp_path / "inbox" / ".hidden").symlink_to(tmp_path / "elsewhere")
    with following(tmp_path) as house:
        (house.inbox / "later").symlink_to(tmp_path / "not-there-yet")
        wait_until(lambda: len(ignored(house)["unfollowed"]) == 3)
        why = {
            "later": "No such file or directory",
            "loop": "it points to this inbox, or to a folder above it",
            "twin": "it is already read under another name",
        }
        is_a_link = "is a link to a folder, which is not read"
        hidden = "give its target a watch of its own, with a camera, or set watch.follow_links"
        said = [f"{house.inbox}/.hidden {is_a_link}: {hidden}"]
        said += [f"{house.inbox}/{name} {is_a_link}: {fault}" for name, fault in why.items()]
        followed = f"{house.inbox}/porch is a link to {porch}, which is read"
        shown = dropsight("status", "-c", str(house.config)).stdout.splitlines()
        assert [line[11:] for line in shown if line.startswith("ignored ")] == said
        assert f"linked     {followed}" in shown
        found = dropsight("check", "-c", str(house.config)).stdout.splitlines()
        assert [line for line in found if line.startswith("warn  folders")] == [
            f"warn  folders  {line}" for line in said
        ]
        assert f"ok    folders  {followed}" in found


def test_loops_end_and_a_folder_with_two_links_is_looked_into_once(tmp_path: Path) -> None:
    porch, yard = linked(tmp_path, "porch", "deep"), linked(tmp_path, "yard")
    (tmp_path / "inbox" / "again").symlink_to(porch)
    (porch / "deep" / "up").symlink_to(porch)
    (porch / "deep" / "out").symlink_to(yard)
    (yard / "back").symlink_to(tmp_path / "inbox")
    (yard / "all").symlink_to(tmp_path)
    photos = [drop(porch, 0), drop(porch / "deep", 1), drop(yard, 2)]
    with following(tmp_path, after="keep") as house:
        wait_until(lambda: house.finished() == 3)
        for _ in range(2):
            ignored(house)
        drop(house.inbox, 3)
        wait_until(lambda: house.finished() == 4)
        assert len(house.records()) == 4
        assert cameras(house) == ["again", "again", "default", "yard"]
        assert all(photo.exists() for photo in photos)


def walked(root: Path) -> tuple[int, int, Ignored]:
    """Return how many images a walk finds, the bytes that it takes at most, and what it passes by."""
    folder, tally = DropFolder.open(Watch(path=root / "inbox", follow_links=True)), Tally()
    for _ in range(2):  # what is compiled and cached at the first is left out
        tracemalloc.start()
        count = sum(1 for _ in folder.entries(tally=tally))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return count, peak, tally.ignored()


def test_any_number_of_folders_behind_links_and_beside_them_takes_a_bounded_memory(tmp_path: Path) -> None:
    """Each was remembered, to end loops: 150 bytes without a bound."""
    porch = linked(tmp_path, "porch")
    peaks = []
    for count in range(0, 2000, 1000):
        for number in range(count, count + 1000):
            (porch / str(number)).mkdir()
            (tmp_path / "inbox" / str(number)).mkdir()
        peaks.append(walked(tmp_path)[1])
    names = 1000 * 150  # of one descent, up to its bound
    assert peaks[1] - peaks[0] < names


def test_what_lies_within_the_folder_of_another_link_is_read_there_but_for_what_is_passed_by(
    tmp_path: Path,
) -> None:
    porch = linked(tmp_path, "porch", "deep", ".hidden")
    for folder in (porch, porch / "deep", porch / ".hidden"):
        drop(folder)
    (tmp_path / "inbox" / "within").symlink_to(porch / "deep")
    (tmp_path / "inbox" / "zone").symlink_to(porch / ".hidden")
    count, _, passed = walked(tmp_path)
    assert count == 3
    assert list(passed.unfollowed) == [f"{tmp_path}/inbox/within"]


def test_so_many_links_are_followed_and_those_of_strangers_take_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropsight.intake.links.MOST_FOLLOWED", 2)
    for name in ("porch", "yard", "shed"):
        drop(linked(tmp_path, name))
    if os.geteuid() == 0:
        for number in range(4):
            stranger_links(tmp_path / "inbox" / f"a{number}", tmp_path / "elsewhere" / "porch")
    count, _, passed = walked(tmp_path)
    assert count == 2
    assert sum("2 links are followed already" in why for why in passed.unfollowed.values()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links to others")
def test_a_link_of_a_stranger_s_is_neither_read_nor_moved_from_nor_is_one_on_the_way_of_ours(
    tmp_path: Path,
) -> None:
    """Nor is what a stranger puts into the place that ours leads to, or into a folder behind it."""
    (secret := tmp_path / "secret").mkdir()
    kept, porch = drop(secret), linked(tmp_path, "porch", "sub")
    stranger_links(tmp_path / "inbox" / "theirs", secret)
    stranger_links(tmp_path / "way", secret)
    (tmp_path / "inbox" / "behind").symlink_to(tmp_path / "way")
    why = "only links owned by root or dropsight's user are followed (sudo chown -h root makes one root's)"
    with following(tmp_path) as house:
        drop(porch, 1)
        wait_until(lambda: house.finished() == 1)
        told = [str(house.inbox / name) for name in ("behind", "theirs")]
        wait_until(lambda: ignored(house)["unfollowed"] == dict.fromkeys(told, why))
        (porch / "sub").rename(porch / "other")
        stranger_links(porch / "sub", secret)
        told.append(str(house.inbox / "porch" / "sub"))
        wait_until(lambda: ignored(house)["unfollowed"] == dict.fromkeys(told, why))
        porch.rename(tmp_path / "elsewhere" / "before")
        stranger_links(porch, secret)
        told[2] = str(house.inbox / "porch")
        wait_until(lambda: ignored(house)["unfollowed"] == dict.fromkeys(told, why))
        drop(house.inbox, 2)
        wait_until(lambda: house.finished() == 2)
        assert cameras(house) == ["default", "porch"]
        assert list(secret.iterdir()) == [kept]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links to others")
def test_what_is_exchanged_for_a_link_after_the_walk_leads_nowhere(tmp_path: Path) -> None:
    """Paused, the daemon knows the image by its path, and opens it later."""
    porch, secret = linked(tmp_path, "porch", "sub"), tmp_path / "secret"
    secret.mkdir()
    with following(tmp_path) as house:
        wait_until(lambda: watches(house) == 3)
        house.ask("pause")
        name = drop(porch / "sub").name
        drop(porch, 1)
        wait_until(lambda: house.counters()["waiting"] == 2)
        for folder in (porch / "sub", porch):
            folder.rename(tmp_path / folder.name)
            stranger_links(folder, secret)  # one of our own would be a camera, if a walk came by meanwhile
        kept = [drop(secret, number) for number in (0, 1)]
        house.ask("resume")
        wait_until(lambda: house.counters()["waiting"] == 0)
        assert name == kept[0].name
        assert all(path.exists() for path in kept)
        assert not house.records()


@pytest.mark.slow
def test_links_to_what_is_dropsight_s_own_or_another_inbox_are_not_followed(tmp_path: Path) -> None:
    for name in ("processed", "other", "done", "state"):
        (tmp_path / name).mkdir()
        (tmp_path / "inbox").mkdir(exist_ok=True)
        (tmp_path / "inbox" / f"to-{name}").symlink_to(tmp_path / name)
    with following(tmp_path, {"path": "other", "processed": "done"}) as house:
        drop(house.inbox)
        drop(tmp_path / "other", 1)
        wait_until((tmp_path / "processed" / PHOTOS[0].name).exists)
        wait_until((tmp_path / "done" / PHOTOS[1].name).exists)
        wait_until(lambda: len(ignored(house)["unfollowed"]) == 4)
        assert house.finished() == 2


def test_a_link_that_is_taken_away_is_no_camera_any_more_and_holds_no_watch(tmp_path: Path) -> None:
    porch = linked(tmp_path, "porch", "sub")
    with following(tmp_path) as house:
        wait_until(lambda: watches(house) == 3)
        (house.inbox / "porch").unlink()
        house.ask("rescan")
        wait_until(lambda: watches(house) == 1)
        drop(porch)
        drop(house.inbox, 1)
        wait_until(lambda: house.finished() == 1)
        assert cameras(house) == ["default"]


def watches(house: House) -> int:
    assert house.process
    held = 0
    for path in Path(f"/proc/{house.process.pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            held += path.read_text().count("inotify wd")
    return held


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_link_to_a_disk_that_is_mounted_later_is_looked_into_as_it_comes(tmp_path: Path) -> None:
    disk = linked(tmp_path, "disk")
    with following(tmp_path) as house:
        wait_until(lambda: bool(ignored(house)["followed"]))
        mount(disk)
        try:
            drop(disk)
            wait_until(lambda: house.finished() == 1)
        finally:
            house.stop()
            unmount(disk)


def test_a_link_is_followed_by_the_rules_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "one").symlink_to("real/../real/./inner")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "file").touch()
    assert destination(f"{tmp_path}/two/../inner") == os.path.realpath(tmp_path / "real" / "inner")
    for path, error in (("round", OSError), ("file", NotADirectoryError), ("nothing", FileNotFoundError)):
        with pytest.raises(error):
            destination(str(tmp_path / path))
