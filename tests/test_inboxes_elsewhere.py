"""Inboxes on other disks than the journal: what waits for their disks holds up nobody else."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, bounded_by
from disks import small_disk
from dropsight.config import Watch
from dropsight.crashpoints import HANG_VARIABLE, VARIABLE
from dropsight.files.reserve import Reserve
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.slow_inboxes import MOST_UNSYNCED, SlowInboxes
from dropsight.journal.inbox_threads import InboxThreads
from dropsight.journal.near_places import NearPlaces
from dropsight.journal.recording import Finished, durable
from dropsight.status.heartbeats import Heartbeats
from records import failure, result
from test_watch import drop, is_taken


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another disk, with an inbox in it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("tests lie on the only other disk there is")
        (Path(folder) / "inbox").mkdir()
        yield Path(folder)


def two_inboxes(root: Path, elsewhere: Path, **more: object) -> House:
    there = {name: str(elsewhere / name) for name in ("processed", "failed")}
    watch = [{"path": str(elsewhere / "inbox"), **there, **more}, {"path": "inbox"}]
    return House(root, {"watch": watch})


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "keep", "delete"])
def test_a_disk_that_does_not_get_done_with_syncing_holds_up_no_record_and_no_stop(
    tmp_path: Path, elsewhere: Path, after: str
) -> None:
    """While others wrote 400 MB to it, the recorder waited: of another inbox 8 of 80 were recorded."""
    house = two_inboxes(tmp_path, elsewhere, after=after)
    try:
        house.spawn(**{HANG_VARIABLE: "in_syncing_apart"})
        wait_until(house.answers)
        mine = Path(shutil.copy(PHOTOS[0], elsewhere / "inbox" / "1.jpg"))
        wait_until(lambda: house.counters()["in_hand"] == 1)
        for number in range(6):
            is_taken(drop(house.inbox, number))
        assert len(house.records()) == 6
        assert mine.exists()
        assert house.stop() == 0
        house.start()
        wait_until(lambda: len(house.records()) == 7)
        wait_until(lambda: mine.exists() is (after == "keep"))
    finally:
        house.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["in_syncing_apart:2", "before_commit:2", "after_commit:2", "in_filing:5", "after_settle"]
)
def test_of_an_inbox_on_another_disk_nothing_is_lost_or_recorded_twice_across_a_kill(
    tmp_path: Path, elsewhere: Path, point: str
) -> None:
    house = two_inboxes(tmp_path, elsewhere)
    for number in range(12):
        shutil.copy(PHOTOS[number % 2], elsewhere / "inbox" / f"{number}.jpg")
    try:
        house.spawn(**{VARIABLE: point})
        assert house.ended() < 0
        house.start()
        wait_until(lambda: len(house.records()) == 12)
        wait_until(lambda: not list((elsewhere / "inbox").iterdir()))
        assert house.stop() == 0
        names = sorted(Path(record["image_path"]).name for record in house.records())
        assert names == sorted(f"{number}.jpg" for number in range(12))
        assert len(list((elsewhere / "processed").iterdir())) == 12
        with house.journal() as journal:  # retention deletes what is on the shelf
            shelved = journal.execute("SELECT count(*) FROM shelf").fetchone()
            filed = journal.execute("SELECT count(*) FROM record WHERE filed = 1").fetchone()
        assert (shelved, filed) == ((12,), (12,))
    finally:
        house.kill()


@pytest.mark.slow
def test_a_start_waits_for_no_look_at_what_is_still_to_be_filed_on_another_disk(
    tmp_path: Path, elsewhere: Path
) -> None:
    """With 500 such images on a share of 0.3 s a call, nobody was ready after 200 s."""
    house = two_inboxes(tmp_path, elsewhere)
    mine = Path(shutil.copy(PHOTOS[0], elsewhere / "inbox" / "1.jpg"))
    try:
        house.spawn(**{VARIABLE: "after_commit"})
        assert house.ended() < 0
        house.spawn(**{HANG_VARIABLE: "in_looking_for:1.jpg"})
        wait_until(house.answers)
        is_taken(drop(house.inbox))
        assert mine.exists()
        house.start()
        is_taken(mine)
        assert sorted(record["image_path"] for record in house.records())[:1] == ["1.jpg"]
        assert len(house.records()) == 2
    finally:
        house.kill()


@pytest.mark.slow
def test_a_thread_of_an_inbox_ends_when_it_has_nothing_to_do_and_begins_again(
    tmp_path: Path, elsewhere: Path
) -> None:
    house = two_inboxes(tmp_path, elsewhere)
    house.under = bounded_by("dropsight.journal.inbox_threads", IDLE_SECONDS=0.0)
    try:
        house.start()
        for number in range(4):
            is_taken(drop(elsewhere / "inbox", number))
        assert len(house.records()) == 4
    finally:
        house.kill()


def test_what_is_put_while_a_thread_ends_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropsight.journal.inbox_threads.IDLE_SECONDS", 0.0)
    done = list[int]()
    threads = InboxThreads[int](
        "counting", lambda _: done.extend, heartbeats=Heartbeats(), reserve=Reserve(), done=lambda: None
    )
    folder = DropFolder.open(Watch(path=tmp_path))
    for number in range(2_000):
        threads.put(folder, number)
    wait_until(lambda: threads.busy == 0)
    assert done == list(range(2_000))


@pytest.mark.parametrize("where", ["processed", "processed/cam"])
def test_what_is_mounted_where_images_go_is_known_without_touching_it(tmp_path: Path, where: str) -> None:
    """The recorder went there, and all waited for a share that did not answer."""
    for name in ("inbox", "processed", "failed"):
        (tmp_path / name).mkdir()
    folder = DropFolder.open(
        Watch(path=tmp_path / "inbox", processed=tmp_path / "processed", failed=tmp_path / "failed")
    )
    (image := tmp_path / "inbox" / "a.jpg").touch()
    record, stat = result("a.jpg", image.stat()), image.stat()
    entry = durable(
        1, Finished(Candidate(folder, str(image), closed=True, ready_at=0.0), stat, record), b"{}"
    )
    near = NearPlaces(SlowInboxes(tmp_path))
    near.open([folder])
    assert near.is_near(entry)
    with small_disk(tmp_path / where):
        wait_until(lambda: not near.is_near(entry))
        assert near.has(folder, failure("a.jpg", stat, "unreadable"))


def test_while_many_of_an_inbox_wait_for_its_disk_only_others_are_handed_out(tmp_path: Path) -> None:
    waits, quick = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("waits", "quick"))
    backlog = Backlog()
    backlog.waits_for_disk(waits, MOST_UNSYNCED)
    for folder in (waits, quick):
        backlog.hint(folder, f"{folder.root}/0.jpg", closed=True)
    first = backlog.take()
    assert first
    assert first.folder is quick
    taken = []
    thread = threading.Thread(target=lambda: taken.append(backlog.take()))
    thread.start()
    backlog.waits_for_disk(waits, -1)  # of which it is heard
    thread.join(10.0)
    assert [each and each.folder for each in taken] == [waits]
