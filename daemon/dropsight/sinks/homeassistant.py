"""Home Assistant's MQTT discovery: one retained message that describes the device and all of its entities.

Source: the device discovery payload of Home Assistant's MQTT integration (since 2024.11).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from dropsight.names import as_json
from dropsight.sinks.topics import Topics, topic_part
from dropsight.version import VERSION

BIRTH_TOPIC = "homeassistant/status"
BIRTH = b"online"
# More entities than Home Assistant is glad of, and a message of half a megabyte.
MOST_CAMERAS = 256
Component: TypeAlias = dict[str, object]

log = logging.getLogger(__name__)

_ATTRIBUTES = (
    "{{ {'confidence': value_json.confidence, 'top_5': value_json.predictions[:5],"
    " 'image_path': value_json.image_path, 'captured': value_json.image.captured} | tojson }}"
)


def discovery_topic(device: str) -> str:
    return f"homeassistant/device/{_identity(device)}/config"


class Entities:
    """The payload for a device, and what stood in the one before: what vanishes must be taken back by name.

    For one thread. Entity ids are Home Assistant's own, from device and entity name.
    """

    def __init__(self, device: str, topics: Topics, *, thumbnails: bool) -> None:
        self.topic = discovery_topic(device)
        self._device, self._topics, self._thumbnails = device, topics, thumbnails
        self._platforms: dict[str, object] = {}
        self._warned = False

    def message(self, cameras: Iterable[str]) -> bytes:
        """Return the payload for these cameras."""
        known = sorted(cameras)
        if len(known) > MOST_CAMERAS and not self._warned:
            self._warned = True
            log.warning("Home Assistant is told of %d cameras, not of all %d", MOST_CAMERAS, len(known))
        components: dict[str, Component] = {}
        for camera in known[:MOST_CAMERAS]:
            components |= self._of_camera(camera)
        components |= _diagnostics(self._topics) | _controls(self._topics)
        identity = _identity(self._device)
        for name, component in components.items():
            component["unique_id"] = f"{identity}_{name}"
        former, self._platforms = (
            self._platforms,
            {name: component["platform"] for name, component in components.items()},
        )
        gone = {name: {"platform": platform} for name, platform in former.items() if name not in components}
        return as_json(self._around(identity, components | self._never_mind(known) | gone))

    def _around(self, identity: str, components: Mapping[str, Component]) -> Component:
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
            "components": components,
        }

    def _of_camera(self, camera: str) -> dict[str, Component]:
        part = self._topics.parts.of(camera)
        found = _answers(camera, self._topics) | _problem(camera, self._topics)
        if self._thumbnails:
            found |= _picture(camera, self._topics)
        return {f"{part}_{name}": component for name, component in found.items()}

    def _never_mind(self, cameras: Sequence[str]) -> dict[str, Component]:
        """Pictures that an earlier life of ours may have told of."""
        if self._thumbnails:
            return {}
        return {
            f"{self._topics.parts.of(camera)}_picture": {"platform": "image"}
            for camera in cameras[:MOST_CAMERAS]
        }


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
