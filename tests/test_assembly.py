"""The daemon's parts: complete when made, told of changes in order, and heard of as they are."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import dropsight.service
from dropsight.journal.recording import Audience, Durable
from dropsight.status.changes import Changes

SERVICE = Path(dropsight.service.__file__).parent


def test_no_part_of_the_service_is_completed_from_outside_after_it_was_made() -> None:
    """What is handed over later is a method's to take: an editor finds who calls it, and when."""
    found = {
        f"{path.name}: {ast.unparse(target)}"
        for path in SERVICE.glob("*.py")
        for target in assigned(ast.parse(path.read_text()))
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self"
    }
    assert found == {
        "camera_keeper.py: looked.twice",  # a note of its own
        "lifecycle.py: threading.excepthook",
    }


def assigned(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from target.elts if isinstance(target, ast.Tuple) else [target]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target


def test_who_asks_first_is_told_first_of_changes_and_hears_first_of_records() -> None:
    heard: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def hear(self, _recorded: Sequence[Durable], /) -> None:
            heard.append(self.name)

    audience, changes = Audience(), Changes(lambda: heard.append("made with"))
    audience.admit(Noting("cameras"), None, Noting("followers"))
    changes.tell(lambda: heard.append("asked later"))
    audience.hear([])
    changes()
    assert heard == ["cameras", "followers", "made with", "asked later"]
