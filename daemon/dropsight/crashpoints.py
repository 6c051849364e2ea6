"""Named instants at which a test makes the process kill itself, as a power cut would: no cleaning up.

`_DROPSIGHT_TEST_CRASH=after_commit:3` in the environment kills at the third time that point is reached,
`in_decoding:poison` at every image that ends with these letters, `in_invoking` at every one of one colour.
Without the variable, which nobody but a test sets, a point costs one comparison.
"""

import itertools
import os
import signal

VARIABLE = "_DROPSIGHT_TEST_CRASH"
POINTS = (
    "before_commit",
    "in_commit",
    "after_commit",
    "in_line",
    "after_line",
    "in_filing",
    "in_copying",
    "after_filing",
    "after_settle",
    "after_publish",
    "before_puback_commit",
    "in_rotation",
    "in_compression",
    "in_pruning",
    "in_rescue",
)

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_times = itertools.count(1)


def near(point: str) -> bool:
    """Whether reaching this point now is the end; for a point inside something, which needs setting up."""
    return point == _name and next(_times) >= int(_count or 1)


def reach(point: str) -> None:
    if point == _name and near(point):
        die()


def reach_image(point: str, data: bytes) -> None:
    """Kill at a poison image: where the count would stand, the end of its content does."""
    if point == _name and data.endswith(_count.encode()):
        die()


def is_set(point: str) -> bool:
    """Whether this point is the one; for one whose condition costs more than a comparison."""
    return point == _name


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
