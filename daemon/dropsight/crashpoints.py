"""Named instants at which a test makes the process kill itself, or a thread of it stand still for ever.

`_DROPSIGHT_TEST_CRASH=after_commit:3` in the environment kills at the third time that point is reached, as a
power cut would: no cleaning up. `in_decoding:poison` crashes, as native code does, at every image that ends
with these letters, `in_find:bad.jpg` at every one of a name, `in_invoking` at every one of one colour.
`_DROPSIGHT_TEST_HANG`, in the same words, hangs the thread that gets there; `_DROPSIGHT_TEST_RAISE` raises an
exception that nobody expects. Without these variables, which nobody but a test sets, a point costs one
comparison.
"""

import itertools
import os
import signal
import threading

VARIABLE = "_DROPSIGHT_TEST_CRASH"
HANG_VARIABLE = "_DROPSIGHT_TEST_HANG"
RAISE_VARIABLE = "_DROPSIGHT_TEST_RAISE"
POINTS = (
    "before_commit",
    "in_commit",
    "after_commit",
    "in_line",
    "after_line",
    "in_filing",
    "before_copied",
    "in_copying",
    "in_deleting",
    "after_filing",
    "after_settle",
    "after_publish",
    "before_puback_commit",
    "in_rotation",
    "in_compression",
    "in_pruning",
    "in_rescue",
)
"""Where a kill is worth trying. A hang is, too, in_hint, in_walk, in_decoding and in_invoke."""

_variable = next((name for name in (HANG_VARIABLE, RAISE_VARIABLE) if name in os.environ), VARIABLE)
_name, _, _count = os.environ.get(_variable, "").partition(":")
_times = itertools.count(1)


def near(point: str) -> bool:
    """Whether reaching this point now is the end; for a point inside something, which needs setting up."""
    if point != _name:
        return False
    times = next(_times)
    return times == int(_count or 1) if _variable == RAISE_VARIABLE else times >= int(_count or 1)


def reach(point: str) -> None:
    if point == _name and near(point):
        die()


def reach_image(point: str, data: bytes) -> None:
    """Kill at a poison image: where the count would stand, the end of its content does."""
    if point == _name and data.endswith(_count.encode()):
        crash()


def reach_path(point: str, path: str) -> None:
    """Kill at a poison image by its name, of which the end stands where the count would."""
    if point == _name and path.endswith(_count):
        crash()


def is_set(point: str) -> bool:
    """Whether this point is the one; for one whose condition costs more than a comparison."""
    return point == _name


def crash() -> None:
    """End as by a fault in native code, which is nobody's doing from outside."""
    die(signal.SIGSEGV)


def die(number: int = signal.SIGKILL) -> None:
    if _variable == HANG_VARIABLE:
        threading.Event().wait()
    if _variable == RAISE_VARIABLE:
        raise OverflowError(f"a test has this raised at {_name}")
    signal.raise_signal(number)
