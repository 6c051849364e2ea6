"""The service under a real systemd in a fresh Debian.

scripts/test-arm64 is for a person: its answers are further from those of x86 than it allows, unexplained yet.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPTS = ("test-systemd",)
SKIPPED = 77


@pytest.fixture(scope="module")
def trials(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    started = {}
    environ = {**os.environ, "DROPSIGHT_PYTHON": sys.executable}
    for name in SCRIPTS:
        said = tmp_path_factory.mktemp(name) / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [ROOT / "scripts" / name],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        started[name] = (process, said)
    try:
        yield started
    finally:
        for process, _ in started.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_real_thing_keeps_its_word(
    name: str, trials: dict[str, tuple[subprocess.Popen[bytes], Path]]
) -> None:
    process, said = trials[name]
    code = process.wait(800)
    if code == SKIPPED:
        pytest.skip(said.read_text().splitlines()[-1])
    assert code == 0, said.read_text()
    assert "all of it" in said.read_text()
