"""Going through folders, however many there are, in bounded memory."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropsight.files import descent as module
from dropsight.files.descent import Descent

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "é", "\udcff", "Z", "aa", "ab"])
PATHS = st.sets(st.lists(NAMES, min_size=1, max_size=4).map(tuple), max_size=40)


class Tree:
    """Folders in memory, listed in any order, as a disk lists them."""

    def __init__(self, paths: set[tuple[str, ...]]) -> None:
        self.folders: dict[str, set[str]] = {"": set()}
        for path in paths:
            for depth in range(len(path)):
                above, below = "/".join(path[:depth]), "/".join(path[: depth + 1])
                self.folders[above].add(path[depth])
                self.folders.setdefault(below, set())

    def seen_by(self, descent: Descent) -> tuple[list[str], int]:
        """What was listed for the first time, in order; and how many names were held at most."""
        first, most = list[str](), 0
        while (inner := descent.next()) is not None:
            if not descent.again:
                first.append(inner)
            for name in self.folders[inner]:
                descent.found(name)
            most = max(most, sum(len(level.names) for level in descent._levels))  # noqa: SLF001
        return first, most


@given(PATHS, st.integers(1, 8), st.integers(1, 4))
def test_each_folder_is_listed_first_once_and_left_after_all_below_it(
    paths: set[tuple[str, ...]], most: int, least: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_NAMES", most)
        patch.setattr(module, "LEAST_NAMES", least)
        tree, left = Tree(paths), list[str]()
        first, _ = tree.seen_by(Descent(lambda path, _: left.append(path)))
    assert sorted(first) == sorted(tree.folders)
    assert sorted(["", *left]) == sorted(tree.folders)
    order = {path: number for number, path in enumerate(left)}
    above = {path: path.rpartition("/")[0] for path in left}
    assert all(order[path] < order[above[path]] for path in left if above[path])


def test_of_many_folders_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 100)
    monkeypatch.setattr(module, "LEAST_NAMES", 50)
    tree = Tree({(f"{number:05}",) for number in range(5_000)})
    first, most = tree.seen_by(Descent())
    assert len(first) == 5_001
    assert most < 2 * 100 + module.LEAST_NAMES


def test_folders_that_come_and_go_meanwhile_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    monkeypatch.setattr(module, "LEAST_NAMES", 2)
    for number in range(9):
        (tmp_path / str(number)).mkdir()
    descent, seen = Descent(), list[str]()
    while (inner := descent.next()) is not None:
        seen += [] if descent.again else [inner]
        if not (tmp_path / inner).exists():
            continue
        for entry in os.scandir(tmp_path / inner):
            descent.found(entry.name)
        if inner == "1":
            (tmp_path / "2").rmdir()
            (tmp_path / "3").rmdir()
            (tmp_path / "99").mkdir()
    assert seen == ["", *"0145678", "99"]
