"""What the broker's session of ours is subscribed to: it cannot be asked."""

import logging
from pathlib import Path

import msgspec

from dropsight.errors import reason
from dropsight.files.disk import write_whole
from dropsight.names import as_json

log = logging.getLogger(__name__)

NAME = "mqtt-subscriptions.json"


class _Known(msgspec.Struct):
    client_id: str
    topics: set[str]


class Subscriptions:
    """For one thread. Where it is lost, all is subscribed to again: what is retained comes once more."""

    def __init__(self, state: Path, client_id: str) -> None:
        self._path, self._client_id = state / NAME, client_id
        known = _read(self._path)
        self.had: set[str] = known.topics if known and known.client_id == client_id else set()

    def add(self, topics: str) -> None:
        self.had.add(topics)
        self._write()

    def remove(self, topics: str) -> None:
        self.had.discard(topics)
        self._write()

    def forget(self) -> None:
        if self.had:
            self.had.clear()
            self._write()

    def _write(self) -> None:
        try:
            write_whole(self._path, as_json(_Known(self._client_id, self.had)))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, reason(error))


def _read(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is not readable: %s", path, error)
        return None
