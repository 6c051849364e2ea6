"""One inbox, one journal and one log have one dropsight: another waits, and no stranger can hold it up."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, faults, running
from dropsight.files.locks import InboxLock
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal
from dropsight.sinks.notify.notification_queue import NotificationQueue
from test_reload import hang_up, rewrite

STRANGER_ID = 12345
STRANGER = f"""
import os, socket, sys, time
os.setuid({STRANGER_ID})
lock = socket.socket(socket.AF_UNIX)
print("asks", flush=True)
while True:
    try:
        lock.bind(chr(0) + sys.argv[1])
        break
    except OSError:
        time.sleep(0.0005)
lock.listen()
print("has it", flush=True)
sys.stdin.read()
"""


@contextmanager
def lock_of_a_stranger(path: Path, *, at_once: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process of another user that has the lock, or takes it as soon as it is free."""
    name, pipe = "dropsight-inbox-{0.st_dev:x}-{0.st_ino:x}".format(path.stat()), subprocess.PIPE
    arguments = [sys.executable, "-c", STRANGER, name]
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True, cwd="/")
    assert process.stdout
    try:
        assert process.stdout.readline() == "asks\n"
        if at_once:
            assert process.stdout.readline() == "has it\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def house_at(root: Path, **settings: Any) -> House:
    root.mkdir()
    return House(root, settings)


@pytest.mark.slow
def test_a_second_dropsight_on_an_inbox_waits_until_the_first_ends(tmp_path: Path) -> None:
    first = house_at(tmp_path / "a")
    second = house_at(tmp_path / "b", watch=[{"path": str(first.inbox)}])
    first.start()
    second.spawn()
    try:
        who = f"another dropsight (process {first.process.pid if first.process else None})"
        says = f"watch: {first.inbox} is already watched by {who}, which has to end first"
        wait_until(lambda: says in second.daemon_log())
        shutil.copy(PHOTOS[0], first.inbox)
        wait_until(lambda: first.finished() == 1)
        assert first.stop() == 0
        wait_until(second.answers)
        shutil.copy(PHOTOS[1], first.inbox)
        wait_until(lambda: second.finished() == 1)
    finally:
        first.kill()
        second.kill()
    assert [len(house.records()) for house in (first, second)] == [1, 1]


@pytest.mark.slow
def test_an_inbox_that_is_watched_from_two_network_namespaces_loses_nothing(tmp_path: Path) -> None:
    """As of two containers, which do not see each other's locks."""
    first = house_at(tmp_path / "a")
    second = house_at(tmp_path / "b", watch=[{"path": str(first.inbox)}])
    second.under = ("unshare", "--net")
    if subprocess.run([*second.under, "true"], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces need root")
    try:
        first.start()
        second.start()
        for number in range(20):
            shutil.copy(PHOTOS[number % len(PHOTOS)], first.inbox / f"{number}.jpg")
        names = {f"{number}.jpg" for number in range(20)}
        wait_until(lambda: {path.name for path in tmp_path.glob("[ab]/processed/*")} == names)
        assert first.stop() == second.stop() == 0
        records = [*first.records(), *second.records()]
        assert {record["image_path"] for record in records} == names
        assert {record["status"] for record in records} == {"ok"}
        assert not first.waiting()
    finally:
        first.kill()
        second.kill()


@pytest.mark.slow
def test_a_second_dropsight_on_a_log_waits_until_the_first_ends(tmp_path: Path) -> None:
    first = house_at(tmp_path / "a")
    log = tmp_path / "a" / "logs" / "results.jsonl"
    second = house_at(tmp_path / "b", log={"path": str(log)})
    first.start()
    second.spawn()
    try:
        wait_until(lambda: f"log.path: {log} is in use by another dropsight" in second.daemon_log())
        shutil.copy(PHOTOS[0], first.inbox)
        shutil.copy(PHOTOS[1], second.inbox)
        wait_until(lambda: first.finished() == 1)
        assert first.stop() == 0
        wait_until(second.answers)
        wait_until(lambda: second.finished() == 1)
        assert len(first.records()) == 2
    finally:
        first.kill()
        second.kill()


@pytest.mark.slow
def test_a_single_run_beside_a_dropsight_ends_with_one_line(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        done = dropsight("run", "-c", str(house.config), "--once")
        assert done.returncode == 1
        journal = tmp_path / "state" / "journal.db"
        assert faults(done) == [
            f"dropsight: store.path: {journal} is in use by another dropsight, which has to end first"
        ]


@pytest.mark.slow
def test_a_reload_to_an_inbox_that_another_watches_leaves_all_as_it_was(tmp_path: Path) -> None:
    other = house_at(tmp_path / "other")
    (tmp_path / "mine").mkdir()
    other.start()
    try:
        with running(tmp_path / "mine") as house:
            rewrite(house, watch=[{"path": str(other.inbox)}])
            hang_up(house)
            wait_until(lambda: "config not reloaded, the old one stays in use: watch:" in house.daemon_log())
            wait_until(house.answers)
            shutil.copy(PHOTOS[0], house.inbox)
            wait_until(lambda: len(house.records()) == 1)
    finally:
        other.kill()


def test_an_inbox_that_is_watched_by_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "inbox")
    house = House(tmp_path, {"watch": [{"path": "inbox"}, {"path": "link"}]})
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 2
    assert "is already watched under another name; watch it once" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_stranger_s_lock_on_the_inbox_stops_neither_a_start_nor_a_reload(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with lock_of_a_stranger(house.inbox):
        house.start()
        try:
            wait_until(lambda: "a user without write permission holds its lock" in house.daemon_log())
            shutil.copy(PHOTOS[0], house.inbox)
            wait_until(lambda: len(house.records()) == 1)
        finally:
            house.kill()
    house.start()
    try:
        with lock_of_a_stranger(house.inbox, at_once=False) as waits:
            rewrite(house, stats={"interval_seconds": 30})
            hang_up(house)
            assert waits.stdout
            assert waits.stdout.readline() == "has it\n"
            wait_until(lambda: house.daemon_log().count("ready: model") == 3)
            shutil.copy(PHOTOS[1], house.inbox)
            wait_until(lambda: len(house.records()) == 2)
    finally:
        house.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_stranger_s_lock_that_tells_our_own_number_is_a_stranger_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that listened, and has ended since, may have had it: the start ended with exit code 2."""
    found = tmp_path.stat()
    with socket.socket(socket.AF_UNIX) as lock:
        os.seteuid(STRANGER_ID)
        try:
            lock.bind(f"\0dropsight-inbox-{found.st_dev:x}-{found.st_ino:x}")
            lock.listen()
        finally:
            os.seteuid(0)
        InboxLock(str(tmp_path)).renew()
    assert "a user without write permission holds its lock" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_uploader_who_owns_an_inbox_and_has_its_lock_holds_up_no_other_inbox(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox"}, {"path": "owned"}]})
    owned = tmp_path / "owned"
    owned.mkdir()
    os.chown(owned, STRANGER_ID, -1)
    shutil.copy(PHOTOS[0], owned)
    try:
        with lock_of_a_stranger(owned):
            house.start()
            shutil.copy(PHOTOS[1], house.inbox / "start.jpg")
            wait_until(lambda: len(house.records()) == 1)
            rewrite(house, stats={"interval_seconds": 30}, watch=[{"path": "inbox"}, {"path": "owned"}])
            hang_up(house)
            wait_until(lambda: house.daemon_log().count("ready: model") == 2)
            shutil.copy(PHOTOS[2], house.inbox / "reload.jpg")
            wait_until(lambda: len(house.records()) == 2)
            wait_until(lambda: "watched by another dropsight" in house.status()["troubles"].get("inbox", ""))
        wait_until(lambda: len(house.records()) == 3)
    finally:
        house.kill()
    assert [each["image_path"] for each in house.records()] == ["start.jpg", "reload.jpg", PHOTOS[0].name]


def test_the_locks_of_journal_and_log_are_for_nobody_else_to_open(tmp_path: Path) -> None:
    earlier = tmp_path / "state" / "journal.db.lock"
    earlier.parent.mkdir()
    earlier.touch(mode=0o644)
    with running(tmp_path):
        for lock in (earlier, tmp_path / "logs" / "results.jsonl.lock"):
            assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@pytest.mark.parametrize("earlier", [None, 0o644, 0o660], ids=["new", "readable", "the group's"])
def test_the_databases_are_for_nobody_else_to_open_from_their_first_moment(
    tmp_path: Path, earlier: int | None
) -> None:
    """Who may read one may lock it as SQLite does: no start, and no notification, came past that."""
    journal, waiting = tmp_path / "journal.db", tmp_path / "notifications.db"
    for path in (journal, waiting):
        if earlier is not None:
            path.touch()
            path.chmod(earlier)
    former = os.umask(0)
    try:
        with closing(Journal(journal)), closing(NotificationQueue(waiting)), closing(JournalReader(journal)):
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(former)
    assert found.keys() >= {"journal.db", "journal.db-wal", "notifications.db"}
    assert set(found.values()) == {0o600}
