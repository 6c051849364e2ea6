"""The keys of those who hear of records and events: broker, webhooks, people, and the dashboard."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct


class Tls(Struct, frozen=True):
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


Topic: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[^+#/$\x00-\x1f\x7f-\x9f]([^+#\x00-\x1f\x7f-\x9f]*[^+#/\x00-\x1f\x7f-\x9f])?$",
        max_length=256,
        description="a topic without +, # and control characters, and without / at its ends",
    ),
]


class Mqtt(Struct, frozen=True):
    url: Annotated[str, Meta(extra={"reads": "url"})] = "mqtt://localhost:1883"
    username: str | None = None
    password_file: Path | None = None
    client_id: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
                max_length=256,
                description="a text without control characters",
            ),
        ]
        | None
    ) = None
    tls: Tls = Tls()
    base_topic: Topic = "dropsight"
    qos: Annotated[Literal[0, 1], Meta(description="1 (every record at least once) or 0 (at most once)")] = 1
    retain: bool = False
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive: Annotated[int, Meta(ge=5, le=65535)] = 60
    home_assistant: bool = True
    discovery_prefix: Topic = "homeassistant"
    thumbnails: bool = False
    max_backlog: Annotated[int, Meta(ge=1)] = 100_000


class Webhook(Struct, frozen=True):
    """A receiver of records by HTTP POST; None for `name` is the host of its URL."""

    url: Annotated[str, Meta(description="http:// or https:// and a host", extra={"reads": "hook"})]
    name: (
        Annotated[
            str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="a name of letters, digits and ._-")
        ]
        | None
    ) = None
    headers_file: Path | None = None
    ca_file: Path | None = None
    timeout: Annotated[float, Meta(gt=0, le=300)] = 10.0
    on: Annotated[
        tuple[Literal["ok", "failed", "expired", "burst", "event"], ...],
        Meta(min_length=1, description='a list such as ["ok", "failed"]'),
    ] = ("ok", "failed", "expired", "burst")
    batch: Annotated[int, Meta(ge=1, le=1000)] = 1
    max_backlog: Annotated[int, Meta(ge=1)] = 100_000


class Notify(Struct, frozen=True):
    """Whom rules may tell: the Apprise URLs of a file, else of systemd's credential dropsight.notify-NAME."""

    targets_file: Path | None = None
    quiet: (
        Annotated[
            str,
            Meta(
                pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
                description='hours such as "22:00-07:00"',
            ),
        ]
        | None
    ) = None
    pictures: bool = True


class Web(Struct, frozen=True):
    listen: Annotated[str, Meta(description='HOST:PORT, such as "127.0.0.1:8080"')] = "127.0.0.1:8080"
    token_file: Path | None = None
