"""What the connections of one publisher have in common."""

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from dropsight.cameras.problem_names import problem_names
from dropsight.config import Mqtt
from dropsight.journal.event_table import EventReader
from dropsight.journal.outbox import HeldOutbox
from dropsight.sinks.announcements import Announcements
from dropsight.sinks.mqtt.announcing import Unpublished
from dropsight.sinks.mqtt.camera_session import CameraSessionParts
from dropsight.sinks.mqtt.commands import Commander
from dropsight.sinks.mqtt.discovery import Discovery
from dropsight.sinks.mqtt.event_names import EventNames, NamedRule
from dropsight.sinks.mqtt.event_session import EventPictures, EventSessionParts
from dropsight.sinks.mqtt.evictions import Evictions
from dropsight.sinks.mqtt.forbidden import ForbiddenTopics
from dropsight.sinks.mqtt.former_names import FormerName, FormerNames
from dropsight.sinks.mqtt.homeassistant import Entities
from dropsight.sinks.mqtt.other_records import OtherRecords
from dropsight.sinks.mqtt.rivals import Rivals
from dropsight.sinks.mqtt.states import CameraStates
from dropsight.sinks.mqtt.suspects import SuspectMessages
from dropsight.sinks.mqtt.thumbnails import Thumbnails
from dropsight.sinks.mqtt.topics import Topics
from dropsight.sinks.sink import FollowerContext
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
    outbox: HeldOutbox
    announcements: Announcements
    cameras: CameraSessionParts
    events: EventSessionParts
    tally: Published
    ending: Ending
    commander: Commander
    rivals: Rivals
    evictions: Evictions
    suspects: SuspectMessages
    others: OtherRecords
    forbidden: ForbiddenTopics
    untold: Unpublished
    troubles: Troubles
    works: Callable[[], bool]


def parts_of(
    settings: Mqtt,
    context: FollowerContext,
    *,
    rules: Sequence[NamedRule],
    wake: Callable[[], None],
    works: Callable[[], bool],
) -> PublisherParts:
    """Make them: `wake` has the session look at what is new."""
    config, state = context.config, context.config.store.path.parent
    name = FormerName(config.device, settings.base_topic, settings.discovery_prefix)
    names = FormerNames(state)
    told_before = names.knows(name.topics.root)
    suspects = SuspectMessages(name.topics.kind_of)
    events = EventNames(rules, name.topics, state, problems=problem_names(config))
    return PublisherParts(
        settings=settings,
        name=name,
        names=names,
        topics=name.topics,
        outbox=context.outbox,
        announcements=context.announcements,
        cameras=_of_cameras(settings, context, name, events, told_before=told_before, wake=wake),
        events=_of_events(settings, context, name.topics, events, wake=wake),
        tally=Published(),
        ending=Ending(),
        commander=Commander(context.obey, name.topics, answered=wake),
        rivals=Rivals(context.announcements.info, name.topics, context.troubles, wake=wake),
        evictions=Evictions(),
        suspects=suspects,
        others=OtherRecords(context.outbox, suspects),
        forbidden=ForbiddenTopics(),
        untold=Unpublished(suspects, context.troubles),
        troubles=context.troubles,
        works=works,
    )


def _of_cameras(
    settings: Mqtt,
    context: FollowerContext,
    name: FormerName,
    events: EventNames,
    *,
    told_before: bool,
    wake: Callable[[], None],
) -> CameraSessionParts:
    entities = Entities(
        name.device,
        name.topics,
        thumbnails=settings.thumbnails,
        dashboard=context.announcements.dashboard,
        events=events,
    )
    state = context.config.store.path.parent
    return CameraSessionParts(
        topics=name.topics,
        watch=context.watch,
        states=CameraStates(),
        thumbnails=Thumbnails(wake),
        discovery=Discovery(entities, state, wanted=settings.home_assistant, told_before=told_before),
        pictures=settings.thumbnails,
        records=settings.retain,
    )


def _of_events(
    settings: Mqtt, context: FollowerContext, topics: Topics, events: EventNames, *, wake: Callable[[], None]
) -> EventSessionParts:
    pictures = EventPictures(context.picture, wake=wake) if settings.thumbnails else None
    return EventSessionParts(topics, context.watch, events, EventReader(context.config.store.path), pictures)
