"""The service: what is said to systemd, the unit, and installing it."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, ROOT, House
from dropsight.service.watchdog import Watchdog
from supervisors import Supervisor

UNIT = ROOT / "systemd" / "dropsight.service"
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()


def test_systemd_hears_ready_status_reloading_and_stopping(tmp_path: Path, supervisor: Supervisor) -> None:
    house = House(tmp_path, {"stats": {"interval_seconds": 0.2}})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: supervisor.lines("READY") == ["1"])
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: any(line.startswith("1 done") for line in supervisor.lines("STATUS")))
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: supervisor.lines("READY") == ["1", "1"])
        assert supervisor.lines("RELOADING") == ["1"]
        assert int(supervisor.lines("MONOTONIC_USEC")[0]) <= time.monotonic_ns() // 1000
        assert house.stop() == 0
        assert supervisor.lines("STOPPING") == ["1"]
    finally:
        house.kill()


def test_beginning_anew_with_another_config_is_no_stopping(tmp_path: Path, supervisor: Supervisor) -> None:
    """After STOPPING=1 systemd waits for the process to end, and kills it."""
    house = House(tmp_path, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        house.config.write_text("device: test\nmqtt: null\nwatch: [{path: elsewhere}]\n")
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(supervisor.lines("READY")) == 3)  # reloaded, and up again
        assert supervisor.lines("STOPPING") == []
        assert house.stop() == 0
        assert supervisor.lines("STOPPING") == ["1"]
    finally:
        house.kill()


def test_the_status_for_systemd_names_what_is_wrong(tmp_path: Path, supervisor: Supervisor) -> None:
    house = House(tmp_path, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        house.config.write_text("devise: x\n")
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "did you mean device" in supervisor.lines("STATUS")[-1])
    finally:
        house.kill()


def test_the_watchdog_is_fed_while_idle_and_while_at_work(tmp_path: Path, supervisor: Supervisor) -> None:
    house = House(tmp_path, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path, WATCHDOG_USEC="400000")
    try:
        wait_until(lambda: len(supervisor.lines("WATCHDOG")) >= 3)
        for number in range(50):
            shutil.copy(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
        before = len(supervisor.lines("WATCHDOG"))
        wait_until(lambda: len(house.records()) == 50)
        wait_until(lambda: len(supervisor.lines("WATCHDOG")) > before + 1)
    finally:
        house.kill()


def test_a_watchdog_is_not_fed_while_something_hangs(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    hangs: list[str | None] = ["a worker"]
    asked: list[float] = []

    def hung(seconds: float) -> str | None:
        asked.append(seconds)
        return hangs[0]

    watchdog = Watchdog(hung)
    wait_until(lambda: len(asked) > 5)
    assert supervisor.lines("WATCHDOG") == []
    hangs[0] = None
    wait_until(lambda: bool(supervisor.lines("WATCHDOG")))
    watchdog.stop()


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_the_unit_is_verified_and_hardened(tmp_path: Path) -> None:
    assert ANALYZE
    copy = tmp_path / "dropsight.service"
    copy.write_text(UNIT.read_text().replace("/opt/dropsight/bin/dropsight", "/bin/true"))
    verified = subprocess.run([ANALYZE, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    secure = subprocess.run(
        [ANALYZE, "security", "--no-pager", "--offline=true", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for dropsight.service: ([\d.]+)", secure.stdout)
    assert exposure, secure.stderr
    assert float(exposure[1]) <= 1.5


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="installing needs root")
def test_install_twice_then_uninstall_keeps_the_config_and_leaves_nothing_else(tmp_path: Path) -> None:
    environ = {**os.environ, "DESTDIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([ROOT / "scripts" / "install"], env=environ, check=True, capture_output=True)
    program = tmp_path / "opt" / "dropsight" / "bin" / "dropsight"
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("dropsight ")
    config = tmp_path / "etc" / "dropsight" / "dropsight.yaml"
    subprocess.run([program, "config", "-c", str(config)], capture_output=True, check=True)
    assert (tmp_path / "etc" / "systemd" / "system" / "dropsight.service").read_text() == UNIT.read_text()
    done = subprocess.run(
        [ROOT / "scripts" / "uninstall"], env=environ, check=True, capture_output=True, text=True
    )
    assert done.stdout == f"kept: {tmp_path}/etc/dropsight\n"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [config]
