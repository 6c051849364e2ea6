"""The service: what is said to systemd, the unit, and installing it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, ROOT, House, command, running
from supervisors import Supervisor

UNIT = ROOT / "systemd" / "dropsight.service"
ANALYZE = shutil.which("systemd-analyze")


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


@pytest.mark.slow
def test_beginning_anew_with_another_config_is_no_stopping(tmp_path: Path, supervisor: Supervisor) -> None:
    """After STOPPING=1 systemd waits for the process to end, and kills it."""
    house = House(tmp_path, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        house.config.write_text("device: test\nmqtt: null\nwatch: [{path: elsewhere}]\n")
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(supervisor.lines("READY")) == 2)
        assert str(tmp_path / "elsewhere") in house.status()["watch"]
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
        wait_until(lambda: "did you mean device" in "".join(supervisor.lines("STATUS")[-1:]))
    finally:
        house.kill()


def descriptors(pid: int) -> list[str]:
    """Return what the kernel says of each; the first walk opens and closes some meanwhile."""
    lines: list[str] = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines += path.read_text().splitlines()
    return lines


def test_ready_is_said_when_the_folder_is_watched_and_every_interpreter_is_warm(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    house = House(tmp_path, {"inference": {"workers": 2}})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        assert house.process
        inode = f"ino:{house.inbox.stat().st_ino:x} "
        watches = descriptors(house.process.pid)
        assert any(line.startswith("inotify") and inode in line for line in watches)
    finally:
        house.kill()
    assert "is loaded" in house.daemon_log().partition("watching")[0]


@pytest.mark.slow
def test_every_line_for_the_journal_has_its_priority(tmp_path: Path) -> None:
    """`journalctl -p warning` is what a person looks at first."""
    config = tmp_path / "dropsight.yaml"
    config.write_text("mqtt: {url: mqtt://127.0.0.1:1}\n")
    shutil.copytree(PHOTOS[0].parent, tmp_path / "inbox")
    lines = journal(tmp_path, "run", "-c", str(config), "--once")
    assert all(re.match(r"<[2-7]>", line) for line in lines)
    assert any(line.startswith("<4>") and "cannot be reached" in line for line in lines)
    assert any(line.startswith("<6>") and "watching" in line for line in lines)
    config.write_text("devise: x\nmqqt: null\n")
    faults = journal(tmp_path, "run", "-c", str(config))
    assert [line[:14] for line in faults] == ["<3>dropsight: "] * 2


def journal(folder: Path, *arguments: str) -> list[str]:
    """Run a command with its stderr as systemd connects it; return the lines."""
    with (folder / "journal").open("w+b") as stream:
        stat = os.fstat(stream.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        subprocess.run(command(*arguments), stderr=stream, env=environ, check=False, timeout=60)
        stream.seek(0)
        return stream.read().decode().splitlines()


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_the_unit_is_verified_and_hardened(tmp_path: Path) -> None:
    copy = tmp_path / "dropsight.service"
    copy.write_text(UNIT.read_text().replace("/opt/dropsight/bin/dropsight", "/bin/true"))
    verified = analyze("verify", str(copy))
    assert (verified.returncode, verified.stderr) == (0, "")
    secure = analyze("security", "--no-pager", "--offline=true", "--threshold=15", str(copy))
    assert secure.returncode == 0, secure.stdout


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_the_unit_that_opens_folders_is_verified_and_hardened_as_well() -> None:
    """It has root's rights over owners, so it may touch nothing but the inbox."""
    unit = UNIT.with_name("dropsight-inbox.service")
    verified = analyze("verify", str(unit), str(unit.with_suffix(".path")))
    assert (verified.returncode, verified.stderr) == (0, "")
    secure = analyze("security", "--no-pager", "--offline=true", "--threshold=15", str(unit))
    assert secure.returncode == 0, secure.stdout


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_what_only_newer_systemd_knows_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    """On an older one each of its lines would be a fault, and the service of no known type."""
    found = re.match(r"systemd (\d+)", analyze("--version").stdout)
    assert found
    copy = tmp_path / "dropsight.service"
    copy.write_text(UNIT.read_text().replace("/opt/dropsight/bin/dropsight", "/bin/true"))
    shutil.copytree(UNIT.with_suffix(".service.d"), tmp_path / "dropsight.service.d")
    verified = analyze("verify", str(copy))
    assert (verified.stderr == "") is (int(found[1]) >= 254)


def test_nothing_in_the_unit_hides_the_processor_from_the_interpreter() -> None:
    """Without /proc/cpuinfo XNNPACK does not start, and an image takes a hundred times longer."""
    said = directives()
    assert said["ProcSubset"] == ["all"]
    hiding = [
        value
        for key in ("InaccessiblePaths", "TemporaryFileSystem", "MountAPIVFS", "RootDirectory", "RootImage")
        for value in said.get(key, [])
    ]
    assert hiding == []


def test_the_unit_has_room_for_the_threads_of_hundreds_of_cores(tmp_path: Path) -> None:
    """A thread that systemd refuses ends the daemon."""
    cores = 16
    with running(tmp_path, inference={"workers": cores}) as house:
        assert house.process
        threads = len(list(Path(f"/proc/{house.process.pid}/task").iterdir()))
    assert threads >= cores
    assert int(directives()["TasksMax"][0]) >= threads * 256 / cores


def test_the_kernel_s_end_of_one_process_is_not_the_service_s() -> None:
    """The trial of a suspect image is the one that it chooses."""
    assert directives()["OOMPolicy"] == ["continue"]


def test_only_the_service_puts_anything_beside_the_inbox() -> None:
    """Root and the service come by there; whoever brings images passes through."""
    mode = directives()["StateDirectoryMode"][0]
    assert mode == "0751"
    folders = {
        line.split()[1]: line.split()[2:5]
        for line in UNIT.with_name("dropsight.tmpfiles.conf").read_text().splitlines()
        if line.startswith("d ")
    }
    assert folders["/var/lib/dropsight"] == [mode, ":dropsight", ":dropsight"]
    assert folders["/var/lib/dropsight/inbox"] == ["2770", "dropsight", "dropsight-upload"]


def test_a_backup_of_another_user_s_number_becomes_the_service_s_and_its_inbox_the_uploaders() -> None:
    """Without : their tops alone became the service's, and systemd left the rest as it was."""
    owned = re.findall(
        r"^d /var/\w+/dropsight \d+ (\S+) (\S+)",
        UNIT.with_name("dropsight.tmpfiles.conf").read_text(),
        flags=re.MULTILINE,
    )
    assert owned == [(":dropsight", ":dropsight")] * 2
    unit = UNIT.read_text()
    assert "\nExecStartPre=-+/bin/systemctl --no-block restart dropsight-inbox.service\n" in unit
    gives = next(
        line
        for line in UNIT.with_name("dropsight-inbox.service").read_text().splitlines()
        if "/bin/chgrp" in line
    )
    assert "( -type d -o -type f -links 1 ! -group dropsight ) ! -group dropsight-upload " in gives


def test_the_access_lists_are_written_as_systemd_252_reads_them() -> None:
    """It refuses the capital X of later ones, without a word, and uploads under umask 077 stay closed."""
    lines = UNIT.with_name("dropsight.tmpfiles.conf").read_text().splitlines()
    (entries,) = [line.split()[-1].split(",") for line in lines if line.startswith("a")]
    assert {entry.rpartition(":")[2] for entry in entries} == {"rwx"}
    assert "default:group:dropsight-upload:rwx" in entries


def directives() -> dict[str, list[str]]:
    """What the shipped unit says under [Service], by key."""
    lines = UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines()
    said: dict[str, list[str]] = {}
    for line in lines:
        key, found, value = line.partition("=")
        if found and not key.startswith("#"):
            said.setdefault(key, []).append(value)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_without_root_the_scripts_say_what_to_do(script: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        Path(folder).chmod(0o755)
        copies = Path(folder) / "scripts"
        shutil.copytree(ROOT / "scripts", copies)
        command = ["bash", str(copies / script)]
        done = subprocess.run(command, user=65534, group=65534, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"scripts/{script} must run as root: sudo scripts/{script}\n"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)
