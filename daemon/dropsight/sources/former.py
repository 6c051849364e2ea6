"""Sessions of filters and client ids that the config has no more: what waits there is taken, and they end."""

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from dropsight.config import Mqtt
from dropsight.config.filters import levels, overlap
from dropsight.errors import ConfigError, SinkError
from dropsight.names import as_text
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.connecting import by_version, protocols
from dropsight.sources.image_connection import Arrival, ImageConnection, MessageMemory
from dropsight.sources.image_session import LOOK_SECONDS, ImageSession, InboxError
from dropsight.sources.subscriptions import Former, forget, leave

log = logging.getLogger(__name__)

# A session to which nothing more is published has told all once nothing came for so long.
QUIET_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 0.5
# Whoever else is at work by a former client id, as with a copied state folder, is back within so long, and
# makes us lose the connection: his session is left to him at the third time.
ALONE_SECONDS, MOST_LOST = 15.0, 3
# At a broker that is away, or does not let us in by a former name: ten minutes.
TRIES = 60


class ClaimedError(SinkError):
    """Somebody else may be at work by the former client id."""


class FormerSessions:
    """Nothing is lost, or taken twice, between one filter and the next.

    Those who have the present filters subscribe first. Only then is a former session's filter taken out of
    it: what it got until then, and they let through, is handed to them, who know what they had themselves.
    """

    def __init__(
        self,
        settings: Mqtt,
        found: Sequence[Former],
        heirs: Collection[ImageSession],
        *,
        room: MessageMemory,
    ) -> None:
        self._settings, self._found, self._room = settings, found, room
        self._heirs = {each.client_id: _heirs(each, heirs) for each in found}
        self._stopped = threading.Event()
        self._connection: ImageConnection | None = None
        self._strangers = 0
        for former in found:
            for heir in self._heirs[former.client_id]:
                heir.inherit(former.client_id)

    def any(self) -> bool:
        return bool(self._found)

    def stop(self) -> None:
        self._stopped.set()
        if (connection := self._connection) is not None:
            connection.wake()

    def run(self) -> None:
        """End them; one that the broker does not let us end is left to the next start."""
        for former in sorted(self._found, key=lambda each: len(self._heirs[each.client_id])):
            try:
                self._take_over(former)
                if self._stopped.is_set():
                    return
                self._end(former.client_id)
            except (ConfigError, SinkError) as error:
                log.warning("the session %s with the broker was not ended: %s", former.client_id, error)
            else:
                forget(former)
                log.info("images over MQTT: ended the former session %s with the broker", former.client_id)
        for heir in {heir.name: heir for heirs in self._heirs.values() for heir in heirs}.values():
            heir.is_heir_no_more()

    def _take_over(self, former: Former) -> None:
        """Return once nothing more comes, or when stopped; raises SinkError where that never is."""
        heirs, tries, lost = self._heirs[former.client_id], 0, 0
        while not self._stopped.is_set():
            if not all(heir.connected and heir.subscription.had for heir in heirs):
                self._stopped.wait(LOOK_AGAIN_SECONDS)
                continue
            tries += 1
            try:
                if self._is_there_and_ours(former, heirs) and heirs:
                    self._drain(former, heirs)
            except InboxError:
                tries = 0
            except ClaimedError:
                lost += 1
                if lost == MOST_LOST:
                    raise
            except (ConfigError, SinkError):
                if tries == TRIES or not heirs:
                    raise
            else:
                return
            self._stopped.wait(LOOK_SECONDS)  # the error has all that was in hand, and is gone by now

    def _is_there_and_ours(self, former: Former, heirs: Sequence[ImageSession]) -> bool:
        """Wait for whoever else may be at work by it; raises ClaimedError where he takes it back."""
        with self._connected(former) as connection:
            if connection.had_session:
                self._wait_for_another(connection, heirs)
            return connection.had_session and not self._stopped.is_set()

    def _wait_for_another(self, connection: ImageConnection, heirs: Sequence[ImageSession]) -> None:
        """Acknowledge nothing of what comes meanwhile: it may be his, and then comes to him again."""
        deadline = time.monotonic() + ALONE_SECONDS
        try:
            while (left := deadline - time.monotonic()) > 0 and not self._stopped.is_set():
                arrival = connection.next(timeout=left)
                if arrival is not None and not arrival.qos:  # which comes to nobody again
                    self._hand_over(arrival, heirs, connection)
        except InboxError:
            raise
        except SinkError as error:
            raise ClaimedError(
                f"{error}; another dropsight may use it, as with a copied state folder"
            ) from error

    def _drain(self, former: Former, heirs: Sequence[ImageSession]) -> None:
        with self._connected(former) as connection:
            if connection.had_session:
                leave(former)
                connection.unsubscribe(former.topics)
                while self._take_next(connection, heirs, seconds=QUIET_SECONDS):
                    pass

    @contextmanager
    def _connected(self, former: Former) -> Iterator[ImageConnection]:
        connection = self._connect(former.client_id, lasting=True, room=self._room)
        try:
            self._connection = connection
            yield connection
        finally:
            self._connection = None
            connection.close()

    def _take_next(
        self, connection: ImageConnection, heirs: Sequence[ImageSession], *, seconds: float
    ) -> bool:
        """Tell whether anything came for so long, whatever else is said meanwhile, until stopped."""
        deadline = time.monotonic() + seconds
        while not self._stopped.is_set() and (left := deadline - time.monotonic()) > 0:
            if arrival := connection.next(timeout=left):
                if self._hand_over(arrival, heirs, connection):
                    connection.acknowledge(arrival)
                return True
        return False

    def _hand_over(
        self, arrival: Arrival, heirs: Sequence[ImageSession], connection: ImageConnection
    ) -> bool:
        for heir in heirs:
            if arrival.topic is not None and levels(heir.topics, arrival.topic) is not None:
                return heir.take(arrival, connection)
        self._strangers += 1
        if self._strangers == 1:
            text = "images over MQTT: what waits on %s, which no filter lets through any more, is thrown away"
            log.warning(text, as_text(arrival.topic or ""))
        return True

    def _end(self, client_id: str) -> None:
        """Log in with a clean session of this name."""
        self._connect(client_id, lasting=False, room=MessageMemory(0)).close()

    def _connect(self, client_id: str, *, lasting: bool, room: MessageMemory) -> ImageConnection:
        def attempt(protocol: Protocol) -> ImageConnection:
            connection = ImageConnection(
                Broker.of(self._settings),
                protocol,
                client_id=client_id,
                keepalive=self._settings.keepalive,
                room=room,
                lasting=lasting,
            )
            connection.open()
            return connection

        return by_version(protocols(self._settings.protocol), attempt)[0]


def _heirs(former: Former, sessions: Collection[ImageSession]) -> list[ImageSession]:
    return [each for each in sessions if former.topics and overlap(former.topics, each.topics)]
