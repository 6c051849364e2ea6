"""Whether a journal can be trusted: once found damaged, it is rescued at the next start."""

import contextlib
from pathlib import Path

MARK = ".damaged"


def mark_damaged(journal: Path) -> None:
    """Have the next start rescue the journal, even if it opens well."""
    with contextlib.suppress(OSError):
        journal.with_name(journal.name + MARK).touch()


def is_marked(journal: Path) -> bool:
    return journal.with_name(journal.name + MARK).exists()
