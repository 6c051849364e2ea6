"""Connects with the MQTT version and features that the broker supports."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.offers import ALL, Offers
from dropsight.sinks.mqtt.refusals import HungUpError, NotOfferedError, UnsupportedVersionError

C = TypeVar("C", bound=Connection)


def protocols(setting: str) -> tuple[Protocol, ...]:
    """What to try, in order."""
    return ("5", "3.1.1") if setting == "auto" else ("3.1.1",) if setting == "3.1.1" else ("5",)


def connect(
    broker: Broker,
    spoken: Sequence[Protocol],
    *,
    client_id: str,
    will: tuple[str, bytes] | None,
    keepalive: int,
) -> tuple[Connection, Protocol]:
    """Connect by the first version of MQTT that the broker speaks; raises SinkError."""

    def attempt(protocol: Protocol) -> Connection:
        return _connect(broker, protocol, client_id=client_id, will=will, keepalive=keepalive)

    return by_version(spoken, attempt)


def by_version(spoken: Sequence[Protocol], attempt: Callable[[Protocol], C]) -> tuple[C, Protocol]:
    """Return the connection by the first of these that the broker speaks, and which; raises SinkError.

    One that was silent, or hung up, may have stood still, or been about to start: once it answers to the
    lesser version, it is asked for the other again.
    """
    first, *lesser = spoken
    try:
        return attempt(first), first
    except UnsupportedVersionError as error:
        if not lesser:
            raise
        is_said = error.is_said
    connection = attempt(lesser[0])
    if is_said:
        return connection, lesser[0]
    connection.close()
    with suppress(UnsupportedVersionError):
        return attempt(first), first
    return attempt(lesser[0]), lesser[0]


def _connect(
    broker: Broker, protocol: Protocol, *, client_id: str, will: tuple[str, bytes] | None, keepalive: int
) -> Connection:
    """Connect, without what the broker does not offer."""

    def attempt(offers: Offers) -> Connection:
        connection = Connection(
            broker, protocol, client_id=client_id, will=will, keepalive=keepalive, offers=offers
        )
        try:
            connection.open()
        except NotOfferedError as error:
            return attempt(error.offers)
        return connection

    try:
        return attempt(ALL)
    except HungUpError:
        connection = _with_fewer(attempt) if will and protocol == "3.1.1" else None
        if connection is None:
            raise
        return connection


def _with_fewer(attempt: Callable[[Offers], Connection]) -> Connection | None:
    """In MQTT 3.1.1 a broker hangs up on a last will that it does not offer to keep or to acknowledge."""
    for offers in (Offers(retain=False), Offers(qos=0), Offers(retain=False, qos=0)):
        with suppress(HungUpError):
            attempt(offers).close()  # of two with one name the broker would end the first
            break
    else:
        return None
    try:
        return attempt(ALL)  # it may only have been about to start
    except SinkError:
        return attempt(offers)
