"""The service under a real systemd in a fresh Debian, and the wheel on arm64, emulated."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPTS = ("test-systemd", "test-arm64")
SKIPPED = 77


@pytest.fixture(scope="module")
def trials(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    """Both at once: one mostly waits, the other mostly computes."""
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
    assert {"test-systemd": "all of it", "test-arm64": "14 of 14 the same"}[name] in said.read_text()
