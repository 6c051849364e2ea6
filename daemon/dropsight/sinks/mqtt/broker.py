"""The broker's address and credentials: the config's mqtt section, ready for use."""

import ssl
from functools import partial
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec

from dropsight.config import Mqtt, Tls, password, redacted_url
from dropsight.config.last_read import LAST_READ
from dropsight.errors import ConfigError

Protocol = Literal["5", "3.1.1"]
Transport = Literal["tcp", "websockets", "unix"]
_SCHEMES: dict[str, tuple[Transport, int, bool]] = {
    "mqtt": ("tcp", 1883, False),
    "mqtts": ("tcp", 8883, True),
    "ws": ("websockets", 80, False),
    "wss": ("websockets", 443, True),
    "mqtt+unix": ("unix", 0, False),
}


class Broker(msgspec.Struct, frozen=True):
    """`host` is the socket's path where the transport is unix; `shown` is fit for a log."""

    shown: str
    transport: Transport
    host: str
    port: int
    path: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None

    def __repr__(self) -> str:
        return f"Broker({self.shown})"

    @classmethod
    def of(cls, mqtt: Mqtt, *, credential: str | None = None) -> "Broker":
        """Read the settings; raises ConfigError for a password or certificate that cannot be read.

        `credential` is the password where the settings name none.
        """
        parts = urlsplit(mqtt.url)
        transport, port, encrypted = _SCHEMES[parts.scheme]
        secret, tls = LAST_READ.read(mqtt, partial(_read, mqtt, encrypted=encrypted))
        if secret is None:
            secret = credential
        return cls(
            shown=redacted_url(mqtt.url),
            transport=transport,
            host=parts.path if transport == "unix" else parts.hostname or "localhost",
            port=parts.port or port,
            path=(parts.path or "/mqtt") + (f"?{parts.query}" if parts.query else ""),
            username=mqtt.username or (unquote(parts.username) if parts.username else None),
            password=secret if secret is not None else unquote(parts.password or "") or None,
            tls=tls,
        )


def _read(mqtt: Mqtt, *, encrypted: bool) -> tuple[str | None, ssl.SSLContext | None]:
    return password(mqtt), _context(mqtt.tls) if encrypted else None


def _context(tls: Tls) -> ssl.SSLContext:
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None and not path.is_file():
            raise ConfigError([f"mqtt.tls.{name}: {path} does not exist; name a PEM file"])
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key, password=_passphrase)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError([f"mqtt.tls: the certificates cannot be used: {error}"]) from error
    return context


def _passphrase() -> str:
    """Instead of OpenSSL, which would ask at the terminal, or read the standard input, and wait."""
    raise ConfigError(
        ["mqtt.tls.key: it has a passphrase, which nobody is asked for; name a key without one"]
    )
