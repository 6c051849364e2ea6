"""Sources to files, one after the other: folders, globs, lists of files, and what fsspec knows."""

import codecs
import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from fsspec.archive import AbstractArchiveFileSystem

from dropsight.archive.containers import bounded_list
from dropsight.archive.patterns import GLOB, is_too_long, matching, matching_there
from dropsight.archive.storage import absolute, host_of, is_url, system_of, told
from dropsight.archive.streams import streaming
from dropsight.archive.times_told import on_calendar, time_us
from dropsight.archive.urls import WEB, check_from_elsewhere, check_listed
from dropsight.config import Watch
from dropsight.errors import ConfigError, StoreError
from dropsight.names import as_text
from dropsight.video.sniffing import CLIP_PATTERNS

LIST_SUFFIXES = (".txt", ".list")
_PACKED = {".zip": "zip", ".tar": "tar", ".tgz": "tar", ".tar.gz": "tar"}
_WANTED = re.compile("|".join(map(fnmatch.translate, (*Watch().patterns, *CLIP_PATTERNS))), re.IGNORECASE)
_LONGEST_LINE = 65_536
DEEPEST, LONGEST_SHOWN = 64, 500
_NO_SIZE = 2**63
_NO_FILES = {stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK}
_TAGS = ("ETag", "etag", "md5Hash", "content_settings")


class Listed(NamedTuple):
    """A file as the manifest has it: by its path or URL, in bytes; `mtime_us` since the epoch."""

    path: bytes
    size: int | None = None
    mtime_us: int | None = None
    etag: str | None = None


def files_of(source: str) -> Iterator[Listed]:
    """Yield the images and clips of a source in any order; raises ConfigError where there is none such.

    Hidden files and folders are passed by, links to folders too. A file that is named itself is taken
    whatever its name.
    """
    return _of_url(source) if is_url(source) else _of_path(source.removeprefix("file://"))


def _of_path(path: str) -> Iterator[Listed]:
    path = os.path.abspath(path)
    if os.path.isdir(path):
        yield from _walked(path)
    elif os.path.exists(path):
        if protocol := next((_PACKED[end] for end in _PACKED if path.lower().endswith(end)), None):
            raise ConfigError([f"{path}: for what is in it give {protocol}://::{path}"])
        yield from _of_list(path) if path.endswith(LIST_SUFFIXES) else [_at(path)]
    elif GLOB.search(path):
        yield from _of_pattern(path)
    else:
        raise ConfigError([f"{path}: there is no such file or folder"])


def _walked(top: str) -> Iterator[Listed]:
    pending = [top]
    while pending:
        folder = pending.pop()
        if is_too_long(folder):  # one row's error
            yield Listed(os.fsencode(folder))
            continue
        with told(folder, "read"), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif _WANTED.match(entry.name):
                    yield from _found(entry)


def _found(entry: os.DirEntry[str]) -> Iterator[Listed]:
    """A file, or a link to one."""
    try:
        is_file = entry.is_file()
    except OSError:
        is_file = True
    if is_file:
        yield _at(entry.path)


def _of_pattern(pattern: str) -> Iterator[Listed]:
    found = False
    for path in matching(pattern):
        found = True
        if is_too_long(path):
            yield Listed(os.fsencode(path))
        elif os.path.isdir(path):
            if not pattern.rstrip("/").endswith("**"):
                yield from _walked(path)
        elif _WANTED.match(os.path.basename(path)) and os.path.isfile(path):
            yield _at(path)
    if not found:
        raise ConfigError([f"{pattern}: nothing matches it"])


def _of_list(path: str) -> Iterator[Listed]:
    """One file, folder, glob or URL a line, from the list's own folder on."""
    beside = os.path.dirname(path)
    if not os.path.isfile(path):
        raise ConfigError([f"{path}: a list has to be a file"])
    with told(path, "read"), open(path, "rb") as file:
        for named in _lines(path, iter(partial(file.read, _LONGEST_LINE), b"")):
            yield from _of_line(path, named if is_url(named) else os.path.join(beside, named))


def _lines(of: str, pieces: Iterator[bytes]) -> Iterator[str]:
    """Yield what a list names; raises ConfigError for what is none, whatever there is of it."""
    rest = b""
    for piece in _without_mark(of, pieces):
        *whole, rest = (rest + piece).split(b"\n")
        if max(map(len, (*whole, rest))) > _LONGEST_LINE:
            raise ConfigError([f"{of}: no list: a line has more than {_LONGEST_LINE:,} bytes"])
        yield from _named(whole)
    yield from _named([rest])


def _without_mark(of: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield them without that of UTF-8, as editors of Windows write it."""
    first = next(pieces, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError([f"{of}: in UTF-16, as shells of Windows write it: save it as UTF-8"])
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from pieces


def _named(lines: Sequence[bytes]) -> Iterator[str]:
    for line in lines:
        if (named := line.rstrip(b"\r")) and not named.startswith(b"#"):
            yield os.fsdecode(named)


def _of_line(of: str, line: str) -> Iterator[Listed]:
    """What names an image is taken as it stands: if it is not there, that is one row's error."""
    named = absolute(line)
    if is_url(named):
        check_listed(named)
    if named.endswith(LIST_SUFFIXES):  # which may name this one, or many that name many
        raise ConfigError([f"{of}: names another list, {named}: give both as sources"])
    if named.partition("://")[0] in WEB and not named.endswith("/"):  # be it gone, and whatever it is called
        yield Listed(os.fsencode(named))
    elif GLOB.search(named) or not _WANTED.match(named.rpartition("/")[2]):
        yield from files_of(named)
    elif is_url(named) or not os.path.exists(named):
        yield Listed(os.fsencode(named))
    else:
        yield _at(named)


def _at(path: str) -> Listed:
    try:
        return _described(path, os.stat(path))
    except OSError:  # gone, or a link that leads in circles: one row's error
        return Listed(os.fsencode(path))


def _described(path: str, stat: os.stat_result) -> Listed:
    return Listed(os.fsencode(path), stat.st_size, on_calendar(stat.st_mtime_ns // 1000))


def _of_url(url: str) -> Iterator[Listed]:
    if url.endswith(LIST_SUFFIXES):
        yield from _of_listed_urls(url)
        return
    with told(url, "read"), _understood(url), bounded_list(url):
        system, path = system_of(url)
        there = _Remote(system, url)
        if GLOB.search(path) and not url.startswith("http"):
            yield from _of_pattern_there(there, url, path)
            return
        if not (url.endswith("/") or system.isdir(path)):
            if not system.exists(path):
                raise ConfigError([f"{url}: there is no such file or folder"])
            yield there.file(path, system.info(path))
            return
        yield from there.walked(path)


def _of_pattern_there(there: "_Remote", url: str, pattern: str) -> Iterator[Listed]:
    """As on this machine: what has this very name is no pattern, and one that nothing matches is said."""
    found = False
    for name, info in matching_there(there.walk, pattern):
        found = True
        if there.is_wanted(name, info):
            yield there.file(name, info)
    if found:
        return
    if not there.system.exists(pattern):
        raise ConfigError([f"{url}: nothing matches it"])
    yield there.file(pattern, there.system.info(pattern))


@contextmanager
def _understood(url: str) -> Iterator[None]:
    """Raise StoreError for what a server or a file says that its library does not expect."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        fault = f"{url}: cannot be listed: {type(error).__name__}: {error}"
        raise StoreError(fault[:LONGEST_SHOWN]) from error


class _Remote:
    """What fsspec lists, by URLs that any process opens."""

    def __init__(self, system: Any, url: str) -> None:  # noqa: ANN401 - fsspec's
        self.system = system
        self._host = host_of(url)
        # An archive file within another system: zip://a.jpg::s3://cards/2026.zip
        self._within = "".join(url.partition("::")[1:])

    def walk(self, top: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        for folder, folders, files in self.system.walk(top, detail=True, on_error="raise", topdown=True):
            if folder.count("/") - top.count("/") > DEEPEST:  # as a web server has them that makes them up
                raise ConfigError([f"{folder[:LONGEST_SHOWN]}: deeper than {DEEPEST} folders"])
            yield folder, folders, files
            self.system.invalidate_cache()

    def walked(self, top: str) -> Iterator[Listed]:
        if isinstance(self.system, AbstractArchiveFileSystem):
            yield from self._packed(top)
            return
        for folder, folders, files in self.walk(top):
            for name in [name for name in folders if name.startswith(".")]:
                del folders[name]
            if (nameless := files.pop("", None)) and nameless.get("type") == "directory":
                yield from self._beneath_nameless(folder)
            for name, info in files.items():
                if self.is_wanted(info.get("name") or name, info):
                    yield self.file(info.get("name") or f"{folder}/{name}", info)

    def _beneath_nameless(self, folder: str) -> Iterator[Listed]:
        """What a store has as cards//a.jpg: fsspec goes into no folder without a name."""
        for name, info in self.system.find(folder, detail=True, prefix="/").items():
            below = name.removeprefix(folder).split("/")
            if name.startswith(f"{folder}//") and _is_wanted(name, info) and not any(map(_is_hidden, below)):
                yield self.file(name, info)

    def _packed(self, top: str) -> Iterator[Listed]:
        """What lies in a zip or tar file: fsspec does not find ./a.jpg, ../a.jpg, /a.jpg and a//b.jpg."""
        self.system.ls("")
        beginning = f"{top.strip('/')}/" if top.strip("/") else ""
        for name, info in self.system.dir_cache.items():
            below = (part for part in name.removeprefix(beginning).split("/") if part not in {".", ".."})
            if name.startswith(beginning) and _is_wanted(name, info) and not any(map(_is_hidden, below)):
                yield self.file(name, info)

    def is_wanted(self, name: str, info: Mapping[str, Any]) -> bool:
        """Whether it is an image's, and no pipe of a server of SSH, which would wait for it for ever."""
        if not _is_wanted(name, info):
            return False
        if info.get("type") == "link":  # to whatever
            with suppress(Exception):
                info = self.system.info(name)
        return stat.S_IFMT(info.get("permissions") or 0) not in _NO_FILES

    def file(self, path: str, info: Mapping[str, Any]) -> Listed:
        tag = next((as_text(info[key]) for key in _TAGS if isinstance(info.get(key), str)), None)
        size = info.get("size")
        known = None if size is None or not 0 <= int(size) < _NO_SIZE else int(size)
        return Listed(os.fsencode(self._url_of(path)), known, time_us(info), tag)

    def _url_of(self, path: str) -> str:
        if self._host:
            return f"{self._host}/{path.lstrip('/')}"
        return f"{self.system.unstrip_protocol(path)}{self._within}"


def _of_listed_urls(url: str) -> Iterator[Listed]:
    beside = url.rpartition("/")[0]
    with told(url, "read"):
        system, path = system_of(url)
        with streaming(system, path) as pieces:
            for line in _lines(url, pieces):
                if is_url(line):
                    check_from_elsewhere(line)
                yield from _of_line(url, line if is_url(line) else f"{beside}/{line}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_wanted(name: str, info: Mapping[str, Any]) -> bool:
    last = name.rpartition("/")[2]
    return info.get("type") != "directory" and not last.startswith(".") and bool(_WANTED.match(last))
