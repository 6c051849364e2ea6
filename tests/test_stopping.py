"""Signals."""

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from brokers import free_port, mosquitto, wait_until
from daemons import PHOTOS, House, running
from disks import fill, small_disk
from dropsight.config import Config
from dropsight.service.lifecycle import Lifecycle


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_finishes_what_is_in_hand_and_exits_0(tmp_path: Path, number: int) -> None:
    with running(tmp_path) as house:
        for copy in range(40):
            shutil.copyfile(PHOTOS[copy % len(PHOTOS)], house.inbox / f"{copy}.jpg")
        assert house.stop(number) == 0
    handled = len(house.records())
    assert handled + len(house.waiting()) == 40
    assert sum(1 for path in house.processed.rglob("*.jpg")) == handled


@pytest.mark.slow
@pytest.mark.broker
def test_a_second_signal_ends_it_at_once_and_the_next_start_publishes_the_rest(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        wait_until(lambda: house.status()["mqtt"]["connected"])
        broker.signal(signal.SIGSTOP)
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.finished() == 1)
        assert house.process
        house.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not house.taking(), what="the first signal is heard")
        assert house.stop() == 128 + signal.SIGTERM
        assert "stopped at once" in house.daemon_log()
        broker.signal(signal.SIGCONT)
        house.start()
        wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)


def test_an_idle_daemon_stops_without_a_broker_to_say_goodbye_to(tmp_path: Path) -> None:
    with running(tmp_path, mqtt={"url": f"mqtt://127.0.0.1:{free_port()}"}) as house:
        assert house.stop() == 0


@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_that_takes_connections_and_says_nothing_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        broker.signal(signal.SIGSTOP)
        house = House(tmp_path, {"mqtt": {"url": broker.url}})
        house.start()
        try:
            shutil.copy(PHOTOS[0], house.inbox)
            wait_until(lambda: house.finished() == 1)
            assert house.process
            house.process.send_signal(signal.SIGTERM)
            assert house.ended() == 0
        finally:
            house.kill()
    assert "1 record is queued in the outbox" in house.daemon_log()


@pytest.mark.slow
def test_a_full_disk_under_the_journal_does_not_hold_up_a_stop_and_nothing_is_lost(tmp_path: Path) -> None:
    """More images are done than the recorder's queue has room for."""
    with small_disk(tmp_path / "state", size="16m") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        for copy in range(300):
            shutil.copyfile(PHOTOS[copy % len(PHOTOS)], house.inbox / f"{copy:03}.jpg")
        wait_until(lambda: "journal" in house.status()["troubles"])
        wait_until(lambda: house.status()["stats"]["queues"]["records"] >= 128)
        assert house.process
        house.process.send_signal(signal.SIGTERM)
        assert house.ended() == 0
        assert len(house.waiting()) + len(house.records()) == 300
        ballast.unlink()
        house.start()
        house.until(lambda: len(house.records()) == 300)
        wait_until(lambda: not house.waiting())


def test_timeout_which_signals_its_child_and_the_group_at_once_asks_for_one_stop(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    house.under = ("timeout", "600")
    house.start()
    try:
        for copy in range(20):
            shutil.copyfile(PHOTOS[copy % len(PHOTOS)], house.inbox / f"{copy}.jpg")
        assert house.stop() == 0
    finally:
        house.kill()
    assert len(house.records()) + len(house.waiting()) == 20


@pytest.mark.slow
@pytest.mark.broker
def test_the_first_signal_while_a_reload_begins_anew_is_a_stop_in_order(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        wait_until(lambda: house.status()["mqtt"]["connected"])
        broker.signal(signal.SIGSTOP)  # so that the former daemon waits for it
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.finished() == 1)
        house.config.write_text(house.config.read_text().replace("device: test", "device: other"))
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "restarting with the new config" in house.daemon_log())
        assert house.stop() == 0
    assert "stopped at once" not in house.daemon_log()


@pytest.mark.slow
@pytest.mark.broker
def test_the_first_signal_while_a_single_run_waits_for_the_broker_is_a_stop_in_order(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        broker.signal(signal.SIGSTOP)
        house = House(tmp_path, {"mqtt": {"url": broker.url}})
        shutil.copy(PHOTOS[0], house.inbox)
        house.spawn("--once")
        try:
            wait_until(lambda: len(house.records()) == 1)
            wait_until(lambda: not house.taking(), what="it waits for the broker only")
            assert house.stop() == 0
        finally:
            house.kill()
    assert "queued in the outbox for the broker" in house.daemon_log()


def test_two_signals_within_a_moment_are_one_wish() -> None:
    """As timeout(1) sends them, where the first is heard before the second comes."""
    said = """
        import signal
        from dropsight.service.lifecycle import Lifecycle
        with Lifecycle() as lifecycle:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            print(lifecycle.stopping)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(said)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_who_wants_the_config_read_anew_while_the_daemon_ends_has_it_end_no_otherwise(tmp_path: Path) -> None:
    """It died of SIGHUP, as it did just after it was begun: systemd takes that for meant, and starts none."""
    with running(tmp_path) as house:
        assert house.process
        house.process.send_signal(signal.SIGTERM)
        while house.process.poll() is None:
            house.process.send_signal(signal.SIGHUP)
            time.sleep(0.0005)
        assert house.process.returncode == 0


def _fail() -> None:
    raise RuntimeError("a bug")


def test_a_thread_that_fails_while_a_reload_begins_anew_ends_the_process_then_not_at_a_later_stop() -> None:
    with Lifecycle() as lifecycle:
        lifecycle.request_restart(Config())
        failing = threading.Thread(target=_fail)
        failing.start()
        failing.join()
        assert lifecycle.begin_again() is None
