"""How long a step of an image may take in an archive: by the processor that it gets."""

import signal
import subprocess
import sys

import pytest

from neighbours import BESIDE_NEIGHBOURS

STEP = f"""{BESIDE_NEIGHBOURS}
from dropsight.archive.step_time import StepTime
with StepTime().within(1.0):
    work(float(sys.argv[2]))
"""
ASLEEP = """
import time
from dropsight.archive.step_time import StepTime
with StepTime().within(1.0):
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_step_that_others_leave_next_to_no_processor_has_all_of_its_time() -> None:
    """With a twentieth of a core good pictures of 80 megapixels failed as hung."""
    assert code_of(STEP, "2", "0.3") == 0


@pytest.mark.parametrize("program", [STEP, ASLEEP])
def test_a_step_that_works_or_sleeps_for_too_long_is_ended(program: str) -> None:
    assert code_of(program, "0", "600") == -signal.SIGALRM


def code_of(program: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-c", program, *arguments], check=False).returncode
