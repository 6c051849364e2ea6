"""Which of the broker's sessions of ours have their subscription: it cannot be asked."""

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.config import Mqtt
from dropsight.errors import ConfigError, SinkError, reason
from dropsight.files.disk import write_whole
from dropsight.names import as_json
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.connecting import protocols
from dropsight.sinks.mqtt.refusals import UnsupportedVersionError
from dropsight.sources.image_connection import ImageConnection, MessageMemory
from dropsight.sources.taken import path_of

log = logging.getLogger(__name__)

STEM = "mqtt-subscriptions"
KEEPALIVE_SECONDS = 60


class _Known(msgspec.Struct):
    client_id: str


class Subscription:
    """For one thread. Where it is lost, it is asked for again: what is retained comes once more."""

    def __init__(self, state: Path, client_id: str) -> None:
        mark = hashlib.blake2b(client_id.encode(), digest_size=4).hexdigest()
        self._path, self._client_id = state / f"{STEM}-{mark}.json", client_id
        self.had = _read(self._path) == client_id

    def made(self) -> None:
        self.had = True
        try:
            write_whole(self._path, as_json(_Known(self._client_id)))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, reason(error))

    def lost(self) -> None:
        self.had = False
        _remove(self._path)


class FormerSessions:
    """Sessions of filters that are in the config no more: a broker would go on keeping images for them."""

    def __init__(self, settings: Mqtt, state: Path, ours: Collection[str]) -> None:
        self._settings, self._state = settings, state
        known = {path: _read(path) for path in sorted(state.glob(f"{STEM}*.json"))}
        self._left = {path: client_id for path, client_id in known.items() if client_id not in ours}

    def end(self) -> None:
        """Once; one that the broker does not let us end is left to the next start."""
        for path, client_id in self._left.items():
            try:
                if client_id is not None:
                    self._end(client_id)
            except (ConfigError, SinkError) as error:
                log.warning("the session %s with the broker was not ended: %s", client_id, error)
                return
            _remove(path)
            if client_id is not None:
                _remove(path_of(self._state, client_id))
        self._left.clear()

    def _end(self, client_id: str) -> None:
        """Log in with a clean session of this name."""
        for protocol in protocols(self._settings.protocol):
            connection = ImageConnection(
                Broker.of(self._settings),
                protocol,
                client_id=client_id,
                keepalive=KEEPALIVE_SECONDS,
                room=MessageMemory(0),
                lasting=False,
            )
            try:
                connection.open()
            except UnsupportedVersionError:
                if protocol == "5" and self._settings.protocol == "auto":
                    continue
                raise
            connection.close()
            return


def _read(path: Path) -> str | None:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=_Known).client_id
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
