"""Which pictures of a session lie in its inbox: a broker that has not heard so sends them again."""

import hashlib
import logging
from contextlib import suppress
from pathlib import Path

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.errors import reason
from dropsight.files.disk import write_whole

log = logging.getLogger(__name__)

STEM = "mqtt-taken"
# More than brokers have on their way at once, which in MQTT 3.1.1 is theirs to say (Mosquitto: 20).
MOST = 4_096
_MARK_BYTES = 16
_ENTRY_BYTES = 2 * _MARK_BYTES


class TakenPictures:
    """For one thread. The next start knows them, too, but for what a loss of power took: it is not synced."""

    def __init__(self, state: Path, client_id: str) -> None:
        self._path = path_of(state, client_id)
        self._taken = dict[bytes, None]()  # the newest last
        self._newest = dict[bytes, bytes]()
        self._written = 0
        self._read()

    def inherit(self, state: Path, client_id: str) -> None:
        """Know what another session has taken before, too."""
        before = TakenPictures(state, client_id)._taken  # noqa: SLF001 - our own
        for entry in (*before, *self._taken):
            self._know(entry)
        with suppress(OSError):
            self._write_anew()

    def has(self, topic: str, payload: bytes | bytearray) -> bool:
        return _entry(topic, payload) in self._taken

    def ends_with(self, topic: str, payload: bytes | bytearray) -> bool:
        """Whether it is the last one of its topic."""
        entry = _entry(topic, payload)
        return self._newest.get(entry[:_MARK_BYTES]) == entry

    def note(self, topic: str, payload: bytes | bytearray) -> None:
        entry = _entry(topic, payload)
        self._know(entry)
        try:
            self._write(entry)
        except OSError as error:  # without it, a picture may have a second record, and nothing else
            log.debug("%s cannot be written: %s", self._path, reason(error))

    def _know(self, entry: bytes) -> None:
        topic = entry[:_MARK_BYTES]
        self._taken.pop(entry, None)
        self._newest.pop(topic, None)
        self._taken[entry], self._newest[topic] = None, entry
        if len(self._taken) > MOST:
            del self._taken[next(iter(self._taken))]
        if len(self._newest) > MOST:
            del self._newest[next(iter(self._newest))]

    def _write(self, entry: bytes) -> None:
        if self._written >= 2 * MOST:
            self._write_anew()
            return
        with self._path.open("ab") as file:
            file.write(entry)
        self._written += 1

    def _write_anew(self) -> None:
        write_whole(self._path, b"".join(self._taken))
        self._written = len(self._taken)

    def _read(self) -> None:
        try:
            found = read_bounded(self._path, STATE_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s is not readable: %s", self._path, reason(error))
            return
        for start in range(0, len(found) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            self._know(found[start : start + _ENTRY_BYTES])
        self._written = len(found) // _ENTRY_BYTES
        if len(found) % _ENTRY_BYTES:  # of a disk that was full: what is appended would not be found
            with suppress(OSError):
                self._write_anew()


def path_of(state: Path, client_id: str) -> Path:
    return state / f"{STEM}-{hashlib.blake2b(client_id.encode(), digest_size=4).hexdigest()}"


def _entry(topic: str, payload: bytes | bytearray) -> bytes:
    marks = (hashlib.blake2b(each, digest_size=_MARK_BYTES) for each in (topic.encode(), payload))
    return b"".join(mark.digest() for mark in marks)
