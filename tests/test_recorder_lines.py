"""An exception that nobody expects, raised at each line of the recorder that does anything."""

import ast
import inspect
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from brokers import wait_until
from dropsight.events.rule import Rule
from dropsight.journal import committing, entering, event_keeping, hand, occurrences, recorder
from dropsight.journal.event_table import EventNews
from dropsight.journal.recording import Finished
from dropsight.journal.store import Row
from records import result
from test_recorder import Desk

# What is done before the recorder's thread runs, and on other threads.
ELSEWHERE = {"__init__", "recover", "put", "drain", "stop"}
# Of each image, one event that is over at once.
RULES = (Rule("any", ("*",), confirm=(1, 1), confidence={"*": 0.1}, end_after=0.01),)
MODULES = (recorder, hand, committing, entering, occurrences, event_keeping)
DROPS = ["again.jpg", "odd.jpg", "other.jpg"]


def working_lines(module: ModuleType) -> Iterator[int]:
    """Those that call something outside of `with self._contained(...)`, which is tried by name."""
    for function in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(function, ast.FunctionDef) and function.name not in ELSEWHERE:
            yield from (each.lineno for each in statements(function.body) if calls(each))


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for each in body:
        if isinstance(each, ast.With) and "_contained" in ast.unparse(each.items[0]):
            continue
        if not isinstance(each, ast.Try | ast.With):
            yield each
        for inner in ("body", "orelse", "finalbody"):
            yield from statements(getattr(each, inner, []))


def calls(statement: ast.stmt) -> bool:
    """Whether it begins with a call."""
    begins = {ast.If: "test", ast.While: "test", ast.For: "iter"}.get(type(statement))
    head = getattr(statement, begins) if begins else statement
    return any(isinstance(each, ast.Call) for each in ast.walk(head))


class RaisedAt:
    """For `threading.settrace`: raises the first time that a thread gets to this line."""

    def __init__(self, module: ModuleType, line: int) -> None:
        self._file, self._line = inspect.getsourcefile(module), line
        self.done = False

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if self.done or frame.f_code.co_filename != self._file:
            return None
        if event == "line" and frame.f_lineno == self._line:
            self.done = True
            raise OverflowError(f"a test has this raised at line {self._line}")
        return self


class House:
    """A desk, and a journal that takes no answer for odd.jpg."""

    def __init__(self, root: Path) -> None:
        self.desk = Desk(root, pause_seconds=0.001, rules=RULES)
        self._add, self.desk.store.add = self.desk.store.add, self._without_odd  # type: ignore[method-assign]

    def _without_odd(self, rows: Sequence[Row], events: EventNews | None = None) -> list[int | None]:
        if any(row.path.endswith(b"odd.jpg") and row.status == "ok" for row in rows):
            raise OverflowError("there is no place for it")
        return self._add(rows, events)

    def drop(self, *names: str) -> None:
        for name in names:
            path = self.desk.inbox / name
            path.write_bytes(b"image")
            os.utime(path, ns=(10**18, 10**18))
        self.walk()

    def walk(self) -> bool:
        """Find what is there and in nobody's hand, as walks do; tell whether nothing is left."""
        desk, found = self.desk, []
        if desk.backlog.counters().waiting:
            return False
        paths = sorted(desk.inbox.iterdir())
        for path in paths:
            desk.backlog.hint(desk.folder, str(path), closed=True)
            candidate = desk.backlog.take()
            assert candidate
            stat = path.stat()
            found.append(Finished(candidate, stat, result(path.name, stat)))
        for each in found:
            desk.recorder.put(each)
        return not paths

    def newest(self) -> int:
        with closing(sqlite3.connect(self.desk.store.path)) as db:
            return int(db.execute("SELECT max(seq) FROM record").fetchone()[0])

    def records(self) -> list[tuple[str, str, int]]:
        with closing(sqlite3.connect(self.desk.store.path)) as db:
            rows = db.execute("SELECT CAST(path AS TEXT), status, filed FROM record WHERE status != 'event'")
            return sorted((Path(path).name, status, filed) for path, status, filed in rows)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_an_exception_at_any_line_of_the_recorder_costs_no_record_and_ends_nothing(
    tmp_path: Path, module: ModuleType
) -> None:
    """Those between its steps used to end the process."""
    reached = 0
    for line in sorted(set(working_lines(module))):
        fault, where = RaisedAt(module, line), f"{module.__name__}, line {line}"
        house = House(tmp_path / str(line))
        threading.settrace(fault)
        try:
            with house.desk.running() as thread:
                threading.settrace(None)
                house.drop("again.jpg")
                wait_until(house.walk, what=where)
                house.drop(*DROPS)
                wait_until(house.walk, what=where)
                assert house.desk.recorder.drain(seconds=60)
        finally:
            threading.settrace(None)
        reached += fault.done
        records = house.records()
        assert [name for name, _, _ in records] == ["again.jpg", *DROPS], where
        assert all(filed for _, _, filed in records), where
        others = [status for name, status, _ in records if name != "odd.jpg"]
        assert others.count("failed") <= fault.done, where
        assert sorted(house.desk.lines()) == ["again.jpg", *DROPS], where
        assert not thread.is_alive(), where
        assert house.desk.recorder.visible == house.newest(), where
        house.desk.close()
    assert reached
