"""What the connections of one publisher have in common."""

import threading
import time
from collections.abc import Callable

import msgspec

from dropsight.config import Mqtt
from dropsight.journal.outbox import Outbox
from dropsight.sinks.announcements import Announcements
from dropsight.sinks.mqtt.announcing import Unpublished
from dropsight.sinks.mqtt.camera_session import CameraSessionParts
from dropsight.sinks.mqtt.commands import Commander
from dropsight.sinks.mqtt.event_session import EventSessionParts
from dropsight.sinks.mqtt.evictions import Evictions
from dropsight.sinks.mqtt.former_names import FormerName, FormerNames
from dropsight.sinks.mqtt.rivals import Rivals
from dropsight.sinks.mqtt.suspects import SuspectMessages
from dropsight.sinks.mqtt.topics import Topics
from dropsight.status.troubles import Troubles


class Ending(msgspec.Struct):
    """Asked for from any thread: publish what is left until the deadline, then end."""

    asked: threading.Event = msgspec.field(default_factory=threading.Event)
    deadline: float = float("inf")

    @property
    def is_over(self) -> bool:
        return self.asked.is_set() and time.monotonic() >= self.deadline

    def ask(self, *, drain_seconds: float) -> None:
        self.deadline = time.monotonic() + drain_seconds
        self.asked.set()


class Published(msgspec.Struct):
    """Since the start: records that the broker has, was too small for, and hung up on."""

    published: int = 0
    oversized: int = 0
    set_aside: int = 0


class PublisherParts(msgspec.Struct, frozen=True):
    """`works` is called when the broker takes all; it returns whether that is more than a moment."""

    settings: Mqtt
    name: FormerName
    names: FormerNames
    topics: Topics
    outbox: Outbox
    announcements: Announcements
    cameras: CameraSessionParts
    events: EventSessionParts
    tally: Published
    ending: Ending
    commander: Commander
    rivals: Rivals
    evictions: Evictions
    suspects: SuspectMessages
    untold: Unpublished
    troubles: Troubles
    works: Callable[[], bool]
