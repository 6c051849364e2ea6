"""Whether a file is complete: no process writes to it any more."""

import fcntl
import os
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from dropsight.errors import ImageError
from dropsight.intake.candidate import Candidate
from dropsight.intake.tagging import read_sidecar_of

Age: TypeAlias = Callable[[float], float]
Writer = Literal["none", "present", "unknown"]
# Between two looks for a sidecar that is yet to come, and at a second name.
_SIDECAR_SECONDS = _NAMES_SECONDS = 0.25
# Who renames by a second name takes the first one away at once, unless he gets no processor.
_RENAMING_SECONDS = 1.0


def writer(fd: int) -> Writer:
    """Ask the kernel by a read lease, given back at once, whether anyone has the file open for writing.

    Needs a local file system, and the file's owner or CAP_LEASE; elsewhere the answer is unknown.
    The caller ignores SIGIO: a writer that opens the file in the lease's few microseconds sends it.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:  # one came, and took it from us, where we stood still with the lease for long
        return "present"
    except OSError:
        return "unknown"
    return "none"


def still_seconds(candidate: Candidate, stat: os.stat_result, age_of: Age) -> float:
    """For how long the file has not changed, as far as anyone can tell.

    The file's own time counts only when it lies in the past: network shares and Pis without
    a clock disagree about now. `age_of` tells the seconds since a file's time; on a share, whose clock
    may be hours behind, it is no older than by what is newest there.
    """
    now = time.monotonic()
    signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if candidate.signature != signature:
        candidate.grew = candidate.grew or candidate.signature is not None
        candidate.signature, candidate.still_since = signature, now
    age, shares = age_of(stat.st_mtime), candidate.folder.shares
    if shares.hold(stat):
        age = min(age, shares.age_seconds(stat))
    return max(now - candidate.still_since, age)


def seconds_to_wait(candidate: Candidate, fd: int, stat: os.stat_result, age_of: Age) -> float:
    """Return 0 when the file is complete, else after how long to look again.

    Waiting is bounded below so that a writer of hours costs a look every half settle time only:
    its close is an event of its own.
    """
    settle = candidate.folder.settings.settle_seconds
    still = still_seconds(candidate, stat, age_of)
    # NFS and SMB refuse a lease where the server grants no cache; else it tells of our own writers alone.
    found: Writer = "unknown" if candidate.folder.shares.hold(stat) else writer(fd)
    candidate.held_by_writer = found == "present"
    if candidate.held_by_writer:  # who has written all of it may close it long after
        candidate.still_since = time.monotonic()
    candidate.grew = candidate.grew or candidate.held_by_writer
    if found == "none" or (found == "unknown" and (candidate.closed or still >= settle)):
        return 0.0
    if found == "present":
        return max(settle / 2, 0.05)
    return max(settle - still, 0.01)


def seconds_young(candidate: Candidate, stat: os.stat_result, age_of: Age) -> float:
    """Return for how long a file that does not decode is still given the benefit of the doubt."""
    return max(candidate.folder.settings.settle_seconds - still_seconds(candidate, stat, age_of), 0.0)


def seconds_to_next_part(candidate: Candidate) -> float:
    """Return 0 but for an upload that has broken off and has not changed since; then when to look again."""
    if candidate.broken_off != candidate.signature:
        return 0.0
    left = candidate.patient_until - time.monotonic()
    return max(min(left, candidate.folder.settings.poll_seconds), 0.0)


def wait_for_next_part(
    candidate: Candidate, stat: os.stat_result, age_of: Age, error: ImageError, *, once: bool
) -> float:
    """As `seconds_to_next_part`, of a file that has just been found not to be whole.

    Nothing is waited for that was renamed into its place, nor, where this is to be over `once` all is done,
    for what was not seen to grow.
    """
    is_upload = candidate.grew or (error.code == "truncated" and not (candidate.renamed or once))
    if not is_upload or error.code not in {"truncated", "empty"}:
        return 0.0
    seen_still = time.monotonic() - candidate.still_since
    still = seen_still if candidate.grew else still_seconds(candidate, stat, age_of)
    candidate.broken_off = candidate.signature
    candidate.patient_until = time.monotonic() + candidate.folder.settings.patience_seconds - still
    return seconds_to_next_part(candidate)


def seconds_to_sidecar(
    candidate: Candidate,
    stat: os.stat_result,
    age_of: Age,
    *,
    once: bool,
    is_named_again: Callable[[], bool] = lambda: False,
) -> float:
    """Read the sidecar where one is wanted; return 0, or after how long to look for it again.

    One that is not whole yet is waited for, too; and one that is newer than this image, where another had its
    name before (`is_named_again`): what lies there may be that one's.
    """
    wait = candidate.folder.settings.sidecar_wait_seconds
    if wait is None:
        return 0.0
    sidecar = candidate.sidecar = read_sidecar_of(candidate.folder, candidate.path)
    if sidecar and sidecar.is_whole and (sidecar.changed_ns >= stat.st_ctime_ns or not is_named_again()):
        return 0.0
    return max(min(wait - _waited_seconds(candidate, stat, age_of, once=once), _SIDECAR_SECONDS), 0.0)


def seconds_to_one_name(candidate: Candidate, stat: os.stat_result, age_of: Age, *, once: bool) -> float:
    """Return 0 but for a file that has just got a second name; then after how long to look again.

    OpenSSH's SFTP server renames so: read by both names, it would be two images.
    """
    if stat.st_nlink <= 1:
        return 0.0
    left = _RENAMING_SECONDS - _waited_seconds(candidate, stat, age_of, once=once)
    return max(min(left, _NAMES_SECONDS), 0.0)


def _waited_seconds(candidate: Candidate, stat: os.stat_result, age_of: Age, *, once: bool) -> float:
    """Return for how long it has been waited for what is to come: since the image was last seen to change.

    Before it was seen first it has waited, too, so that a start goes on at once with what lay there; but for
    uploads, and where nothing tells since when it has been there.
    """
    now = time.monotonic()
    seen = now - candidate.still_since
    if candidate.grew or (candidate.folder.shares.may_tell_no_arrival(stat) and not once):
        return seen
    return max(seen, min(now - candidate.since, age_of(stat.st_ctime)))
