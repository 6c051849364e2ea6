"""Fixtures that several files use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors import Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()
