"""Takes what a broker keeps of a name of ours: every retained message, and Home Assistant's device."""

import logging
import time
from collections.abc import Collection, Sequence

from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.sinks.broker import Broker
from dropsight.sinks.connecting import connect, protocols
from dropsight.sinks.connection import Connection
from dropsight.sinks.names import Name, Names
from dropsight.sinks.rivals import ONLINE

log = logging.getLogger(__name__)

ACKNOWLEDGE_SECONDS = 30.0


class OnlineError(SinkError):
    """Somebody is at work under this name: what is retained is theirs."""


def retire(settings: Mqtt, name: Name, *, client_id: str, cameras: Collection[str]) -> int:
    """Take everything that this name retained from the broker; return how many messages that were.

    Raises SinkError, OnlineError while a dropsight of this name is at work.
    """
    connection, _ = connect(
        Broker.of(settings),
        protocols(settings.protocol),
        client_id=client_id,
        will=None,
        keepalive=settings.keepalive,
    )
    try:
        return _take_back(connection, name, cameras=cameras, discovery=True)
    finally:
        connection.close()


def retire_former(
    connection: Connection, names: Names, current: Name, *, cameras: Collection[str]
) -> Sequence[Name]:
    """Take back what former names retained; return those whose entities went with it.

    What cannot be taken back is said, and is no reason to publish nothing.
    """
    gone: list[Name] = []
    for name in names.former(current):
        discovery = name.discovery_topic() != current.discovery_topic()
        root = name.topics.root
        try:
            count = _take_back(
                connection, name, cameras=cameras, discovery=discovery, keep=current.topics.root
            )
        except SinkError as error:
            log.warning("what %s retained stays on the broker: %s", root, error)
        else:
            names.remove(name)
            gone += [name] if discovery else []
            log.info("took back %d retained messages of %s: the name is now %s", count, root, current.device)
    return gone


def _take_back(
    connection: Connection, name: Name, *, cameras: Collection[str], discovery: bool, keep: str = ""
) -> int:
    topics = name.topics
    asked = [topics.availability, f"{topics.root}/#"]
    also: list[str] = []
    if discovery:
        parts = map(topics.parts.of, sorted(cameras))
        also = [name.discovery_topic(), *map(name.discovery_topic, parts)]
        asked += [also[0], name.discovery_topic("+")]

    def ask() -> dict[str, bytes]:
        # By its own name, too: some brokers keep retained messages from who asks with a wildcard.
        found = connection.retained(*asked)
        return {topic: payload for topic, payload in found.items() if not (keep and _is_below(topic, keep))}

    found = ask()
    if found.get(topics.availability) == ONLINE:
        raise OnlineError(
            f"a dropsight is online as {topics.root}: stop it first, or wait until the broker misses it"
        )
    of_cameras = [
        topic
        for camera in sorted(cameras)
        for topic in (*topics.retained_of(camera), topics.record("ok", camera))
    ]
    known = [*also, topics.info, topics.stats, *of_cameras, topics.availability]
    _clear(connection, list(dict.fromkeys([*known, *found])))
    count, left = len(found), ask()
    while left:
        _clear(connection, list(left))
        before, left = left, ask()
        if left.keys() >= before.keys():
            raise SinkError(f"the broker does not let go of {next(iter(left))}: may we write there?")
    return count


def _clear(connection: Connection, topics: Sequence[str]) -> None:
    for start in range(0, len(topics), connection.offers.window):
        some = topics[start : start + connection.offers.window]
        outstanding = {connection.publish(topic, b"", qos=1, retain=True) for topic in some}
        deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        while outstanding:
            if time.monotonic() > deadline:
                raise SinkError("the broker does not answer")
            outstanding.difference_update(connection.acknowledged(timeout=deadline - time.monotonic()))


def _is_below(topic: str, root: str) -> bool:
    return topic.startswith(f"{root}/")
