"""Which of the broker's sessions of ours have their subscription: it cannot be asked."""

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.errors import SinkError, reason
from dropsight.files.disk import write_whole
from dropsight.names import as_json
from dropsight.sources.taken import path_of

log = logging.getLogger(__name__)

STEM = "mqtt-subscriptions"


class Former(msgspec.Struct, frozen=True):
    """A session that the broker may have; of one that an earlier release has noted, `topics` are empty."""

    path: Path
    client_id: str
    topics: str


class _Known(msgspec.Struct):
    """`left`: the session may be there without its subscription."""

    client_id: str
    topics: str = ""
    left: bool = False


class Subscription:
    """For one thread. Where it is lost, it is asked for again: what is retained comes once more."""

    def __init__(self, state: Path, client_id: str, topics: str) -> None:
        mark = hashlib.blake2b(client_id.encode(), digest_size=4).hexdigest()
        self._path, self._known = state / f"{STEM}-{mark}.json", _Known(client_id, topics)
        found = _read(self._path)
        self.had = found is not None and found.client_id == client_id and not found.left
        if self.had and found != self._known:
            self.made()

    def made(self) -> None:
        """From then on it is known to the next start, but for what cannot be written."""
        try:
            write_whole(self._path, as_json(self._known))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, reason(error))
        self.had = True

    def lost(self) -> None:
        self.had = False
        _remove(self._path)


def former(state: Path, ours: Collection[str]) -> list[Former]:
    """Return those that are in the config no more: a broker would go on keeping images for them."""
    known = {path: _read(path) for path in sorted(state.glob(f"{STEM}*.json"))}
    return [
        Former(path, found.client_id, found.topics)
        for path, found in known.items()
        if found is not None and found.client_id not in ours
    ]


def leave(session: Former) -> None:
    """Before its filter is taken out of it: who comes back to it is to subscribe anew; raises SinkError."""
    try:
        write_whole(session.path, as_json(_Known(session.client_id, session.topics, left=True)))
    except OSError as error:
        raise SinkError(f"{session.path} cannot be written: {reason(error)}") from error


def forget(session: Former) -> None:
    _remove(session.path)
    _remove(path_of(session.path.parent, session.client_id))


def _read(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=_Known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is not readable: %s", path, error)
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", path, reason(error))
