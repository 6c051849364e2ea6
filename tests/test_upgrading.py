"""What scripts/install puts in place, upgrades and takes back, and from which files."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from daemons import ROOT
from disks import LoopDisk, fill, small_disk, why_no_disk
from private_network import OUTER_NETWORK

UNIT = ROOT / "systemd" / "dropsight.service"
LOCK = ROOT / "scripts" / "service.lock"
LOCKED = re.compile(r"^([^ #=]+)==(\S+) .*?\\\n((?: +--hash=sha256:\w{64}(?: \\)?\n)+)", re.MULTILINE)


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_the_service_is_installed_from_is_locked_as_pyproject_wants_it(
    machine: str, python: str
) -> None:
    locked = {name: version for name, version, _ in LOCKED.findall(LOCK.read_text())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    here = {"platform_machine": machine, "sys_platform": "linux", "python_version": python}
    extras = project["optional-dependencies"]
    wanted = map(Requirement, [*project["dependencies"], *extras["web"], *extras["webhook"]])
    for each in wanted:
        if each.marker is None or each.marker.evaluate(here):
            assert locked.get(canonicalize_name(each.name), "0") in each.specifier, (
                f"{each}: run scripts/lock"
            )


@pytest.mark.slow
def test_another_index_with_other_files_of_a_locked_release_does_not_disturb(tmp_path: Path) -> None:
    """As piwheels is one, on every Raspberry Pi."""
    text = LOCK.read_text()
    (version,) = [version for name, version, _ in LOCKED.findall(text) if name == "h11"]
    (tmp_path / "lock").write_text("".join(re.findall(r"^h11==(?:.*\\\n)+.*\n", text, re.MULTILINE)))
    other = tmp_path / "simple" / "h11" / f"h11-{version}-1-py3-none-any.whl"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"not the locked one")
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    other.with_name("index.html").write_text(f'<a href="{other.name}#sha256={digest}">{other.name}</a>')
    outer = os.environ.get(OUTER_NETWORK)
    outside = [] if outer is None else ["nsenter", f"--net={outer}"]
    pip = shlex.split(f"{sys.executable} -m pip download --no-cache-dir --only-binary :all: --require-hashes")
    more = shlex.split(
        f"--extra-index-url {(tmp_path / 'simple').as_uri()} --dest {tmp_path}/got -r {tmp_path}/lock"
    )
    done = subprocess.run([*outside, *pip, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (tmp_path / "got").iterdir()] == [f"h11-{version}-py3-none-any.whl"]


@dataclass(frozen=True, slots=True)
class Installation:
    """What scripts/install makes below a folder."""

    root: Path

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "DESTDIR": str(self.root)}

    @property
    def config(self) -> Path:
        return self.root / "etc" / "dropsight" / "dropsight.yaml"

    @property
    def program(self) -> Path:
        return self.root / "opt" / "dropsight" / "bin" / "dropsight"

    def releases(self) -> set[Path]:
        return {
            path for path in (self.root / "opt" / "dropsight-releases").glob("[!.]*") if not path.is_symlink()
        }

    def install(self, *options: str, umask: int = 0o022, **more: str) -> subprocess.CompletedProcess[str]:
        """Packages are fetched: that takes the machine's network."""
        outer = os.environ.get(OUTER_NETWORK)
        outside = [] if outer is None else ["nsenter", f"--net={outer}"]
        command = [*outside, str(ROOT / "scripts" / "install"), *options]
        environ = {**self.environ, **more}
        return subprocess.run(command, env=environ, umask=umask, check=False, capture_output=True, text=True)

    def done(self, *options: str, umask: int = 0o022) -> str:
        done = self.install(*options, umask=umask)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def version(self) -> str:
        words: list[str | Path] = [self.program, "--version"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def ill_guarded(self) -> list[Path]:
        """What others may write, or the service may not read."""
        every = [path for path in self.root.rglob("[!.]*") if not path.is_symlink()]
        return [
            path
            for path in every
            if (mode := path.stat().st_mode) & 0o022
            or mode & (wanted := 0o555 if path.is_dir() else 0o444) != wanted
        ]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """One that lay in /opt/dropsight itself, as earlier ones did; then twice what scripts/install makes."""

    house: Installation
    earlier: str
    first: Path
    said: str


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    """Installed under a closed umask, then once more under an open one."""
    if os.geteuid() != 0:
        pytest.skip("installing needs root")
    house = Installation(tmp_path_factory.mktemp("root"))
    house.root.chmod(0o755)
    house.program.parent.mkdir(parents=True)
    house.program.write_text("#!/bin/sh\necho dropsight 0\n")
    house.program.chmod(0o777)
    python = house.program.with_name("python")
    python.write_text(f"#!/bin/sh\ntouch {house.root}/was-run\n")
    python.chmod(0o777)
    said = house.done(umask=0o077)
    house.done("--back")
    earlier = f"{house.program.stat().st_mode:o} {house.version()}"
    house.done("--back")
    first = house.program.resolve()
    house.config.write_text(house.config.read_text() + "device: mine\n")
    house.done(umask=0)
    return Upgraded(house, earlier, first, said)


@pytest.mark.slow
def test_whatever_root_s_umask_all_may_read_what_is_installed_and_only_root_writes_it(
    upgraded: Upgraded,
) -> None:
    assert upgraded.house.ill_guarded() == []


@pytest.mark.slow
def test_nobody_else_can_hold_the_lock_of_an_upgrade(upgraded: Upgraded) -> None:
    lock = upgraded.house.root / "opt" / "dropsight-releases" / ".lock"
    assert lock.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_an_upgrade_keeps_the_config(upgraded: Upgraded) -> None:
    house = upgraded.house
    words: list[str | Path] = [house.program, "config", "-c", house.config]
    assert "device: mine" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_an_upgrade_lies_beside_what_runs_and_the_way_back_leads_to_it(
    upgraded: Upgraded,
) -> None:
    """A running daemon goes on importing from where it was started."""
    house, first = upgraded.house, upgraded.first
    second = house.program.resolve()
    assert second != first
    assert {path / "bin" / "dropsight" for path in house.releases()} == {first, second}
    for expected in (first, second):
        house.done("--back")
        assert house.program.resolve() == expected
        assert house.version().startswith("dropsight ")
    unit = house.root / "usr" / "local" / "lib" / "systemd" / "system" / "dropsight.service"
    assert unit.read_text() == UNIT.read_text()


@pytest.mark.slow
def test_without_an_index_the_installed_release_stays_and_nothing_else(
    upgraded: Upgraded,
) -> None:
    house = upgraded.house
    before = house.program.resolve(), house.releases()
    done = house.install(
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
        PIP_FIND_LINKS="",
        PIP_CONFIG_FILE=os.devnull,
    )
    assert done.returncode != 0
    assert (house.program.resolve(), house.releases()) == before


@pytest.mark.slow
def test_what_was_installed_before_there_were_releases_can_be_gone_back_to(upgraded: Upgraded) -> None:
    """And nobody but root writes it any more."""
    assert upgraded.earlier == "100755 dropsight 0"


@pytest.mark.slow
def test_root_runs_nothing_that_everybody_could_write(upgraded: Upgraded) -> None:
    assert not (upgraded.house.root / "was-run").exists()
    assert "are not carried over: it was writable by every user" in upgraded.said


@pytest.mark.slow
def test_uninstalling_keeps_config_and_secrets_and_a_purge_leaves_nothing(upgraded: Upgraded) -> None:
    house = upgraded.house
    stored = house.root / "etc" / "credstore" / "dropsight.notify-phone"
    stored.parent.mkdir()
    stored.write_text("ntfys://ntfy.sh/porch")
    assert uninstall(house.environ) == f"kept: {house.root}/etc/dropsight\nkept: {stored}\n"
    assert {path for path in house.root.rglob("*") if not path.is_dir()} == {house.config, stored}
    assert uninstall(house.environ, "--purge") == ""
    assert [path for path in house.root.rglob("*") if not path.is_dir()] == []


def test_nothing_is_installed_over_an_inbox_that_is_a_link(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("installing needs root")
    state = tmp_path / "var" / "lib" / "dropsight"
    state.mkdir(parents=True)
    (state / "inbox").symlink_to("/etc")
    done = Installation(tmp_path).install()
    assert (done.returncode, "inbox is a link" in done.stderr) == (2, True)
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize("linked", ["", "var", "var/lib"])
def test_a_purge_removes_nothing_where_a_share_is_mounted_in_what_it_would_remove(
    tmp_path: Path, linked: str
) -> None:
    """All of a NAS that was mounted as the inbox was deleted."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    nas, root, disk = tmp_path / "nas", tmp_path / "root", tmp_path / "disk"
    for folder in (nas, root, disk):
        folder.mkdir()
    if linked:
        (root / linked).parent.mkdir(exist_ok=True)
        (root / linked).symlink_to(disk)
    inbox = root / "var" / "lib" / "dropsight" / "inbox"
    inbox.mkdir(parents=True)
    (nas / "holiday.jpg").write_text("somebody's")
    code = f"mount --bind {nas} {inbox} && exec {ROOT}/scripts/uninstall --purge"
    environ = {**os.environ, "DESTDIR": str(root)}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", code], env=environ, check=False, capture_output=True, text=True
    )
    said = f"{inbox.resolve()} is mounted there" in done.stderr
    assert (done.returncode, said) == (1, True), done.stderr
    assert (nas / "holiday.jpg").exists()


def two_releases(root: Path) -> Installation:
    """As installed, for the way back: units are the releases' own."""
    house, releases = Installation(root), root / "opt" / "dropsight-releases"
    for name in ("first", "second"):
        program, share = releases / name / "bin" / "dropsight", releases / name / "share"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho dropsight 0\n")
        program.chmod(0o755)
        shutil.copytree(ROOT / "systemd", share / "systemd")
        (share / "dropsight.1").write_text(name)
    (root / "opt" / "dropsight").symlink_to("dropsight-releases/second")
    (releases / "previous").symlink_to("first")
    return house


def test_a_loss_of_power_just_after_an_upgrade_leaves_whole_units(tmp_path: Path) -> None:
    """They were empty by then, and systemd takes an empty unit for one that is not to be started."""
    if why := why_no_disk(tmp_path, "ext4"):
        pytest.skip(why)
    disk = LoopDisk(tmp_path / "disk", "ext4")
    disk.mount()
    two_releases(disk.place).done("--back")
    with (disk.place / "journal.db").open("wb") as file:  # as the daemon that is started, on the same disk
        os.fsync(file.fileno())
    disk.pull()
    disk.unmount()
    disk.plug_in()
    try:
        units = disk.place / "usr" / "local" / "lib" / "systemd" / "system"
        assert (units / UNIT.name).read_text() == UNIT.read_text()
        assert (disk.place / "opt" / "dropsight").readlink() == Path("dropsight-releases/first")
    finally:
        disk.unmount()


def test_an_upgrade_onto_a_full_disk_leaves_the_units_that_are_there(tmp_path: Path) -> None:
    units = tmp_path / "usr" / "local" / "lib" / "systemd" / "system"
    house = two_releases(tmp_path)
    with small_disk(units):
        unit = units / UNIT.name
        unit.write_text("as it was")
        fill(units)
        assert house.install("--back").returncode != 0
        assert unit.read_text() == "as it was"


def uninstall(environ: dict[str, str], *options: str) -> str:
    script = ROOT / "scripts" / "uninstall"
    return subprocess.run([script, *options], env=environ, check=True, capture_output=True, text=True).stdout
