"""What is told besides records, by a follower that tells more: the seam of the MQTT publisher."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from dropsight.images.framing import Pixels
from dropsight.sinks.sink import Follower

if TYPE_CHECKING:  # only where there is a broker
    from dropsight.sinks.mqtt.states import CameraStates
    from dropsight.sinks.mqtt.thumbnails import Thumbnails

# So long it may take to say goodbye, once all is handed on.
GOODBYE_SECONDS = 2.0


class Announcements(msgspec.Struct, frozen=True):
    """What is published besides records; `info` and `stats` are asked for when they are due."""

    info: Callable[[], bytes]
    stats: Callable[[], bytes]
    stats_seconds: float
    busy: Callable[[], bool]
    """Whether images wait."""
    dashboard: Callable[[], str | None] = lambda: None
    """Its address for other machines."""
    again: threading.Event = msgspec.field(default_factory=threading.Event)
    """Set when `info` has changed: it is published at once, and the stats with it."""
    stats_now: threading.Event = msgspec.field(default_factory=threading.Event)
    """Set when the stats have news that cannot wait for their time."""


class MqttStatus(msgspec.Struct, frozen=True):
    """`trouble` is why there is no connection, None while there is one."""

    url: str
    connected: bool
    protocol: str | None
    published: int
    oversized: int
    trouble: str | None
    set_aside: int = 0
    """Records that the broker hung up on; like those too large for it, they are in the log alone."""
    untold: int = 0
    """Announcements that the broker did not get; `reasons` say which it gets no more."""
    reasons: list[str] = []


@runtime_checkable
class AnnouncingFollower(Follower, Protocol):
    """Tells of the daemon and its cameras, too: see `Announcements`."""

    states: "CameraStates"
    thumbnails: "Thumbnails"

    def status(self) -> MqttStatus:
        """What `dropsight status` says of it."""

    def show_thumbnail(self, camera: str, picture: Pixels | bytes) -> None:
        """Publish pixels or a JPEG when its time has come, if any are; `wake` comes with the record."""

    def announce_again(self) -> None:
        """What `info` says has changed."""

    def announce_stats(self) -> None:
        """The stats have news that cannot wait."""
