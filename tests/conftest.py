"""Fixtures that several files use, and the order in which several processes share the files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors import Supervisor


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the work, what takes long comes first: none is left alone with it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()
