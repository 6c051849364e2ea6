"""When the threads that decode and invoke give up a core."""

import contextlib
import ctypes
import os
import struct
import sys

# The kernel's most, since 6.12; the usual 1 to 3 ms end within one image.
LONGEST_SLICE_NS = 100_000_000

# glibc has had a function for it only since 2.41. By what Python was built for: under a 64-bit kernel a
# 32-bit process has other numbers than the machine's name tells.
_SCHED_SETATTR = {"x86_64-linux-gnu": 314, "aarch64-linux-gnu": 274, "arm-linux-gnueabihf": 380}


def keep_the_core() -> None:
    """Have this thread interrupt nobody, and be interrupted seldom.

    Else caches would fill anew with a model's weights. Who was given a policy from outside keeps it; where it
    may not be changed, it is only a little slower.
    """
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            _ask_for_slice(LONGEST_SLICE_NS)


def _ask_for_slice(nanoseconds: int) -> None:
    """Kernels before 6.12 take no notice. The struct is sched_attr of sched_setattr(2)."""
    # What sysconfig calls MULTIARCH, without the thousand variables that it would read for it.
    number = _SCHED_SETATTR.get(getattr(sys.implementation, "_multiarch", ""))
    if number is None:
        return
    flags, priority, deadline, period = 0, 0, 0, 0
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    layout = "=IIQiIQQQ"
    attributes = struct.pack(
        layout, struct.calcsize(layout), os.SCHED_BATCH, flags, nice, priority, nanoseconds, deadline, period
    )
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)
