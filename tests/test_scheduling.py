"""The threads that decode and invoke, as the kernel's scheduler sees them."""

import os
import platform
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from dropsight.classify.scheduling import LONGEST_SLICE_NS, keep_the_core

T = TypeVar("T")

KERNEL = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
SCHED = Path("/proc/thread-self/sched")


def in_a_thread(work: Callable[[], T]) -> T:
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(
    ("given", "kept"), [(os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)]
)
def test_workers_interrupt_nobody_and_leave_a_policy_that_they_were_given(given: int, kept: int) -> None:
    def policy() -> int:
        os.sched_setscheduler(0, given, os.sched_param(0))
        keep_the_core()
        return os.sched_getscheduler(0)

    assert in_a_thread(policy) == kept


def test_workers_keep_the_niceness_that_the_service_was_given() -> None:
    def niceness() -> int:
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        keep_the_core()
        return os.getpriority(os.PRIO_PROCESS, 0)

    assert in_a_thread(niceness) == 7


@pytest.mark.skipif(KERNEL < (6, 12) or not SCHED.exists(), reason="needs Linux 6.12")
def test_workers_are_given_the_longest_slice_there_is() -> None:
    def slice_ns() -> int:
        keep_the_core()
        (found,) = re.findall(r"^se\.slice\s*:\s*(\d+)$", SCHED.read_text(), re.MULTILINE)
        return int(found)

    assert in_a_thread(slice_ns) == LONGEST_SLICE_NS
