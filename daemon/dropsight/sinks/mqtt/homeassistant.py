"""Home Assistant's MQTT discovery: retained messages that describe the device, and each camera of it.

Source: the device discovery payload of Home Assistant's MQTT integration (since 2024.11).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from dropsight.names import as_json
from dropsight.sinks.mqtt import device_entities, entities
from dropsight.sinks.mqtt.entities import Component
from dropsight.sinks.mqtt.event_names import EventNames
from dropsight.sinks.mqtt.rivals import OFFLINE, ONLINE
from dropsight.sinks.mqtt.topics import HOME_ASSISTANT, Topics, topic_part
from dropsight.version import VERSION

BIRTH = b"online"
# What has Home Assistant leave its entities as they are while they go to another device.
MOVING = as_json({"migrate_discovery": True})
_ORIGIN = {"name": "dropsight", "sw_version": VERSION}
_MADE_BY = {"manufacturer": "dropsight", "sw_version": VERSION}
_TOPIC = re.compile(r".*/device/(?P<device>[^/]+)(?:/(?P<part>[^/]+))?/config")
# A camera of this name is whatever lies at the inbox's root, in no place of its own.
_NO_PLACE = "default"


def birth_topics(prefix: str) -> list[str]:
    """Where Home Assistant says that it is there: it does not move with its prefix, but people move it."""
    return sorted({f"{HOME_ASSISTANT}/status", f"{prefix}/status"})


def discovery_topic(device: str, part: str = "", *, prefix: str = HOME_ASSISTANT) -> str:
    """Where a device is told of, or one of its cameras by its part of a topic."""
    return f"{prefix}/device/{_identity(device)}{part and f'/{part}'}/config"


def farewell(topic: str, events: Callable[[str], Sequence[str]] = lambda _: ()) -> bytes:
    """Describe all entities of this topic once more, no more than it takes: who knows them can drop them.

    Home Assistant removes only what it was told of since its own start. `events` names those that a camera
    had, by its part of a topic.
    """
    found = _TOPIC.fullmatch(topic)
    identity, part = (found["device"], found["part"] or "") if found else ("", "")
    platforms = (
        {**entities.OF_CAMERA, **entities.of_events(events(part))} if part else device_entities.OF_DEVICE
    )
    before = f"{part}_" if part else ""
    components = {
        f"{before}{name}": {
            "platform": platform,
            "unique_id": f"{identity}_{before}{name}",
            **entities.LEAST[platform],
        }
        for name, platform in platforms.items()
    }
    device = {"identifiers": [f"{identity}{part and f'/{part}'}"], "name": "no longer there"}
    return as_json({"device": device, "origin": _ORIGIN, "components": components})


class Entities:
    """The payloads for a device and for each of its cameras, which brokers bound in size.

    For one thread. Entity ids are Home Assistant's own, from device and entity name. `dashboard` gives the
    address that others than this machine see it at, None where there is none.
    """

    def __init__(
        self,
        device: str,
        topics: Topics,
        *,
        thumbnails: bool,
        dashboard: Callable[[], str | None] = lambda: None,
        events: EventNames | None = None,
    ) -> None:
        self._events = events
        self.topic = discovery_topic(device, prefix=topics.discovery)
        self.first_topic = discovery_topic(device)  # before there was a choice of prefix
        self._device, self._topics, self._thumbnails = device, topics, thumbnails
        self._identity, self._dashboard = _identity(device), dashboard

    def owns(self, topic: str) -> bool:
        """Whether it tells of this device, with whatever prefix."""
        return f"/device/{self._identity}/" in topic

    def events_of(self, part: str) -> Sequence[str]:
        """Return the names of events that a camera had or has, by its part of a topic."""
        return self._events.ever_of(part) if self._events else ()

    def topic_of(self, camera: str) -> str:
        return discovery_topic(self._device, self._topics.parts.of(camera), prefix=self._topics.discovery)

    def of_device(self, *, taking_back: Iterable[str] = ()) -> bytes:
        """Return what does not belong to a camera.

        An earlier dropsight told of these cameras here, too: their entities are taken back by name.
        """
        gone: dict[str, Component] = {
            f"{self._topics.parts.of(camera)}_{name}": {"platform": platform}
            for camera in taking_back
            for name, platform in entities.OF_CAMERA_ONCE.items()
        }
        device: Component = {
            "identifiers": [self._identity],
            "name": f"dropsight {self._device}",
            "model": "image classifier",
            **_MADE_BY,
        }
        if address := self._dashboard():
            device["configuration_url"] = address
        return self._around(device, device_entities.of_device(self._topics), gone)

    def of_camera(self, camera: str) -> bytes:
        part = self._topics.parts.of(camera)
        names = self._events.of(camera) if self._events else ()
        problems = self._events.problems_of(camera) if self._events else ()
        found = entities.of_camera(
            camera, self._topics, pictures=self._thumbnails, events=names, problems=problems
        )
        # An earlier life of ours may have told of pictures, and of events.
        once = entities.of_events(self.events_of(part))
        once |= {} if self._thumbnails else {"picture": "image"}
        never: dict[str, Component] = {
            f"{part}_{name}": {"platform": platform} for name, platform in once.items() if name not in found
        }
        device: Component = {
            "identifiers": [f"{self._identity}/{part}"],
            "name": f"{self._device} {camera}",
            "model": "camera",
            "via_device": self._identity,
            **_MADE_BY,
        }
        if camera != _NO_PLACE:
            device["suggested_area"] = _as_area(camera)
        return self._around(device, {f"{part}_{name}": each for name, each in found.items()}, never)

    def _around(
        self, device: Component, told: Mapping[str, Component], gone: Mapping[str, Component]
    ) -> bytes:
        components = {
            name: each if each["platform"] == "device_automation" else self._entity(name, each)
            for name, each in told.items()
        }
        return as_json(
            {
                "device": device,
                "origin": _ORIGIN,
                # Its own default is missing where an entity comes while its platform is being set up.
                "availability": [
                    {
                        "topic": self._topics.availability,
                        "payload_available": ONLINE.decode(),
                        "payload_not_available": OFFLINE.decode(),
                    }
                ],
                "qos": 1,
                "components": {**components, **gone},
            }
        )

    def _entity(self, name: str, component: Component) -> Component:
        return {**component, "unique_id": f"{self._identity}_{name}"}


def _identity(device: str) -> str:
    return f"dropsight_{topic_part(device)}"


def _as_area(camera: str) -> str:
    """Spell a folder's name as people name a place: `front_door` is "Front door"."""
    words = re.sub(r"[/_-]+", " ", camera).strip() or camera
    return words[:1].upper() + words[1:]
