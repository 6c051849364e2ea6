"""The log of results, in which failed images have a share: the rest goes to another file."""

from collections.abc import Collection, Sequence
from pathlib import Path

from dropsight.errors import SinkError
from dropsight.journal.jsonlog import JsonLog

# Files beside the active one: others have room for the results.
BACKUPS_APART = 1
# Both are among the first values of an encoded record.
_HEAD_BYTES, _ANSWERED = 256, b'"status":"ok"'


class ResultLog:
    """Lines without an answer, failed and expired, may be half of a file, and as much again as others are.

    So whoever drops broken files, however many, pushes no result out of the log. What goes beyond it stands,
    rolling by the same size, in `results.failed.jsonl`: a record has one line, in one of the two.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int, compress: bool) -> None:
        self.path_apart = path_apart(path)
        self._most = self._left = max_bytes // 2
        self._log = JsonLog(path, max_bytes=max_bytes, backups=backups, compress=compress)
        self._bounds = (max_bytes, min(backups, BACKUPS_APART), compress)
        self._apart = self._open_apart() if self.path_apart.exists() else None
        self.set_apart = 0

    def append(self, lines: Sequence[bytes]) -> bool:
        """Append each to one of the files, all or none; tell whether all before them is synced."""
        left, usual, apart = self._split(lines)
        if apart and self._apart is None:
            self._apart = self._open_apart()
        if self._apart:
            self._apart.append(apart)
        try:
            synced = self._log.append(usual)
        except SinkError:
            if self._apart:
                self._apart.take_back()
            raise
        self._left = left
        self.set_apart += len(apart)
        if synced and self._apart:
            self._apart.sync()
        return synced

    def sync(self) -> None:
        self._log.sync()
        if self._apart:
            self._apart.sync()

    def recent_ids(self, ids: Collection[str]) -> set[str]:
        """Tell which of these records stand in the newest files."""
        found = self._log.recent_ids(ids)
        return found | self._apart.recent_ids(ids) if self._apart else found

    def close(self) -> None:
        self._log.close()
        if self._apart:
            self._apart.close()

    def _split(self, lines: Sequence[bytes]) -> tuple[int, list[bytes], list[bytes]]:
        """Return what is left of the share, the lines for the log, and those for the other file."""
        left, usual, apart = self._left, list[bytes](), list[bytes]()
        for line in lines:
            if _ANSWERED in line[:_HEAD_BYTES]:
                left = min(left + len(line), self._most)
                usual.append(line)
            elif len(line) <= left:
                left -= len(line)
                usual.append(line)
            else:
                apart.append(line)
        return left, usual, apart

    def _open_apart(self) -> JsonLog:
        max_bytes, backups, compress = self._bounds
        return JsonLog(self.path_apart, max_bytes=max_bytes, backups=backups, compress=compress)


def path_apart(log: Path) -> Path:
    """Name the file of failed images beyond their share."""
    return log.with_name(f"{log.stem}.failed{log.suffix}")
