"""What memory there is for more: of the machine's, and of the service's share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_NO_BOUND = sys.maxsize
_AT_REST_BYTES = 128 * 2**20


def available_bytes() -> int:
    """Return what there is for one more process."""
    left = [bound - used for bound, used in _shares()]
    return max(min(_left_of_machine(), *left, _NO_BOUND), 0)


def most_bytes() -> int:
    """Return what there would be for one more process if nobody had any but a daemon at rest."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min([machine, *(bound for bound, _ in _shares())]) - _AT_REST_BYTES, 0)


def _left_of_machine() -> int:
    try:
        facts = dict(line.split(":") for line in (_PROC / "meminfo").read_text().splitlines())
    except OSError:
        # Hidden, as by ProcSubset=pid: what is free, then, though the kernel would clear more.
        return max(os.sysconf("SC_AVPHYS_PAGES"), 0) * os.sysconf("SC_PAGE_SIZE")
    return int(facts["MemAvailable"].split()[0]) * 1024


def _shares() -> Iterator[tuple[int, int]]:
    """Yield bound and use of each control group that we are in, of both versions, where it has a bound.

    What was read of files and not looked at since is no use of it: the kernel lets go of that first.
    """
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if not kinds:
            yield from _bounds(
                _GROUPS, group, ("memory.max", "memory.high"), "memory.current", "inactive_file"
            )
        elif kinds == "memory":
            names = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
            yield from _bounds(_GROUPS / "memory", group, *names)


def _bounds(
    root: Path, group: str, bounds: tuple[str, ...], usage: str, idle: str
) -> Iterator[tuple[int, int]]:
    """Of the group, and of each that it lies in, as far as they can be seen."""
    below = root / group.strip("/")
    for folder in [below, *below.parents]:
        if not folder.is_relative_to(root):
            return
        try:
            used = int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            found = [(folder / name).read_text().strip() for name in bounds]
        except (OSError, ValueError):
            continue
        used -= min(int(stat.get(idle, 0)), used)
        yield from ((int(bound), used) for bound in found if bound != "max")
