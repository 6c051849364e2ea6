"""A place to sort and count what memory would not hold: a temporary file that is gone with its process."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from dropsight.errors import StoreError


@contextmanager
def scratch() -> Iterator[sqlite3.Connection]:
    """Give a base that takes 16 MB of memory at most; raises StoreError where its disk is full."""
    try:
        with closing(sqlite3.connect("")) as base:
            base.execute("PRAGMA cache_size = -16384")
            yield base
    except sqlite3.Error as error:
        raise StoreError(
            f"the folder for temporary files: {error}; set TMPDIR to a folder on another disk"
        ) from error
