"""The threads that decode and invoke."""

import os
import threading

import pytest

from dropsight.service.workers import keep_the_core


@pytest.mark.parametrize(
    ("given", "kept"), [(os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)]
)
def test_workers_interrupt_nobody_and_leave_a_policy_that_they_were_given(given: int, kept: int) -> None:
    found: list[int] = []

    def work() -> None:
        os.sched_setscheduler(0, given, os.sched_param(0))
        keep_the_core()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [kept]
