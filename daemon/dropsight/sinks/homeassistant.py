"""Home Assistant's MQTT discovery: one retained message that describes the device and all of its entities.

Source: the device discovery payload of Home Assistant's MQTT integration (since 2024.11).
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from dropsight.sinks.topics import Topics, topic_part
from dropsight.version import VERSION

BIRTH_TOPIC = "homeassistant/status"
BIRTH = b"online"
Component: TypeAlias = dict[str, object]

_ATTRIBUTES = (
    "{{ {'confidence': value_json.confidence, 'top_5': value_json.top_5_predictions,"
    " 'image_path': value_json.image_path, 'captured': value_json.image.captured} | tojson }}"
)


def discovery_topic(device: str) -> str:
    return f"homeassistant/device/{_identity(device)}/config"


def discovery(device: str, topics: Topics, cameras: Iterable[str]) -> bytes:
    """Return the payload for a device with these cameras."""
    components: dict[str, Component] = {}
    for camera in sorted(cameras):
        components |= _of_camera(camera, topics)
    components |= _diagnostics(topics) | _controls(topics)
    identity = _identity(device)
    for name, component in components.items():
        component["unique_id"] = f"{identity}_{name}"
    message = {
        "device": {
            "identifiers": [identity],
            "name": f"dropsight {device}",
            "manufacturer": "dropsight",
            "model": "image classifier",
            "sw_version": VERSION,
        },
        "origin": {"name": "dropsight", "sw_version": VERSION},
        "availability": [{"topic": topics.availability}],
        "qos": 1,
        "components": components,
    }
    return msgspec.json.encode(message)


def _identity(device: str) -> str:
    return f"dropsight_{topic_part(device)}"


def _of_camera(camera: str, topics: Topics) -> dict[str, Component]:
    part, state = topic_part(camera), topics.state(camera)
    return {
        f"{part}_label": {
            "platform": "sensor",
            "name": camera,
            "icon": "mdi:cctv",
            "state_topic": state,
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": state,
            "json_attributes_template": _ATTRIBUTES,
        },
        f"{part}_confidence": {
            "platform": "sensor",
            "name": f"{camera} confidence",
            "icon": "mdi:percent",
            "state_topic": state,
            "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
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
