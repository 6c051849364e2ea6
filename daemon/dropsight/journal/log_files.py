"""The files of a rolling log, by their names, and the lines in them."""

import contextlib
import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

LONGEST_LINE = 2**24


def backup_files(log: Path) -> list[tuple[int, Path]]:
    """Each rotated file with its number; 1 is the newest."""
    pattern = re.compile(re.escape(log.name) + r"\.(\d+)(\.gz)?")
    found = ((pattern.fullmatch(path.name), path) for path in log.parent.iterdir())
    return [(int(match[1]), path) for match, path in found if match]


def copies_by_date(log: Path) -> list[Path]:
    """Name what logrotate's `dateext` calls its copies, `copytruncate` above all; the newest first."""
    stem, suffix = re.escape(log.stem), re.escape(log.suffix)
    pattern = re.compile(rf"{stem}({suffix})?[-.]\d{{4}}[-\d.]*({suffix})?(\.gz)?")
    found = []
    for path in log.parent.iterdir():
        if pattern.fullmatch(path.name):
            with contextlib.suppress(OSError):  # taken away just now
                found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def lines_of(path: Path) -> Iterator[bytes]:
    """All lines of a file, as far as it can be read; one too long to be a record's comes in pieces."""
    with (
        contextlib.suppress(FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error),
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file,
    ):
        while line := file.readline(LONGEST_LINE):
            yield line


def are_alike(*paths: Path) -> bool:
    return all(one == other for one, other in zip_longest(*map(lines_of, paths)))


def readable_lines(path: Path) -> Iterator[bytes]:
    """As `lines_of`, but none of what is closed to us, as root's copies are."""
    with contextlib.suppress(OSError):
        yield from lines_of(path)
