"""What strangers plant where images come from and go to: no link is followed, filed, or written through."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, SAMPLES, House, dropsight, running
from dropsight.crashpoints import VARIABLE
from dropsight.files import beneath
from dropsight.files.beneath import Top, open_folder
from dropsight.records import drop_id
from torture import small_pictures

BROKEN = b"no picture"
SECRET = b"dropsight's own"


def id_of(path: Path, relative: str) -> str:
    stat = path.stat()
    return drop_id("test", relative.encode(), stat.st_size, stat.st_mtime_ns)


def move_in(image: Path, inbox: Path) -> None:
    """At once, and finished."""
    os.rename(image, inbox / image.name)  # noqa: PTH104 - within one file system only


def trouble(house: House) -> str:
    return str(house.status()["troubles"].get("filing", ""))


@contextmanager
def secrets(root: Path, *names: str) -> Iterator[Path]:
    """A folder of files that only the daemon may touch; they are untouched in the end."""
    folder = root / "secrets"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(SECRET)
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    yield folder
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before


@pytest.fixture(params=["openat2", "name by name"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's own way, and with that of kernels and filters that do not know it."""
    if request.param == "name by name":
        monkeypatch.setattr(beneath, "_OPENAT2", 100_000)  # no such call


@pytest.mark.usefixtures("opening")
def test_a_folder_is_opened_through_no_link_and_made_where_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "link").symlink_to("inner")
    for way in ("link", "link/inner", "real/link", "real/link/new"):
        for make in (False, True):
            with pytest.raises(NotADirectoryError, match="a link or a file is now"):
                open_folder(str(tmp_path / way), make=make)
    with pytest.raises(FileNotFoundError):
        open_folder(str(tmp_path / "real" / "new" / "er"))
    os.close(open_folder(str(tmp_path / "real" / "new" / "er"), make=True))
    assert (tmp_path / "real" / "new" / "er").is_dir()


def test_a_folder_of_the_config_may_be_a_link_but_none_that_lies_in_the_inbox(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "inbox").symlink_to("real")
    (tmp_path / "real" / "failed").symlink_to(tmp_path)
    inbox = Top.at(tmp_path / "inbox")
    with inbox.inside() as fd:
        assert os.path.samestat(os.fstat(fd), (tmp_path / "real").stat())
    with pytest.raises(NotADirectoryError), inbox.below(tmp_path / "inbox" / "failed").inside():
        pass


@pytest.mark.slow
def test_links_planted_in_failed_are_replaced_and_what_they_lead_to_is_left(tmp_path: Path) -> None:
    """The names of the reason and of what becomes it can be foretold."""
    with secrets(tmp_path, "reason", "part") as secret, running(tmp_path) as house:
        image = tmp_path / "x.jpg"
        image.write_bytes(BROKEN)
        os.utime(image, (1, 1))
        house.failed.rmdir()
        house.failed.mkdir()
        (house.failed / "x.jpg.reason.json").symlink_to(secret / "reason")
        (house.failed / f"{id_of(image, 'x.jpg')}.dropsight-part").symlink_to(secret / "part")
        move_in(image, house.inbox)
        wait_until((house.failed / "x.jpg").exists)
        wait_until(lambda: len(house.records()) == 1)
        left = sorted((path.name, path.is_symlink()) for path in house.failed.iterdir())
        assert left == [("x.jpg", False), ("x.jpg.reason.json", False)]


@pytest.mark.slow
def test_a_link_in_the_place_of_processed_takes_nothing_and_that_is_told(tmp_path: Path) -> None:
    with secrets(tmp_path) as secret, running(tmp_path) as house:
        house.processed.rename(tmp_path / "away")
        house.processed.symlink_to(secret)
        shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
        wait_until(lambda: "cannot store finished images: a link or a file is now" in trouble(house))
        assert house.counters()["waiting"] == 1
        house.processed.unlink()
        house.processed.mkdir()
        wait_until((house.processed / "x.jpg").exists)
        wait_until(lambda: not trouble(house))
        assert len(house.records()) == 1


@pytest.mark.slow
def test_a_link_put_where_failed_lies_in_the_inbox_is_not_followed_by_the_next_start_either(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "failed": "inbox/failed"}]})
    with secrets(tmp_path) as secret:
        (house.inbox / "failed").symlink_to(secret)
        (house.inbox / "x.jpg").write_bytes(BROKEN)
        house.start()
        try:
            wait_until(lambda: "a link or a file is now" in trouble(house))
            (house.inbox / "failed").unlink()
            wait_until((house.inbox / "failed" / "x.jpg").exists)
        finally:
            house.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dangling", "loop", "chain", "file"])
def test_whatever_stands_where_failed_lies_in_the_inbox_keeps_no_start_from_working(
    tmp_path: Path, kind: str
) -> None:
    """It was a fault of the config, exit 2: systemd keeps the service down for good."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "failed": "inbox/failed"}]})
    failed = house.inbox / "failed"
    if kind == "file":
        failed.touch()
    elif kind == "chain":
        for number in range(1_500):
            (house.inbox / f"{number}").symlink_to(f"{number + 1}")
        failed.symlink_to("0")
    else:
        failed.symlink_to("failed" if kind == "loop" else "nowhere")
    (house.inbox / "x.jpg").write_bytes(BROKEN)
    shutil.copyfile(PHOTOS[0], house.inbox / "good.jpg")
    house.start()
    try:
        wait_until((house.processed / "good.jpg").exists)
        wait_until(lambda: "a link or a file is now" in trouble(house))
        failed.unlink()
        wait_until((failed / "x.jpg").exists)
    finally:
        house.kill()


@pytest.mark.slow
def test_an_image_of_a_camera_whose_folder_in_processed_is_a_link_lies_at_the_top(tmp_path: Path) -> None:
    with secrets(tmp_path) as secret, running(tmp_path) as house:
        (house.processed / "cam").symlink_to(secret)
        (house.inbox / "cam").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "cam" / "x.jpg")
        house.until(lambda: not house.waiting())
        (filed,) = house.processed.glob("x.*.jpg")
        assert filed.read_bytes() == PHOTOS[0].read_bytes()


@pytest.mark.slow
def test_no_link_is_filed_so_that_no_later_image_is_written_through_it(tmp_path: Path) -> None:
    with secrets(tmp_path, "x.jpg.reason.json") as secret, running(tmp_path) as house:
        (house.inbox / "cam.jpg").symlink_to(secret)
        wait_until(lambda: len(house.records()) == 1)
        wait_until(lambda: not (house.inbox / "cam.jpg").is_symlink())
        (tmp_path / "cam.jpg").mkdir()
        (tmp_path / "cam.jpg" / "x.jpg").write_bytes(BROKEN)
        move_in(tmp_path / "cam.jpg", house.inbox)
        wait_until((house.failed / "cam.jpg" / "x.jpg").exists)
        assert (house.failed / "cam.jpg" / "x.jpg.reason.json").exists()
        assert (house.failed / "cam.jpg.reason.json").exists()
        wait_until(lambda: len(house.records()) == 2)
        assert {record["error"]["code"] for record in house.records()} == {"not_a_file", "not_an_image"}


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_camera_s_folder_that_became_a_link_while_its_file_was_open_leads_nowhere(
    tmp_path: Path, after: str
) -> None:
    with (
        secrets(tmp_path, "b.jpg") as secret,
        running(tmp_path, watch=[{"path": "inbox", "after": after}]) as house,
    ):
        folder = house.inbox / "cam"
        folder.mkdir()
        shutil.copy(PHOTOS[0], secret / "a.jpg")
        with (folder / "a.jpg").open("wb") as file:
            file.write(PHOTOS[1].read_bytes())
            file.flush()
            wait_until(lambda: house.counters()["postponed"] == 1)
            folder.rename(tmp_path / "away")
            folder.symlink_to(secret)
        house.ask("rescan")
        wait_until(lambda: house.counters()["waiting"] == 0)
        shutil.copyfile(PHOTOS[0], house.inbox / "other.jpg")
        wait_until(lambda: not (house.inbox / "other.jpg").exists())
        assert [record["image_path"] for record in house.records()] == ["other.jpg"]
        assert (secret / "a.jpg").read_bytes() == PHOTOS[0].read_bytes()
        (secret / "a.jpg").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_camera_s_folder_that_became_a_link_before_the_filing_gives_nothing_away(
    tmp_path: Path, after: str
) -> None:
    """Not even a file of the same size and time."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": after}]})
    folder = house.inbox / "cam"
    folder.mkdir()
    shutil.copy(PHOTOS[0], folder / "a.jpg")
    shutil.copytree(folder, tmp_path / "secret", copy_function=shutil.copy2)
    try:
        house.spawn(**{VARIABLE: "after_commit"})
        assert house.ended() == -9
        folder.rename(tmp_path / "away")
        folder.symlink_to(tmp_path / "secret")
        house.start()
        shutil.copyfile(PHOTOS[1], house.inbox / "other.jpg")
        wait_until(lambda: not (house.inbox / "other.jpg").exists())
        assert house.stop() == 0
    finally:
        house.kill()
    assert (tmp_path / "secret" / "a.jpg").exists()
    assert (tmp_path / "away" / "a.jpg").exists()
    assert len(house.records()) == 2


def test_who_has_a_second_name_of_a_picture_cannot_alter_what_was_filed(tmp_path: Path) -> None:
    image, mine = tmp_path / "x.jpg", tmp_path / "mine.jpg"
    with running(tmp_path) as house:
        shutil.copy(PHOTOS[0], image)
        image.chmod(0o6775)
        os.link(image, mine)
        move_in(image, house.inbox)
        filed = house.processed / "x.jpg"
        wait_until(filed.exists)
        house.until(lambda: not house.waiting())
        mine.write_bytes(b"another picture")
        assert filed.read_bytes() == PHOTOS[0].read_bytes()
        # It belongs to dropsight now, as whom nobody else is to run anything.
        assert (filed.stat().st_nlink, oct(filed.stat().st_mode & 0o7777)) == (1, "0o664")
        assert len(house.records()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before_copied", "in_copying", "in_deleting"])
def test_an_image_with_a_second_name_is_filed_once_though_its_copying_was_killed(
    tmp_path: Path, point: str
) -> None:
    house = House(tmp_path, {})
    shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
    os.link(house.inbox / "x.jpg", tmp_path / "mine.jpg")
    try:
        house.spawn(**{VARIABLE: point})
        assert house.ended() == -9
        house.start()
        house.until(lambda: not house.waiting())
        assert house.stop() == 0
    finally:
        house.kill()
    assert [path.name for path in house.processed.iterdir()] == ["x.jpg"]
    assert len(house.records()) == 1


@pytest.mark.slow
def test_a_deletion_that_was_killed_is_finished_by_the_next_start(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": "delete"}]})
    shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
    try:
        house.spawn(**{VARIABLE: "in_deleting"})
        assert house.ended() == -9
        (hidden,) = house.inbox.iterdir()
        assert hidden.name.startswith(".")
        house.start()
        assert list(house.inbox.iterdir()) == []
        assert house.stop() == 0
    finally:
        house.kill()
    assert len(house.records()) == 1


@pytest.mark.slow
def test_an_overlay_is_written_through_no_link(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 1.0, "every": 0}})
    with secrets(tmp_path, "part") as secret:
        shutil.copyfile(SAMPLES / "coffee.jpg", house.inbox / "x.jpg")
        house.processed.mkdir()
        name = f"x.{id_of(house.inbox / 'x.jpg', 'x.jpg')[:12]}.why.jpg"
        (house.processed / f"{name}.part").symlink_to(secret / "part")
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        assert sorted(path.name for path in house.processed.iterdir()) == sorted([name, "x.jpg"])


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete"])
def test_of_pictures_exchanged_under_the_daemon_s_hands_none_is_filed_or_deleted_without_a_record(
    tmp_path: Path, after: str
) -> None:
    """Somebody takes pictures away again and puts others in their place, as fast as can be."""
    with running(tmp_path, watch=[{"path": "inbox", "after": after}]) as house:
        dropped, taken = exchange_pictures(house, 200)
        house.until(lambda: not house.waiting() and house.counters()["waiting"] == 0)
        if after == "move":
            filed = [path for path in house.processed.iterdir() if path.suffix == ".jpg"]
            assert len(filed) + len(taken) == len(dropped)
        assert house.stop() == 0
    records = house.records()
    unknown = dropped - taken - {record["id"] for record in records}
    # What had to go back while its name was taken has another, and a record under that.
    assert len(unknown) == sum(record["image_path"] != "x.jpg" for record in records)
    assert "Traceback" not in house.daemon_log()


def exchange_pictures(house: House, count: int) -> tuple[set[str], set[str]]:
    """Tell the ids of all that were dropped, and of those that were taken away again."""
    chance, pictures = random.Random(1), list(small_pictures())  # noqa: S311 - repeatable, not secret
    dropped, taken = set(), set()
    staged, away = house.root / "staged.jpg", house.root / "away.jpg"
    here, inbox = os.open(house.root, os.O_PATH), os.open(house.inbox, os.O_PATH)
    for number in range(count):
        staged.write_bytes(pictures[number % len(pictures)])
        os.utime(staged, ns=(0, 10**18 + number))
        dropped.add(id_of(staged, "x.jpg"))
        while True:
            with suppress(FileExistsError):
                beneath.rename_new("staged.jpg", "x.jpg", fd=here, target_fd=inbox)
                break
            if chance.random() < 0.0002:
                with suppress(FileNotFoundError):
                    (house.inbox / "x.jpg").rename(away)
                    taken.add(id_of(away, "x.jpg"))
    os.close(here)
    os.close(inbox)
    return dropped, taken
