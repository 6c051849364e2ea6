"""Home Assistant's MQTT discovery: retained messages that describe the device, and each camera of it.

Source: the device discovery payload of Home Assistant's MQTT integration (since 2024.11).
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from dropsight.names import as_json
from dropsight.sinks.topics import Topics, topic_part
from dropsight.version import VERSION

BIRTH_TOPIC = "homeassistant/status"
BIRTH = b"online"
Component: TypeAlias = dict[str, object]

_OF_CAMERA = {"label": "sensor", "confidence": "sensor", "problem": "binary_sensor", "picture": "image"}
_ATTRIBUTES = (
    "{{ {'confidence': value_json.confidence, 'top_5': value_json.predictions[:5],"
    " 'image_path': value_json.image_path, 'captured': value_json.image.captured} | tojson }}"
)


def discovery_topic(device: str, part: str = "") -> str:
    """Where a device is told of, or one of its cameras by its part of a topic."""
    return f"homeassistant/device/{_identity(device)}{part and f'/{part}'}/config"


def discovery_filter(device: str) -> str:
    """Where all of its cameras are told of."""
    return discovery_topic(device, "+")


class Entities:
    """The payloads for a device and for each of its cameras, which brokers bound in size.

    For one thread. Entity ids are Home Assistant's own, from device and entity name.
    """

    def __init__(self, device: str, topics: Topics, *, thumbnails: bool) -> None:
        self.topic = discovery_topic(device)
        self._device, self._topics, self._thumbnails = device, topics, thumbnails

    def owns(self, topic: str) -> bool:
        return topic == self.topic or topic.startswith(self.topic.removesuffix("config"))

    def topic_of(self, camera: str) -> str:
        return discovery_topic(self._device, self._topics.parts.of(camera))

    def of_device(self, *, taking_back: Iterable[str] = ()) -> bytes:
        """Return what does not belong to a camera.

        An earlier dropsight told of these cameras here, too: their entities are taken back by name.
        """
        gone: dict[str, Component] = {
            f"{self._topics.parts.of(camera)}_{name}": {"platform": platform}
            for camera in taking_back
            for name, platform in _OF_CAMERA.items()
        }
        return as_json(self._around(_diagnostics(self._topics) | _controls(self._topics), gone))

    def of_camera(self, camera: str) -> bytes:
        found = self._of_camera(camera)
        # An earlier life of ours may have told of pictures.
        part = self._topics.parts.of(camera)
        never: dict[str, Component] = {} if self._thumbnails else {f"{part}_picture": {"platform": "image"}}
        return as_json(self._around(found, never))

    def _around(self, told: Mapping[str, Component], gone: Mapping[str, Component]) -> Component:
        identity = _identity(self._device)
        components = {name: {**each, "unique_id": f"{identity}_{name}"} for name, each in told.items()}
        return {
            "device": {
                "identifiers": [identity],
                "name": f"dropsight {self._device}",
                "manufacturer": "dropsight",
                "model": "image classifier",
                "sw_version": VERSION,
            },
            "origin": {"name": "dropsight", "sw_version": VERSION},
            "availability": [{"topic": self._topics.availability}],
            "qos": 1,
            "components": {**components, **gone},
        }

    def _of_camera(self, camera: str) -> dict[str, Component]:
        part = self._topics.parts.of(camera)
        found = _answers(camera, self._topics) | _problem(camera, self._topics)
        if self._thumbnails:
            found |= _picture(camera, self._topics)
        return {f"{part}_{name}": component for name, component in found.items()}


def _identity(device: str) -> str:
    return f"dropsight_{topic_part(device)}"


def _answers(camera: str, topics: Topics) -> dict[str, Component]:
    state = topics.state(camera)
    return {
        "label": {
            "platform": "sensor",
            "name": camera,
            "icon": "mdi:cctv",
            "state_topic": state,
            # A state holds 255 characters.
            "value_template": "{{ value_json.label[:255] }}",
            "json_attributes_topic": state,
            "json_attributes_template": _ATTRIBUTES,
        },
        "confidence": {
            "platform": "sensor",
            "name": f"{camera} confidence",
            "icon": "mdi:percent",
            "state_topic": state,
            "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
    }


def _problem(camera: str, topics: Topics) -> dict[str, Component]:
    topic = topics.problem(camera)
    return {
        "problem": {
            "platform": "binary_sensor",
            "name": f"{camera} problem",
            "device_class": "problem",
            "state_topic": topic,
            "value_template": "{{ 'ON' if value_json.problems else 'OFF' }}",
            "json_attributes_topic": topic,
            "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
        }
    }


def _picture(camera: str, topics: Topics) -> dict[str, Component]:
    return {
        "picture": {
            "platform": "image",
            "name": f"{camera} picture",
            "image_topic": topics.thumbnail(camera),
            "content_type": "image/jpeg",
        }
    }


def _diagnostics(topics: Topics) -> dict[str, Component]:
    figures: Mapping[str, tuple[str, str, Mapping[str, object]]] = {
        "latency_p95": (
            "Latency p95",
            "latency_ms.window.total.p95",
            {"unit_of_measurement": "ms", "device_class": "duration", "state_class": "measurement"},
        ),
        "waiting": ("Images waiting", "counters.waiting", {"state_class": "measurement"}),
        "processed": ("Images processed", "counters.done", {"state_class": "total_increasing"}),
        "failed": ("Images failed", "counters.failed", {"state_class": "total_increasing"}),
        "expired": ("Images expired", "counters.expired", {"state_class": "total_increasing"}),
        "backlog": ("Records for the broker", "queues.outbox", {"state_class": "measurement"}),
    }
    return {
        name: {
            "platform": "sensor",
            "name": shown,
            "entity_category": "diagnostic",
            "state_topic": topics.stats,
            "value_template": f"{{{{ value_json.{path} }}}}",
            **more,
        }
        for name, (shown, path, more) in figures.items()
    }


def _controls(topics: Topics) -> dict[str, Component]:
    return {
        "rescan": {
            "platform": "button",
            "name": "Rescan",
            "icon": "mdi:folder-refresh",
            "entity_category": "config",
            "command_topic": topics.command,
            "payload_press": '{"command": "rescan"}',
        },
        "pause": {
            "platform": "switch",
            "name": "Pause",
            "icon": "mdi:pause",
            "entity_category": "config",
            "command_topic": topics.command,
            "payload_on": '{"command": "pause"}',
            "payload_off": '{"command": "resume"}',
            "state_topic": topics.stats,
            "value_template": "{{ 'ON' if value_json.paused else 'OFF' }}",
            "state_on": "ON",
            "state_off": "OFF",
        },
    }
