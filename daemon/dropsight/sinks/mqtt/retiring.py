"""Removes from the broker what it retains under a name of ours, and Home Assistant's device."""

import logging
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.sinks.mqtt.brief_connection import BriefConnection
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.former_names import FormerName, FormerNames
from dropsight.sinks.mqtt.rivals import ONLINE
from dropsight.sinks.mqtt.topics import Topics

log = logging.getLogger(__name__)

ACKNOWLEDGE_SECONDS = 30.0
_KEEPS = "it acknowledges the removal, but keeps it"
MOST_ROUNDS = 3


class OnlineError(SinkError):
    """Somebody is at work under this name: what is retained is theirs."""


class RetireReport(NamedTuple):
    """`left` is what the broker keeps, `refused` where we may not write and see nothing; with its reason."""

    messages: int
    left: Mapping[str, str]
    refused: Mapping[str, str]


class _Clearing(Protocol):
    def retained(self, *filters: str) -> Mapping[str, bytes]:
        """Ask what is kept there."""

    def clear(self, topics: Sequence[str]) -> Mapping[str, str]:
        """Return why the broker does not take these; raises SinkError."""


def retire(
    settings: Mqtt, name: FormerName, *, client_id: str, cameras: Collection[str], events: Collection[str]
) -> RetireReport:
    """Remove everything that this name retained from the broker.

    Raises SinkError, OnlineError while a dropsight of this name is at work.
    """
    with BriefConnection(settings, client_id=client_id) as visit:
        broker = _OwnConnections(visit, name)
        return _take_back(broker, name, cameras=cameras, events=events, discovery=True)


def retire_former(
    connection: Connection,
    names: FormerNames,
    former: Sequence[FormerName],
    current: FormerName,
    *,
    cameras: Collection[str],
    events: Collection[str],
) -> Sequence[FormerName]:
    """Remove what former names retained; return those whose entities went with it.

    Nothing else may be on the way: of its acknowledgement nobody else would hear. What cannot be taken back
    is said, and is no reason to publish nothing.
    """
    gone: list[FormerName] = []
    for name in former:
        discovery = names.may_reach(name) and name.discovery_topic() != current.discovery_topic()
        root = name.topics.root
        try:
            taken = _take_back(
                _SharedConnection(connection),
                name,
                cameras=cameras,
                events=events,
                discovery=discovery,
                keep=current.topics.root,
            )
        except SinkError as error:
            log.warning("retained messages of %s stay on the broker: %s", root, error)
            if not isinstance(error, OnlineError):
                names.lost_over(name)
            continue
        for topic, reason in taken.left.items():
            log.warning("the broker did not remove the retained message %s: %s", topic, reason)
        log.info(
            "removed %d retained messages of %s: it is now named %s", taken.messages, root, current.device
        )
        if not taken.left:
            names.remove(name)
            gone += [name] if discovery else []
    return gone


def _take_back(
    broker: _Clearing,
    name: FormerName,
    *,
    cameras: Collection[str],
    events: Collection[str],
    discovery: bool,
    keep: str = "",
) -> RetireReport:
    """`events` are the ends of their topics."""
    topics = name.topics
    asked = [topics.availability, f"{topics.root}/#"]
    also: list[str] = []
    if discovery:
        parts = map(topics.parts.of, sorted(cameras))
        also = [name.discovery_topic(), *map(name.discovery_topic, parts)]
        asked += [also[0], name.discovery_topic("+")]

    def ask() -> Mapping[str, bytes]:
        # By its own name, too: some brokers keep retained messages from who asks with a wildcard.
        found = broker.retained(*asked)
        return {topic: payload for topic, payload in found.items() if not (keep and _is_below(topic, keep))}

    found = ask()
    if found.get(topics.availability) == ONLINE:
        raise OnlineError(
            f"a dropsight is online as {topics.root}: stop it first, or wait until it is offline"
        )
    known = [*also, *_retained_under(topics, cameras, events)]
    refused = dict(broker.clear(list(dict.fromkeys([*known, *found]))))
    left = ask()
    for _ in range(MOST_ROUNDS):
        again = [topic for topic in left if topic not in refused]
        if not again:
            break
        refused |= broker.clear(again)
        left = ask()
    reasons = {topic: refused.get(topic, _KEEPS) for topic in left}
    kinds = {topics.kind_of(topic): reason for topic, reason in refused.items() if topic not in left}
    return RetireReport(len(found.keys() - left.keys()), reasons, kinds)


def _retained_under(topics: Topics, cameras: Collection[str], events: Collection[str]) -> list[str]:
    """Return what may be retained below a name, its availability last."""
    of_cameras = [
        topic
        for camera in sorted(cameras)
        for topic in (*topics.retained_of(camera), topics.record("ok", camera))
    ]
    of_events = topics.retained_of_events(events)
    return [topics.info, topics.stats, *of_cameras, *of_events, topics.availability]


class _SharedConnection:
    """On a connection that has other work: what is lost is lost."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def retained(self, *filters: str) -> Mapping[str, bytes]:
        return self._connection.retained(*filters)

    def clear(self, topics: Sequence[str]) -> Mapping[str, str]:
        return {topic: reason for topic, reason in _cleared(self._connection, topics) if reason}


class _OwnConnections:
    """On connections of its own: one more wherever the broker has hung up."""

    def __init__(self, visit: BriefConnection, name: FormerName) -> None:
        self._visit, self._topics = visit, name.topics

    def retained(self, *filters: str) -> Mapping[str, bytes]:
        """One by one where the broker hangs up; raises SinkError where it does on our own."""
        found = self._told(*filters)
        if found is not None:
            return found
        each = {asked: self._told(asked) for asked in filters}
        if each[f"{self._topics.root}/#"] is None:
            text = "cannot be asked: the broker disconnects on that"
            raise SinkError(f"what is retained below {self._topics.root} {text}")
        return {topic: payload for told in each.values() if told for topic, payload in told.items()}

    def _told(self, *filters: str) -> Mapping[str, bytes] | None:
        """None where the broker hangs up."""
        connection = self._visit.connection
        try:
            return connection.retained(*filters)
        except SinkError:
            if not connection.was_hung_up():
                raise
            self._visit.close()
            return None

    def clear(self, topics: Sequence[str]) -> Mapping[str, str]:
        """All at once, until there is a no: then one by one, and of a kind no more than that."""
        left, refused = dict.fromkeys(topics), dict[str, str]()
        connection = self._visit.connection
        try:
            for topic, reason in _cleared(connection, topics):
                if reason:
                    break
                del left[topic]
        except SinkError:
            if not connection.was_hung_up():
                raise
        if left:
            self._visit.close()
        nos: dict[str, str] = {}
        for topic in left:
            kind = self._topics.kind_of(topic)
            reason = nos.get(kind) or self._visit.say(topic, b"", retain=True)
            if reason:
                refused[topic] = nos[kind] = reason
        return refused


def _cleared(connection: Connection, topics: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield what is answered, with a reason where it is a no; raises SinkError."""
    for start in range(0, len(topics), connection.offers.window):
        some = deque(topics[start : start + connection.offers.window])
        outstanding: dict[int | None, str] = {}
        deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        while some or outstanding:
            while some and connection.has_place:
                topic = some.popleft()
                outstanding[connection.publish(topic, b"", qos=1, retain=True)] = topic
            if time.monotonic() > deadline:
                raise SinkError("the broker does not answer")
            for mid in connection.acknowledged(timeout=deadline - time.monotonic()):
                if mid in outstanding:
                    yield outstanding.pop(mid), connection.refused.pop(mid, None)


def _is_below(topic: str, root: str) -> bool:
    return topic.startswith(f"{root}/")
