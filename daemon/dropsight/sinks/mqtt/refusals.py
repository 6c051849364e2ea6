"""How a broker refuses us, with the way out: each kind of refusal has another next step."""

from paho.mqtt.reasoncodes import ReasonCode

from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.offers import Offers
from dropsight.sinks.mqtt.tls_errors import HUNG_UP, alert_of

# CONNACK reasons (MQTT 5, table 3-1) that say who we are is not good enough.
_NOT_WELCOME = {0x85, 0x86, 0x87, 0x8A, 0x8C}
_UNSUPPORTED_VERSION = 0x84
_UNSPECIFIED, _QUOTA_EXCEEDED = 0x80, 0x97


class PassingReason(str):
    """Why a broker takes a message not now: it may take the very same later."""

    __slots__ = ()


class BrokerRefusedError(SinkError):
    """The broker answers and refuses the login."""


class UnsupportedVersionError(SinkError):
    """The broker does not support this version of MQTT, or may not: silence says little."""

    def __init__(self, text: str, *, is_said: bool = False, is_silent: bool = False) -> None:
        super().__init__(text)
        self.is_said, self.is_silent = is_said, is_silent


class HungUpError(SinkError):
    """The broker closes the connection without answering our CONNECT."""


class NotOfferedError(SinkError):
    """The broker does not take our last will as it is; `offers` is what to ask for instead."""

    def __init__(self, text: str, offers: Offers) -> None:
        super().__init__(text)
        self.offers = offers


def refusal(
    broker: Broker, protocol: Protocol, offers: Offers, answer: tuple[int, str] | None, *, closed: bool
) -> SinkError:
    """Return the error of a CONNACK with a reason, of none, or of a connection that was closed instead."""
    shown = broker.shown
    if answer is None and closed and broker.tls and (alert := alert_of(broker)):
        return SinkError(f"{shown} cannot be reached: {alert}")
    if answer and (fewer := offers.without(answer[0])):
        return NotOfferedError(f"{shown} refuses the last will: {answer[1]}", fewer)
    if answer and answer[0] in _NOT_WELCOME:
        return BrokerRefusedError(
            f"{shown} refuses the login: {answer[1]}; see mqtt.username and mqtt.password_file"
        )
    if protocol == "5" and answer and answer[0] == _UNSUPPORTED_VERSION:
        return UnsupportedVersionError(f"{shown} does not support MQTT 5", is_said=True)
    if answer:
        fault = f"refuses the connection: {answer[1]}"
    else:
        fault = f"does not answer: {HUNG_UP if closed else 'no CONNACK'}"
    if protocol == "5" and not answer:
        return UnsupportedVersionError(f"{shown} {fault}", is_silent=not closed)
    return (HungUpError if closed and not answer else SinkError)(f"{shown} {fault}")


def may_be_another(error: SinkError) -> bool:
    """Whether another broker may stand there by now, of a version that is to be found out again."""
    return not (isinstance(error, UnsupportedVersionError) and error.is_silent)


def reason_of(code: ReasonCode) -> str:
    """Give the broker's reason; where it gave none, paho makes one up."""
    if code.value == _QUOTA_EXCEEDED:
        return PassingReason(code)
    return "no reason was given" if code.value == _UNSPECIFIED else str(code)
