"""The MQTT publisher: connects, reconnects after every loss, continues after the last acknowledged record."""

import logging
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dropsight import crashpoints
from dropsight.config import Config, Mqtt
from dropsight.errors import ConfigError, DamagedError, DropsightError, SinkError, StoreError
from dropsight.images.framing import Pixels
from dropsight.journal.marks import Mark
from dropsight.sinks.announcements import MqttStatus
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.connecting import connect, protocols
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.event_names import NamedRule
from dropsight.sinks.mqtt.identity import own_id
from dropsight.sinks.mqtt.one_id import ONE_ID, has_one_id_for_all
from dropsight.sinks.mqtt.publisher_parts import parts_of
from dropsight.sinks.mqtt.refusals import BrokerRefusedError, may_be_another
from dropsight.sinks.mqtt.rivals import OFFLINE
from dropsight.sinks.mqtt.session import Session
from dropsight.sinks.sink import FollowerContext, FollowerSpec, FollowerStatus
from dropsight.threads import begin

log = logging.getLogger(__name__)

# A connection that held for so long was a good one: the next pause is a short one again.
GOOD_SECONDS = 60.0


class Publisher:
    """`run` belongs on a thread of its own; everything else may be called from any."""

    def __init__(self, settings: Mqtt, context: FollowerContext, *, rules: Sequence[NamedRule] = ()) -> None:
        self._broker = Broker.of(settings)
        self._client_id = own_id(settings, context.config.store.path.parent)
        self._parts = parts_of(settings, context, rules=rules, wake=self.wake, works=self._works)
        self.troubles, cameras = context.troubles, self._parts.cameras
        self.states, self.thumbnails = cameras.states, cameras.thumbnails
        self.connected = self.refused = self._gave_up = False
        self._protocol: Protocol | None = None  # known once a connection was made
        self._connection: Connection | None = None
        self._failures, self._lacking = 0, ""

    @property
    def tried(self) -> bool:
        """Whether the first attempt to connect has come to an end, good or bad."""
        return self.connected or self._gave_up

    def status(self) -> MqttStatus:
        tally = self._parts.tally
        return MqttStatus(
            url=self._broker.shown,
            connected=self.connected,
            protocol=self._protocol,
            published=tally.published,
            oversized=tally.oversized,
            trouble=self.troubles.current().get("mqtt"),
            set_aside=tally.set_aside,
            untold=self._parts.untold.count,
            reasons=self._parts.untold.reasons,
        )

    def standing(self) -> FollowerStatus:
        tally = self._parts.tally
        return FollowerStatus(self._broker.shown, tally.published, tally.oversized + tally.set_aside)

    def read_secrets(self) -> None:
        """Read password and certificates again, as each connection does; raises ConfigError."""
        self._broker = Broker.of(self._parts.settings)

    def wake(self) -> None:
        """There is something to publish."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def show_thumbnail(self, camera: str, picture: Pixels | bytes) -> None:
        """Publish pixels or a JPEG when its time has come, if any are; `wake` comes with the record."""
        if self._parts.settings.thumbnails:
            self.thumbnails.show(camera, picture)

    def announce_again(self) -> None:
        """What `info` says has changed."""
        self._parts.announcements.again.set()
        self.wake()

    def announce_stats(self) -> None:
        """The stats have news that cannot wait."""
        self._parts.announcements.stats_now.set()
        self.wake()

    def stop(self, *, drain_seconds: float) -> None:
        """Publish what the outbox holds, for so long at most and only while connected; then `run` ends."""
        self._parts.ending.ask(drain_seconds=drain_seconds)
        self.wake()

    def run(self) -> None:
        begin(threading.Thread(target=self._parts.commander.run, name="mqtt-commands", daemon=True))
        try:
            self._keep_serving()
        finally:
            self._parts.commander.stop()

    def _keep_serving(self) -> None:
        chance = random.Random()  # noqa: S311 - jitter
        while not self._parts.ending.asked.is_set():
            began, known = time.monotonic(), self._known
            try:
                self._serve()
            except DamagedError:
                raise  # which ends the process: the next start is a rescue
            except (SinkError, StoreError) as error:
                self.refused = isinstance(error, BrokerRefusedError)
                self.troubles.raised("mqtt", self._explained(error))
            self._gave_up = True
            is_news = time.monotonic() - began > GOOD_SECONDS or self._known != known
            self._failures = 1 if is_news else self._failures + 1
            self._parts.ending.asked.wait(pause_seconds(self._failures, chance))

    @property
    def _known(self) -> tuple[object, ...]:
        """Where that has changed, the next connection is another one."""
        return self._parts.suspects.known, self._parts.others.known, self._parts.tally.set_aside

    def _serve(self) -> None:
        """Return when it is time to end; raises SinkError when there is no connection, or no longer one."""
        with suppress(ConfigError):  # of files that are just being renewed, the former content serves
            self.read_secrets()
        spoken = (self._protocol,) if self._protocol else protocols(self._parts.settings.protocol)
        try:
            connection, self._protocol = connect(
                self._broker,
                spoken,
                client_id=self._client_id,
                will=self._will,
                keepalive=self._parts.settings.keepalive,
            )
        except SinkError as error:
            self._parts.evictions.not_let_in()
            if may_be_another(error):
                self._protocol = None
            raise
        self._parts.evictions.logged_in()
        if self._parts.ending.is_over:  # and nobody waits for us any more: another may be online by now
            connection.close()
            return
        self._connection, self.connected, self.refused = connection, True, False
        log.info("connected to %s (MQTT %s)", self._broker.shown, self._protocol)
        self._say_what_lacks(connection.offers.lacking)
        try:
            crashpoints.reach("in_publishing")
            Session(self._parts, connection).run()
        finally:
            self._connection, self.connected = None, False
            connection.close()

    def _works(self) -> bool:
        """Records get through: before that, to be let in says little, and no more while another ends it."""
        if self._parts.evictions.seconds_to_last():
            return False
        if not self._parts.rivals.are_heard:
            self._failures = 0
        self.troubles.cleared("mqtt")
        return True

    def _explained(self, error: DropsightError) -> DropsightError:
        if not (isinstance(error, SinkError) and self._parts.evictions.suspected):
            return error
        if self._parts.evictions.are_by_rule(self._has_one_id_for_all):
            return SinkError(f"{error}; {ONE_ID}")
        return SinkError(
            f"{error}; this happens soon after each login: another client probably uses the client id"
            f" {self._client_id} (same mqtt.client_id or a copied state folder); give each device its own"
        )

    def _has_one_id_for_all(self) -> bool:
        if self._parts.ending.asked.is_set():
            return False
        return has_one_id_for_all(self._parts.settings, self._client_id)

    def _say_what_lacks(self, lacking: str) -> None:
        if lacking and lacking != self._lacking:
            log.warning("%s %s: continuing without", self._broker.shown, lacking)
        self._lacking = lacking

    @property
    def _will(self) -> tuple[str, bytes]:
        return self._parts.topics.availability, OFFLINE


def _rules(config: Config) -> Sequence[NamedRule]:
    if not config.events:
        return ()
    # Only where there are rules.
    from dropsight.events.compiling import compile_rules

    return compile_rules(config)


def followers(config: Config) -> list[FollowerSpec]:
    """Of the registry: the publisher, where there is a broker."""
    mqtt = config.mqtt
    if mqtt is None:
        return []

    def make(context: FollowerContext) -> Publisher:
        return Publisher(mqtt, context, rules=_rules(config))

    mark = Mark("mqtt", mqtt.max_backlog, who="the broker", bound="mqtt.max_backlog")
    return [FollowerSpec(mark, make, read=partial(Broker.of, mqtt))]
