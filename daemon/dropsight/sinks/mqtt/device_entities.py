"""What Home Assistant shows of a device: one component an entity, by its name in our ids."""

from collections.abc import Mapping
from typing import Final

from dropsight.sinks.mqtt.entities import Component
from dropsight.sinks.mqtt.topics import Topics

OF_DEVICE: Final = {
    **dict.fromkeys(("latency_p95", "waiting", "processed", "failed", "expired", "backlog"), "sensor"),
    **dict.fromkeys(("trouble", "disk", "log", "fallback"), "binary_sensor"),
    "rescan": "button",
    "pause": "switch",
}

# Troubles that come of a disk that is full, broken or read-only.
_OF_DISK = ["filing", "journal", "housekeeping", "syncing"]


def of_device(topics: Topics) -> dict[str, Component]:
    return _diagnostics(topics) | _troubles(topics) | _controls(topics)


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


def _troubles(topics: Topics) -> dict[str, Component]:
    """What is wrong with the daemon itself, a camera's own problems aside."""
    all_of_it = "value_json.troubles | default({}, true)"
    of_disk = f"{all_of_it} | dictsort | selectattr(0, 'in', {_OF_DISK}) | list"
    fallback = (
        "{{ {'model': (value_json.model | default({})).name | default(none),"
        " 'instead_of': (value_json.model | default({})).instead_of | default([])} | tojson }}"
    )
    return {
        "trouble": _trouble(
            "Trouble", topics.stats, all_of_it, f"{{{{ {{'troubles': {all_of_it}}} | tojson }}}}"
        ),
        "disk": _trouble(
            "Disk", topics.stats, of_disk, f"{{{{ {{'troubles': dict({of_disk})}} | tojson }}}}"
        ),
        "log": _trouble(
            "Log",
            topics.stats,
            f"({all_of_it}).log is defined",
            f"{{{{ {{'trouble': ({all_of_it}).log | default(none)}} | tojson }}}}",
        ),
        "fallback": _trouble("Fallback model", topics.info, "value_json.fallback", fallback),
    }


def _trouble(name: str, topic: str, condition: str, attributes: str) -> Component:
    return {
        "platform": "binary_sensor",
        "name": name,
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topic,
        "value_template": f"{{{{ 'ON' if {condition} else 'OFF' }}}}",
        "json_attributes_topic": topic,
        "json_attributes_template": attributes,
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
