"""Which files in processed/ and failed/ are dropsight's own: retention deletes nothing else."""

import os
import stat as kinds
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from dropsight.files.original import REASON_SUFFIX, FiledAt, other_name
from dropsight.intake.folder import DropFolder
from dropsight.journal.schema import SHELVE, Shelved, all_storable, connect, storable, translated
from dropsight.records import Record, Result, decode

OVERLAY_SUFFIX = ".why.jpg"
BATCH = 500
# So many files tell whether a folder is one that had another path.
LOOKED_AT = 100
_NEWEST = "SELECT * FROM shelf WHERE place = ? ORDER BY seq DESC LIMIT ?"
_HOUR_NS = 3_600 * 10**9
# FAT's clock ticks every two seconds, and tells local time.
_TICK_NS = 2 * 10**9
# The last column: whether a later image has been filed by the same name.
_ROWS = """
SELECT shelf.*, EXISTS (
    SELECT 1 FROM shelf AS later
    WHERE later.place = shelf.place AND later.name = shelf.name AND later.seq > shelf.seq
) FROM shelf WHERE place = ? AND (seq, name) > (?, ?) ORDER BY seq, name LIMIT ?
"""
_ORIGINS = """
SELECT shelf.name, record.path FROM shelf JOIN record USING (seq) WHERE place = ? ORDER BY seq DESC LIMIT ?
"""
_NO_INODE = _NO_SIZE = -1


class Filed(msgspec.Struct, frozen=True):
    """A durable record's image, as it was when it was read; `inode` is None where an earlier life read it."""

    seq: int
    path: str
    size: int
    mtime_ns: int
    record: Record
    inode: int | None = None

    @classmethod
    def from_row(cls, seq: int, path: bytes, size: int, mtime_ns: int, line: bytes) -> "Filed":
        return cls(seq, os.fsdecode(path), size, mtime_ns, decode(line))


# Of its own accord SQLite looks through all of the place.
_BY_NAME = "SELECT size, mtime_ns FROM shelf INDEXED BY shelf_by_name WHERE place = ? AND name = ?"


class FiledImages:
    """For one thread, with a connection of its own. Raises StoreError.

    The recorder notes what it files. What it could not note is found by `adopt`: an earlier version's, or
    what stood in the part of a journal that was damaged.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal
        with translated(journal):
            self._db = connect(journal)

    def adopt(self, folders: Sequence[DropFolder], *, upto: int, stopped: Callable[[], bool]) -> bool:
        """Note the images of records beyond the mark which lie where they were filed; False if cut short."""
        with translated(self._path):
            row = self._db.execute("SELECT seq FROM cursor WHERE name = 'shelf'").fetchone()
        after = row[0] if row else 0
        while not stopped():
            with translated(self._path):
                rows = self._db.execute(
                    "SELECT seq, path, size, mtime_ns, line FROM record"
                    " WHERE seq > ? AND seq <= ? AND filed = 1 ORDER BY seq LIMIT ?",
                    (after, upto, BATCH),
                ).fetchall()
            if not rows:
                return True
            after = rows[-1][0]
            found = (lies_at(folders, Filed.from_row(*row)) for row in rows)
            self._write(SHELVE, [msgspec.structs.astuple(each) for each in found if each])
        return False

    def rows(self, place: bytes) -> Iterator[Shelved]:
        """The oldest first, one batch per query.

        What was filed by a name and then taken away is no more once the name is another's, which often has
        its inode as well: of such a row, only an overlay may be left.
        """
        last = (0, b"")
        while True:
            with translated(self._path):
                batch = self._db.execute(_ROWS, (place, *last, BATCH)).fetchall()
            if not batch:
                return
            for *row, is_followed in batch:
                shelved = Shelved(*row)
                yield _bare(shelved) if is_followed else shelved
            last = batch[-1][1:3]

    def places(self) -> Iterator[bytes]:
        """Name the folders in which something was filed."""
        place: bytes | None = b""
        while True:
            with translated(self._path):
                (place,) = self._db.execute(
                    "SELECT min(place) FROM shelf WHERE place > ?", (place,)
                ).fetchone()
            if place is None:
                return
            yield place

    def names_in_inboxes(self, place: bytes) -> set[bytes]:
        """Name this place as seen from the inboxes in which it lay, by what was filed there last."""
        with translated(self._path):
            rows = self._db.execute(_ORIGINS, (place, LOOKED_AT)).fetchall()
        roots = {path.removesuffix(name) for name, path in rows if path.endswith(b"/" + name)}
        return {place.removeprefix(root) for root in roots if place.startswith(root)}

    def has(self, place: bytes, name: bytes, there: os.stat_result) -> bool:
        """Whether what lies by this name was filed there, as far as size and time tell."""
        with translated(self._path):
            rows = self._db.execute(_BY_NAME, (place, name)).fetchall()
        return any(is_as(there, *row) for row in rows)

    def oldest(self, place: bytes) -> int | None:
        with translated(self._path):
            found = self._db.execute("SELECT min(seq) FROM shelf WHERE place = ?", (place,))
            (seq,) = found.fetchone()
        return None if seq is None else int(seq)

    def newest(self, place: bytes) -> list[Shelved]:
        """Return what was filed there last."""
        with translated(self._path):
            rows = self._db.execute(_NEWEST, (place, LOOKED_AT)).fetchall()
        return [Shelved(*row) for row in rows]

    def move(self, former: bytes, place: bytes) -> None:
        """Have what was filed in the one be in the other; some at a time, as records wait meanwhile.

        The newest first: what a kill leaves is still from before all that is there.
        """
        while True:
            with translated(self._path):
                some = self._db.execute(
                    "SELECT seq, name FROM shelf WHERE place = ? ORDER BY seq DESC LIMIT ?", (former, BATCH)
                ).fetchall()
            if not some:
                return
            self._write(
                "UPDATE OR REPLACE shelf SET place = ? WHERE place = ? AND seq = ? AND name = ?",
                [(place, former, *key) for key in some],
            )

    def forget(self, rows: Sequence[Shelved]) -> None:
        for start in range(0, len(rows), BATCH):
            some = [(row.place, row.seq, row.name) for row in rows[start : start + BATCH]]
            self._write("DELETE FROM shelf WHERE place = ? AND seq = ? AND name = ?", some)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with translated(self._path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)

    def close(self) -> None:
        self._db.close()


def lies_at(folders: Sequence[DropFolder], filed: Filed, *, told: FiledAt | None = None) -> Shelved | None:
    """Find where filing has put an image; None where it put it nowhere, or where it is no more.

    Where filing has `told` its place, it is looked for there before anywhere else.
    """
    if told and (there := _lies_there(folders[0], filed, told)):
        return there
    folder = next((folder for folder in folders if folder.wants(filed.path)), None)
    if folder is None or not (top := _place(folder, filed.record)):
        return None
    wanted = os.path.join(top, folder.relative(filed.path))
    other = other_name(wanted, filed.record.id)
    flat = os.path.join(top, os.path.basename(other))
    for target in (other, flat, wanted):  # a name with the id in it is of nobody else
        if found := _image_at(target, filed):
            return _row(top, target, found, filed, beside=_beside(wanted, target, filed.record))
    if not isinstance(filed.record, Result):  # of a pipe or a device, the reason may be all there is
        for target in (other, flat, wanted):
            if found := _stat(target + REASON_SUFFIX):
                return _row(top, target + REASON_SUFFIX, found, filed, beside=None)
    return None


def _lies_there(folder: DropFolder, filed: Filed, told: FiledAt) -> Shelved | None:
    top, found = _place(folder, filed.record), told.stat or _image_at(told.path, filed)
    if top is None or found is None:
        return None
    wanted = f"{top}/{folder.relative(filed.path)}"
    return _row(top, told.path, found, filed, beside=_beside(wanted, told.path, filed.record))


def _image_at(place: str, filed: Filed) -> os.stat_result | None:
    found = _stat(place)
    is_it = found and (found.st_ino == filed.inode or is_as(found, filed.size, filed.mtime_ns))
    return found if is_it else None


def is_ours(there: os.stat_result, row: Shelved) -> bool:
    """Whether it is the file that was put there: by its inode, where the file system keeps these.

    Who uploaded it may have a second name of it, through which to change its size and time.
    """
    return storable(there.st_ino) == row.inode or is_as(there, row.size, row.mtime_ns)


def is_as(there: os.stat_result, size: int, mtime_ns: int) -> bool:
    """Whether size and time are these, as far as a FAT disk can tell."""
    apart = (storable(there.st_mtime_ns) - mtime_ns + _TICK_NS) % _HOUR_NS
    return there.st_size == size and apart <= 2 * _TICK_NS


def overlay_beside(target: str, record_id: str) -> str:
    """Name the explanation of the image at this place."""
    stem = os.path.splitext(target)[0]
    return f"{stem}.{record_id[:12]}{OVERLAY_SUFFIX}"


def _bare(row: Shelved) -> Shelved:
    """Without the image, nor the reason that by now is the later one's."""
    has_overlay = row.beside is not None and row.beside != row.name + os.fsencode(REASON_SUFFIX)
    beside = row.beside if has_overlay else None
    return msgspec.structs.replace(row, inode=_NO_INODE, size=_NO_SIZE, beside=beside)


def _place(folder: DropFolder, record: Record) -> str | None:
    settings = folder.settings
    if settings.after == "keep":
        return None
    if not isinstance(record, Result):
        return folder.failed.path
    return folder.processed.path if settings.after == "move" else None


def _stat(path: str) -> os.stat_result | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return None if kinds.S_ISDIR(found.st_mode) else found


def _beside(wanted: str, target: str, record: Record) -> str | None:
    if not isinstance(record, Result):
        return target + REASON_SUFFIX
    return None if record.explanation is msgspec.UNSET else overlay_beside(wanted, record.id)


def _row(top: str, target: str, found: os.stat_result, filed: Filed, *, beside: str | None) -> Shelved:
    inode, mtime_ns = all_storable(found.st_ino, found.st_mtime_ns)
    return Shelved(
        _encoded(top),
        filed.seq,
        _below(top, target),
        inode,
        found.st_size,
        mtime_ns,
        found.st_ctime,
        None if beside is None else _below(top, beside),
    )


@lru_cache(maxsize=64)  # the same few folders over and over
def _encoded(folder: str) -> bytes:
    return os.fsencode(folder)


def _below(top: str, path: str) -> bytes:
    return os.fsencode(path[len(top) + 1 :])
