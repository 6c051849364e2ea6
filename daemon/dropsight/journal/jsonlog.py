"""The rolling JSON log: whole lines only, rotated by size, old files compressed aside, bounded in number."""

import contextlib
import gzip
import logging
import os
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dropsight import crashpoints
from dropsight.errors import SinkError, UnsyncedError, reason
from dropsight.files.disk import sync_folder
from dropsight.journal.log_files import are_alike, backup_files, copies_by_date, lines_of, readable_lines
from dropsight.threads import begins

log = logging.getLogger(__name__)

_TAIL_BYTES = 65_536
# How far back a line of an earlier life is looked for: far beyond what the cursor can be behind.
_RECENT_BYTES = 2**21
_RECENT_BACKUPS = 2
_PART = ".part"
# How our lines begin: what else stands at the end of the log is another program's.
_BEGINNING = b'{"status":"'


class JsonLog:
    """One thread appends; compression runs on a thread of its own.

    Files: `results.jsonl`, then `results.jsonl.1` (newest) to `.N`, each `.gz` once it is compressed.
    Raises SinkError where the disk does not take lines; what stands in the log then is still whole lines.
    UnsyncedError: what was appended since the last sync may not be on the disk.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int, compress: bool) -> None:
        self._path, self._max_bytes, self._backups, self._compress = path, max_bytes, backups, compress
        self._appended = 0
        self._has_said_what_goes = False
        self._compressor: threading.Thread | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise _unusable(path, error) from error
        self._mend_backups()
        self._start_compressor()

    def append(self, lines: Sequence[bytes]) -> bool:
        """Append each as a line, all or none; rotate first where they would not fit, and tell whether."""
        self._appended = 0
        if not lines:
            return False
        block = b"\n".join(lines) + b"\n"
        try:
            self._reopen_if_moved()
            full = self._size > 0 and self._size + len(block) > self._max_bytes
            if full:
                self._rotate()
            self._write(block)
            self._appended = len(block)
            return full
        except OSError as error:
            raise _unusable(self._path, error) from error

    def take_back(self) -> None:
        """Cut off what the last `append` has written, if it has."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size - self._appended)
            self._size -= self._appended
        self._appended = 0

    def sync(self) -> None:
        self._sync(self._fd)

    def recent_ids(self, ids: Collection[str]) -> set[str]:
        """Tell which of these records stand in the log's newest files."""
        wanted = {record_id.encode(): record_id for record_id in ids}
        found: set[str] = set()
        if self._compressor:  # it takes files away
            self._compressor.join()
        try:
            for line in self._recent_lines():
                # The id is among the first values of an encoded record.
                record_id = line[:256].partition(b'"id":"')[2].partition(b'"')[0]
                if record_id in wanted:
                    found.add(wanted[record_id])
        except OSError as error:
            raise _unusable(self._path, error) from error
        return found

    def _recent_lines(self) -> Iterator[bytes]:
        """The lines of the newest files, as far as a bound."""
        left = _RECENT_BYTES
        for number, path in [(0, self._path), *sorted(backup_files(self._path))]:
            if number > _RECENT_BACKUPS and left < 0:
                return
            for line in lines_of(path):
                left -= len(line)
                yield line
        for path in copies_by_date(self._path)[:_RECENT_BACKUPS]:
            yield from readable_lines(path)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.fdatasync(self._fd)
        os.close(self._fd)
        if self._compressor:
            self._compressor.join()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _cut_own_half_line(self._fd)
        self._size = os.fstat(self._fd).st_size
        self._torn_size: int | None = None
        self._unsynced: UnsyncedError | None = None

    def _reopen_if_moved(self) -> None:
        """Follow logrotate, or a person, who renamed or removed the file."""
        mine = os.fstat(self._fd)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            former, unsynced = self._fd, self._unsynced
            self._open()
            try:
                self._sync(former)  # its disk may have been pulled out, which some file systems tell once
            finally:
                os.close(former)
                self._unsynced = None
            if unsynced:
                raise unsynced
        elif mine.st_size == self._torn_size:
            os.ftruncate(self._fd, self._size)
            self._torn_size = None
        else:
            self._size = mine.st_size

    def _sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self._unsynced = UnsyncedError(str(_unusable(self._path, error)))
            raise self._unsynced from error
        self._unsynced = None

    def _write(self, block: bytes) -> None:
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            block = b"\n" + block  # another program's half line
        left = block
        try:
            if crashpoints.near("in_line"):
                os.write(self._fd, block[: len(block) * 2 // 3])
                crashpoints.die()
            while left:
                left = left[os.write(self._fd, left) :]
        except BaseException:
            self._torn_size = self._size + len(block) - len(left)
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                self._torn_size = None
            raise
        self._size += len(block)

    def _rotate(self) -> None:
        self._sync(self._fd)
        if self._compressor:
            self._compressor.join()
        self._shift()
        former = self._fd
        self._open()
        os.close(former)
        sync_folder(self._path.parent)
        self._start_compressor()

    def _start_compressor(self) -> None:
        if self._compress and self._backups:
            compressor = threading.Thread(target=self._compress_backups, name="log-gzip")
            # Without room for one more thread the next rotation compresses what this one leaves.
            self._compressor = compressor if begins(compressor) else None

    def _shift(self) -> None:
        rotated = sorted(backup_files(self._path), reverse=True)
        self._say_what_goes([path for number, path in rotated if number > self._backups])
        for number, path in rotated:
            if number >= self._backups:
                path.unlink()
            else:
                path.rename(self._backup(number + 1, gz=path.suffix == ".gz"))
        if self._backups:
            self._path.rename(self._backup(1))
        else:
            self._path.unlink()
        crashpoints.reach("in_rotation")

    def _say_what_goes(self, beyond: Sequence[Path]) -> None:
        """They are logrotate's, or of when `log.backups` was more; of ours one goes at each rotation."""
        if beyond and self._backups and not self._has_said_what_goes:
            self._has_said_what_goes = True
            log.warning(
                "%s, and all up to %s, are deleted: log.backups is %d; have logrotate name its copies by"
                " date (dateext)",
                beyond[-1],
                beyond[0].name,
                self._backups,
            )

    def _compress_backups(self) -> None:
        """The newest, and any that a crash or a full disk left as it was."""
        for _, path in backup_files(self._path):
            if path.suffix != ".gz":
                self._compress_file(path)

    def _compress_file(self, path: Path) -> None:
        """Both names are never gone: the plain file goes when the compressed one is whole and on disk."""
        target = path.with_name(path.name + ".gz")
        if target.exists():  # of other lines: logrotate gives the same names
            log.warning("%s is not compressed: %s is there, with other lines", path, target.name)
            return
        part = target.with_name(target.name + _PART)
        try:
            with path.open("rb") as plain, part.open("wb") as raw:
                # Without a time: its field ends in 2106, which a clock that was never set may be beyond.
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, filename="", mtime=0) as packed:
                    shutil.copyfileobj(plain, packed)
                raw.flush()
                os.fsync(raw.fileno())
                was_moved = not os.path.samefile(path, plain.fileno())
            if was_moved:
                part.unlink()
                return
            part.rename(target)
            sync_folder(target.parent)
            crashpoints.reach("in_compression")
            path.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            log.warning("%s cannot be compressed: %s", path, error.strerror)

    def _mend_backups(self) -> None:
        """Finish what a crash interrupted: half a compressed file, or both forms of one.

        Of two with other lines, as logrotate's copies beside ours, neither goes.
        """
        with contextlib.suppress(OSError):  # the next start is as good
            for path in self._path.parent.iterdir():
                if path.name.startswith(f"{self._path.name}.") and path.suffix == _PART:
                    path.unlink()
            for _, path in backup_files(self._path):
                packed = path.with_name(path.name + ".gz")
                if path.suffix != ".gz" and packed.exists() and are_alike(path, packed):
                    path.unlink()

    def _backup(self, number: int, *, gz: bool = False) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}{'.gz' if gz else ''}")


def _cut_own_half_line(fd: int) -> None:
    """A crash in mid-write may leave half a line of ours, or zeros in its place: take it off."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(end - _TAIL_BYTES, 0)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    head = os.pread(fd, len(_BEGINNING), end).rstrip(b"\0")
    if end < size and _BEGINNING.startswith(head):
        os.ftruncate(fd, end)


def _unusable(path: Path, error: OSError) -> SinkError:
    return SinkError(f"log.path: {path} cannot be written: {reason(error)}")
