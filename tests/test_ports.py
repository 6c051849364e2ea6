"""The ports that tests get for their brokers and receivers."""

import subprocess
import sys
from pathlib import Path

from processes import begin, end

FINDS_ONE = [
    sys.executable,
    "-c",
    "import brokers, sys; print(brokers.free_port(), flush=True); sys.stdin.read()",
]
HERE = Path(__file__).parent


def test_two_runs_of_the_tests_at_once_have_no_port_in_common() -> None:
    """They had one broker: what one published, the other counted."""
    with begin(FINDS_ONE, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout
            port = first.stdout.readline()
            second = subprocess.run(
                FINDS_ONE, cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, check=True
            )
            assert second.stdout != port
        finally:
            end(first)
