"""Which answers have become which: pairs of labels, counted exactly in a temporary file."""

import sqlite3
from typing import NamedTuple

import msgspec

# The first ones of a pair lie side by side, mostly; these are spread over the archive.
_EXAMPLES = {1, 2, 3, 10, 100, 1000, 10_000, 100_000}


class ChangeExample(msgspec.Struct, frozen=True):
    """One file of those that changed; `truth` where it is known."""

    path: str
    confidence_a: float
    confidence_b: float
    truth: str | None


class ChangedPair(msgspec.Struct, frozen=True):
    """Files that A calls one thing and B another; confidences are means; better and worse by the labels."""

    label_a: str
    label_b: str
    images: int
    confidence_a: float
    confidence_b: float
    better: int
    worse: int
    examples: list[ChangeExample]


class ChangedAnswer(NamedTuple):
    """One file's; `gain` is 1 where it got right, -1 where it got wrong."""

    label_a: str
    label_b: str
    path: str
    confidence_a: float
    confidence_b: float
    truth: str | None
    gain: int


class ChangedPairs:
    """In a scratch base."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        self._base.execute(
            "CREATE TABLE pairs (id INTEGER PRIMARY KEY, a TEXT, b TEXT, n INTEGER, of_a REAL, of_b REAL, "
            "better INTEGER, worse INTEGER, UNIQUE (a, b))"
        )
        self._base.execute("CREATE TABLE examples (pair INTEGER, path TEXT, a REAL, b REAL, truth TEXT)")
        self._base.execute("CREATE INDEX by_pair ON examples (pair)")

    def add(self, change: ChangedAnswer) -> None:
        known = self._base.execute(
            "SELECT id, n FROM pairs WHERE a = ? AND b = ?", (change.label_a, change.label_b)
        ).fetchone()
        pair, before = known or (self._begin(change), 0)
        gained = (int(change.gain > 0), int(change.gain < 0))
        self._base.execute(
            "UPDATE pairs SET n = n + 1, of_a = of_a + ?, of_b = of_b + ?, better = better + ?, "
            "worse = worse + ? WHERE id = ?",
            (change.confidence_a, change.confidence_b, *gained, pair),
        )
        if before + 1 in _EXAMPLES:
            self._base.execute(
                "INSERT INTO examples VALUES (?, ?, ?, ?, ?)",
                (pair, change.path, change.confidence_a, change.confidence_b, change.truth),
            )

    @property
    def kinds(self) -> int:
        """How many different pairs there are."""
        (count,) = self._base.execute("SELECT COUNT(*) FROM pairs").fetchone()
        return int(count)

    def most(self, count: int, *, examples: int) -> list[ChangedPair]:
        """Return the pairs with the most files, each with a few of them."""
        found = self._base.execute("SELECT * FROM pairs ORDER BY n DESC, a, b LIMIT ?", (count,))
        return [
            ChangedPair(
                label_a=a,
                label_b=b,
                images=n,
                confidence_a=round(of_a / n, 6),
                confidence_b=round(of_b / n, 6),
                better=better,
                worse=worse,
                examples=self._examples(pair, examples),
            )
            for pair, a, b, n, of_a, of_b, better, worse in found
        ]

    def _begin(self, change: ChangedAnswer) -> int | None:
        begun = self._base.execute(
            "INSERT INTO pairs (a, b, n, of_a, of_b, better, worse) VALUES (?, ?, 0, 0, 0, 0, 0)",
            (change.label_a, change.label_b),
        )
        return begun.lastrowid

    def _examples(self, pair: int, count: int) -> list[ChangeExample]:
        """Return the latest of them, which are the farthest apart."""
        found = self._base.execute(
            "SELECT path, a, b, truth FROM examples WHERE pair = ? ORDER BY rowid DESC LIMIT ?", (pair, count)
        )
        return [ChangeExample(path, round(a, 6), round(b, 6), truth) for path, a, b, truth in found][::-1]
