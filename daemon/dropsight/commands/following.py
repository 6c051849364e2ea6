"""`dropsight logs`: the JSON log's last results, and those that come, in a line each."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from dropsight.commands.settings import find_config, settings
from dropsight.errors import DropsightError, reason
from dropsight.journal.log_files import backup_files, lines_of
from dropsight.journal.resultlog import path_apart
from dropsight.names import as_one_line, as_shown
from dropsight.records import (
    EventMark,
    Expired,
    Failure,
    Record,
    Result,
    burst_in,
    decode,
    shown_confidence,
    shown_label,
)
from dropsight.sinks.terminal import clip_words, happens, where_words

LOOK_SECONDS = 0.25
_GREEN, _YELLOW, _RED, _DIM, _PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[0m"
_SURE = 0.5


def logs(file: Path | None, *, last: int, follow: bool, as_json: bool) -> None:
    """Print them; raises DropsightError where the log cannot be read."""
    path = settings(find_config(file)).log.path
    if path_apart(path).exists():
        print(f"failed images beyond their share of the log are in {path_apart(path)}", file=sys.stderr)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        for line in last_lines(path, last=last, follow=follow):
            if as_json:
                sys.stdout.buffer.write(as_one_line(line) + b"\n")
                sys.stdout.buffer.flush()
            else:
                print(shown(line, coloured=coloured), flush=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise DropsightError(f"{path}: cannot be read: {reason(error)}") from error


def shown(line: bytes, *, coloured: bool) -> str:
    """Write a record for people: when, which camera, what, how surely, which file."""
    record = decode(line)
    match record:
        case Result():
            colour = _GREEN if shown_confidence(record) >= _SURE else _YELLOW
            what = f"{shown_confidence(record):6.1%}  {shown_label(record)}"
            if record.clip:
                what += f" ({where_words(record)}{clip_words(record.clip)})"
            elif record.region:
                what += f" ({record.region})"
        case Failure():
            colour, what = _RED, f"failed  {record.error.code}: {record.error.message}"
        case Expired():
            colour, what = _RED, f"expired after {record.age_seconds:.0f} s"
    burst = burst_in(record)
    what += "".join(f"  [{happens(mark.name, mark.phase)}]" for mark in _begun_or_over(record))
    tail = f"{burst.name}, surest in {burst.peak.image_path}" if burst else record.image_path
    head = f"{record.time[:19]:<19}  {record.camera:<12}"
    head, what, tail = map(as_shown, (head, what, tail))
    if not coloured:
        return f"{head}  {what}  {tail}"
    return f"{_DIM}{head}{_PLAIN}  {colour}{what}{_PLAIN}  {_DIM}{tail}{_PLAIN}"


def _begun_or_over(record: Record) -> list[EventMark]:
    marks = record.events or [] if isinstance(record, Result) else []
    return [mark for mark in marks if mark.phase != "update"]


def last_lines(path: Path, *, last: int, follow: bool) -> Iterator[bytes]:
    """Yield so many of the newest lines, over all files of the log, then each that comes."""
    if not follow and not path.exists():
        raise DropsightError(f"{path}: there is no log yet; it is created with the first image")
    with contextlib.closing(Tail(path)) as tail:
        newest = deque(tail.news(), maxlen=last)
        for _, backup in sorted(backup_files(path)) if path.parent.is_dir() else []:
            if len(newest) == last:
                break
            older = deque((line.rstrip(b"\n") for line in lines_of(backup)), maxlen=last - len(newest))
            newest.extendleft(reversed(older))
        yield from newest
        while follow:
            yield from tail.news()
            time.sleep(LOOK_SECONDS)


class Tail:
    """Reads on in a log that is rotated under it: no line twice, none left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._part = self._last = b""

    def news(self) -> Iterator[bytes]:
        """Yield the whole lines that were added since."""
        while self._open():
            yield from self._added()
            if not self._is_rotated():
                return
            yield from self._added()  # what came between that reading and the rotation
            self.close()
            yield from self._missed()

    def _open(self) -> bool:
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):  # not yet; or just now, in a rotation
                self._file = self._path.open("rb")
        return self._file is not None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._part = None, b""

    def _added(self) -> Iterator[bytes]:
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # a person emptied it
        for line in self._file:
            self._part += line
            if self._part.endswith(b"\n"):
                self._last, self._part = self._part.rstrip(b"\n"), b""
                yield self._last

    def _is_rotated(self) -> bool:
        try:
            return self._file is not None and not os.path.samestat(
                os.fstat(self._file.fileno()), self._path.stat()
            )
        except FileNotFoundError:
            return False

    def _missed(self) -> Iterator[bytes]:
        """Yield what stands in files that came and were rotated away since the one that was read."""
        backups = self._backups()
        files = self._since(backups)
        while (now := self._backups()) != backups:  # rotated or compressed while it was read
            backups, files = now, self._since(now)
        for lines in reversed(files):
            yield from lines

    def _backups(self) -> list[tuple[int, Path, int]]:
        found = []
        for number, backup in sorted(backup_files(self._path)):
            with contextlib.suppress(FileNotFoundError):
                found.append((number, backup, backup.stat().st_ino))
        return found

    def _since(self, backups: Sequence[tuple[int, Path, int]]) -> list[list[bytes]]:
        """Return the lines of each file, the newest first, up to the one that was read."""
        files: list[list[bytes]] = []
        for _, backup, _ in backups:
            lines = [line.rstrip(b"\n") for line in lines_of(backup)]
            if self._last in lines[-1:]:
                return files
            if lines not in files[-1:]:  # a file and its compressed copy, just before the file goes
                files.append(lines)
        return []  # the one that was read is gone: what is new cannot be told
