"""Which user runs the daemon of a config, and switching to that user."""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dropsight.errors import ConfigError

UNIT = "dropsight.service"


class Runner(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def is_me(self) -> bool:
        return self.uid == os.geteuid()

    def become(self) -> None:
        """Go on as this user, for good; for root alone."""
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        os.environ["HOME"] = self.home


def runner_of(state: Path, *, is_service: bool) -> Runner:
    """Return the user of the unit where systemd knows it, else who owns the state folder or what holds it.

    Raises ConfigError where there is no such user.
    """
    unit = _unit() if is_service else {}
    if unit.get("LoadState") == "loaded":
        return _named(unit)
    nearest = next(path for path in (state, *state.parents) if os.access(path, os.F_OK))
    return _numbered(nearest.stat())


def _unit() -> Mapping[str, str]:
    """What systemd says of the unit; nothing where it does not run."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return {}
    wanted = "--property=LoadState,User,Group,SupplementaryGroups"
    shown = subprocess.run([systemctl, "show", wanted, UNIT], capture_output=True, text=True, check=False)
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def _named(unit: Mapping[str, str]) -> Runner:
    name, more = unit.get("User") or "root", unit.get("SupplementaryGroups", "").split()
    try:
        user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        groups = [_group(each) for each in (unit.get("Group") or str(user.pw_gid), *more)]
    except KeyError as error:
        raise ConfigError(
            [f"{UNIT}: runs as a user or group that does not exist: {error.args[0]}"]
        ) from error
    return _runner(user, groups)


def _numbered(stat: os.stat_result) -> Runner:
    try:
        user = pwd.getpwuid(stat.st_uid)
    except KeyError:  # as in containers
        return Runner(str(stat.st_uid), stat.st_uid, stat.st_gid, (), "/")
    return _runner(user, [user.pw_gid])


def _runner(user: pwd.struct_passwd, groups: list[int]) -> Runner:
    known = os.getgrouplist(user.pw_name, groups[0])
    return Runner(user.pw_name, user.pw_uid, groups[0], (*known, *groups[1:]), user.pw_dir)


def _group(name: str) -> int:
    return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
