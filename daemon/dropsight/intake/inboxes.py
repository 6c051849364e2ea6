"""The folders of the config: created, and tested before anything depends on them."""

import contextlib
import errno
import glob
import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from dropsight.children import available_bytes
from dropsight.config import Config, Watch
from dropsight.errors import ConfigError, StoreError, is_passing, reason
from dropsight.files.disk import FREE_BYTES
from dropsight.files.filesystems import room_in_memory
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.names import as_text
from dropsight.status.ignored import Ignored, Tally, together
from dropsight.threads import begins

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
HANGS_SECONDS = 10.0


# Where disks are mounted by whoever plugs them in.
_OF_DISKS = tuple(map(Path, ("/media", "/mnt", "/run/media")))


class AwaitedInboxes:
    """Inboxes whose disk may yet be mounted: each is tried, and made, until it can be used."""

    def __init__(self, needed: Iterable["_Needed"]) -> None:
        self._needed = {os.fspath(folder.path): folder for folder in needed}

    def try_again(self, folder: DropFolder) -> None:
        """Raise StoreError as long as this inbox cannot be used."""
        needed = self._needed.get(folder.root)
        if needed and (fault := _fault(needed, _make_and_try)):
            raise StoreError(f"{fault[0]}; waiting for its disk to be mounted, or for permission")
        self._needed.pop(folder.root, None)


def open_folders(config: Config) -> tuple[list[DropFolder], AwaitedInboxes]:
    """Make what is missing, and say so; raises ConfigError with a line for each folder that cannot be used.

    Not so for one within an inbox, whose writers could keep us from ever starting: images wait until it can.

    Raises StoreError where that may pass by itself, and nothing at all works until then.
    """
    needed = list(_needed(config))
    missing = _missing(needed)
    late = _late(config, _make_and_try)
    if made := [f"{path} ({key})" for path, key in missing.items() if os.path.lexists(path)]:
        log.info("created missing folders: %s", ", ".join(made))
    for fault in late.values():
        log.warning("%s; waiting for its disk to be mounted, or for permission", fault)
    for text in passed_by(config):
        log.info("%s", text)
    for text in too_large_for_memory(config, available_bytes()):
        log.warning("%s", text)
    inboxes = {watch.path for watch in config.watch}
    return _opened(config), AwaitedInboxes(folder for folder in late if folder.path in inboxes)


def _late(config: Config, trial: Callable[["_Needed"], None]) -> dict["_Needed", str]:
    """Return what is waited for, each with its fault; raises as `open_folders` for all else."""
    faults = {folder: fault for folder in _needed(config) if (fault := _fault(folder, trial))}
    inboxes = {watch.path for watch in config.watch}
    late = {
        folder: text
        for folder, (text, error) in faults.items()
        if folder.is_of_watch and (_may_come(folder, error) or not inboxes.isdisjoint(folder.path.parents))
    }
    # Once more: a disk may have been mounted there while we looked.
    _refuse(fault for folder in faults if folder not in late and (fault := _fault(folder, trial)))
    return late


def _may_come(folder: "_Needed", error: OSError) -> bool:
    """Whether a disk may yet come there, where nobody but root may write; or it is others' doing."""
    if is_passing(error):
        return True
    there = next(path for path in (folder.path, *folder.path.parents) if os.path.lexists(path))
    try:
        if _is_up_to_others(there):
            return True
        if not isinstance(error, PermissionError):
            return False
        return not any(there.iterdir()) or any(top in (there, *there.parents) for top in _OF_DISKS)
    except OSError:
        return False


def _is_up_to_others(there: Path) -> bool:
    """Whether an uploader may have closed, moved or exchanged it, which must keep us from no other inbox."""
    return any(
        status.st_uid not in {0, os.geteuid()}
        or (stat.S_ISDIR(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
        for status in (there.lstat(), there.parent.lstat())
    )


class InboxForecast(NamedTuple):
    """What `run` would make, with the keys; and what it would wait for, with the faults."""

    missing: Mapping[Path, str]
    awaited: Mapping[Path, str]


def try_folders(config: Config) -> InboxForecast:
    """As `open_folders`, but make nothing."""
    late = _late(config, _try)
    _refuse(fault for key, path in _files(config) if (fault := _fault(_Needed(key, path, True), _try_file)))
    awaited = {folder.path: fault for folder, fault in late.items()}
    missing = _missing(_needed(config))
    return InboxForecast({path: key for path, key in missing.items() if path not in awaited}, awaited)


def passed_by(config: Config) -> list[str]:
    """Name the folders of ours within an inbox; raises ConfigError where one would hide a camera's images."""
    folders = _opened(config)
    _refuse_overlaps(folders)
    _refuse_hiding(config, folders)
    return [
        f"{path}, in {folder.root}, is dropsight's own: what is dropped there is skipped"
        for folder in folders
        for path in folder.excluded
    ]


def too_large_for_memory(config: Config, memory: int) -> list[str]:
    """Name the folders that we write to and that lie in memory, with more room there than is left of it."""
    inboxes = {watch.path for watch in config.watch if watch.mqtt is None}
    faults = []
    for folder in _needed(config):
        with contextlib.suppress(OSError):
            room = room_in_memory(folder.path) if folder.path not in inboxes else 0
            if room and room + FREE_BYTES > memory:
                sizes = f"may take {room >> 20:,} MiB, of which {memory >> 20:,} are left"
                faults.append(
                    f"{folder.key}: {folder.path} lies in memory (tmpfs), {sizes}: give it a smaller size="
                )
    return faults


def ignored(config: Config) -> Ignored:
    """Look at what is passed by in the inboxes, for a few seconds at most."""
    found: list[Ignored] = []
    until = time.monotonic() + LOOK_SECONDS
    for folder in _opened(config):
        tally = Tally()
        with contextlib.suppress(OSError):
            any(time.monotonic() > until for _ in folder.entries(tally=tally))
        found.append(tally.ignored())
    return together(found)


def _opened(config: Config) -> list[DropFolder]:
    clips = config.video.patterns if config.video else ()
    return [DropFolder.open(watch, ours=list(_ours(config, watch)), clips=clips) for watch in config.watch]


def _ours(config: Config, watch: Watch) -> Iterator[Path]:
    """Folders that are not this inbox's, by whatever name they are met in it."""
    yield from (config.log.path.parent, config.store.path.parent)
    if watch.follow_links:
        for other in config.watch:
            if other is not watch:
                yield from (other.path, other.processed, other.failed)


def _refuse_overlaps(folders: Sequence[DropFolder]) -> None:
    """As the config's rules, but by what is there: links and mounts give folders further names."""
    faults = []
    for (number, folder), (other, inbox) in product(enumerate(folders), repeat=2):
        named, there = f"watch.{other}.path", inode(inbox.inbox.true)
        if there is None:
            continue
        if number > other and inode(folder.inbox.true) == there:
            faults.append(
                f"watch.{number}.path: {folder.root} is already watched under another name; watch it once"
            )
        for name, top in (("path", folder.inbox), ("processed", folder.processed), ("failed", folder.failed)):
            said = f"watch.{number}.{name}: {top.path}"
            if name != "path" and inode(top.true) == there:
                faults.append(f"{said} is {named} itself, under another name; give another folder")
            elif number != other and there in map(inode, map(os.fspath, Path(top.true).parents)):
                faults.append(f"{said} is inside {named}, under another name; give a folder outside it")
    if faults:
        raise ConfigError(faults)


def _refuse_hiding(config: Config, folders: Iterable[DropFolder]) -> None:
    """Log and journal are files, without images beside them unless somebody put them among a camera's."""
    faults = []
    for key, file in (("log.path", config.log.path), ("store.path", config.store.path)):
        path = file.parent
        if file.is_dir():
            faults.append(f"{key}: {file} is a folder; name a file in it")
        for folder in folders:
            if os.fspath(path) in folder.excluded and (image := _an_image(folder, path)):
                text = f"{key}: {path} contains images of a camera ({image}), which would be skipped"
                faults.append(f"{text}; give a folder that holds nothing else")
    if faults:
        raise ConfigError(faults)


def _an_image(folder: DropFolder, path: Path) -> str | None:
    try:
        with folder.inbox.below(path).listed() as entries:
            return next((as_text(entry.name) for entry in entries if folder.names_image(entry.name)), None)
    except OSError:
        return None


class _Needed(NamedTuple):
    key: str
    path: Path
    writes: bool

    @property
    def is_of_watch(self) -> bool:
        return self.key.startswith("watch.")


def _needed(config: Config) -> Iterator[_Needed]:
    for number, watch in enumerate(config.watch):
        yield _Needed(f"watch.{number}.path", watch.path, watch.after != "keep")
        if watch.after != "keep":
            yield _Needed(f"watch.{number}.failed", watch.failed, True)
        if watch.after == "move":
            yield _Needed(f"watch.{number}.processed", watch.processed, True)
    yield _Needed("log.path", config.log.path.parent, True)
    yield _Needed("store.path", config.store.path.parent, True)


def _files(config: Config) -> Iterator[tuple[str, Path]]:
    """What an earlier run, perhaps as another user, has left."""
    yield "log.path", config.log.path
    journal = config.store.path
    yield from (("store.path", path) for path in journal.parent.glob(f"{glob.escape(journal.name)}*"))


def _missing(needed: Iterable[_Needed]) -> dict[Path, str]:
    missing = {}
    for folder in needed:
        with _said_while_it_hangs(folder):
            if not os.path.lexists(folder.path):
                missing[folder.path] = folder.key
    return missing


def _refuse(found: Iterable[tuple[str, OSError]]) -> None:
    faults = dict(found)
    if not faults:
        return
    passes = all(is_passing(error) for error in faults.values())
    raise StoreError("; ".join(faults)) if passes else ConfigError(list(faults))


def _fault(folder: _Needed, trial: Callable[[_Needed], None]) -> tuple[str, OSError] | None:
    try:
        with _said_while_it_hangs(folder):
            trial(folder)
    except OSError as error:
        verb = "written" if folder.writes else "read"
        return f"{folder.key}: {folder.path} cannot be {verb}: {reason(error)}", error
    return None


@contextlib.contextmanager
def _said_while_it_hangs(folder: _Needed) -> Iterator[None]:
    """A share whose server is gone may keep whoever looks at it waiting, for good; nobody can end that."""
    text = "%s: %s has not answered for %g s: whoever looks at it waits until it does, or is unmounted"
    word = threading.Timer(HANGS_SECONDS, log.warning, (text, folder.key, folder.path, HANGS_SECONDS))
    word.daemon = True
    begins(word)
    try:
        yield
    finally:
        word.cancel()


def _make_and_try(folder: _Needed) -> None:
    if not _is_there(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder.path):
        pass
    if folder.writes:
        # Nameless: a file with a name would be an arrival.
        with tempfile.TemporaryFile(dir=folder.path):
            pass


def _is_there(path: Path) -> bool:
    """Raises OSError where a disk does not answer."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _try(folder: _Needed) -> None:
    if _is_there(folder.path):
        with os.scandir(folder.path):
            pass
        if folder.writes:
            _ask_for(folder.path, os.W_OK | os.X_OK)
        return
    above = next(path for path in folder.path.parents if os.path.lexists(path))
    with os.scandir(above):  # raises where a file is in the way
        pass
    _ask_for(above, os.W_OK | os.X_OK)


def _try_file(file: _Needed) -> None:
    if file.path.exists():
        _ask_for(file.path, os.R_OK | os.W_OK)


def _ask_for(path: Path, rights: int) -> None:
    """Raise OSError where we have not these rights."""
    if not os.access(path, rights):
        number = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(path))
