"""What Home Assistant shows of a camera: one component an entity, by its name in our ids."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, get_args

from dropsight.journal.event_messages import event_type
from dropsight.records import EventPhase
from dropsight.sinks.mqtt.topics import Topics

Component: TypeAlias = dict[str, object]

OF_CAMERA_ONCE: Final = {
    "label": "sensor",
    "confidence": "sensor",
    "problem": "binary_sensor",
    "picture": "image",
}
"""What versions knew that told of everything in one message."""
OF_CAMERA: Final = {**OF_CAMERA_ONCE, "last_image": "sensor", "image": "event"}
LEAST: Final[Mapping[str, Component]] = {
    "sensor": {"state_topic": "-"},
    "binary_sensor": {"state_topic": "-"},
    "image": {"image_topic": "-"},
    "event": {"state_topic": "-", "event_types": ["-"]},
    "button": {"command_topic": "-"},
    "switch": {"command_topic": "-"},
}
"""What a platform cannot do without."""
CLASSIFIED: Final = "classified"

# What is there: of classes that exclude each other, the best one's label.
_LABELS = "value_json.present | default([value_json]) | map(attribute='label') | list"
# What people read, and how sure it is: the group of classes, where there is one.
_SHOWN = f"([value_json.group] if value_json.group is defined else {_LABELS}) | join(', ') or 'nothing'"
_SURE = "value_json.group_confidence | default(value_json.confidence)"
# `clip` is not there of a photo, nor where a broker takes only short messages.
_SAID = (
    "'confidence': value_json.confidence, 'image_path': value_json.image_path,"
    " 'captured': value_json.image.captured, 'kind': value_json.kind | default('image'),"
    f" 'labels': {_LABELS}"
)
_AT_TIMES = (
    "**dict({'duration': value_json.clip.duration, 'peak_time': value_json.clip.peak.time}"
    " if value_json.clip is defined else {},"
    " **dict({'group': value_json.group, 'group_confidence': value_json.group_confidence}"
    " if value_json.group is defined else {},"
    " **({'region': value_json.region, 'regions': value_json.regions}"
    " if value_json.regions is defined else {})))"
)
_ATTRIBUTES = f"{{{{ dict({{{_SAID}, 'top_5': value_json.predictions[:5]}}, {_AT_TIMES}) | tojson }}}}"
# What is told again on a topic below is no event once more.
_EVENT = (
    "{% if value_json.id != this.attributes.get('id') %}"
    f"{{{{ dict({{'event_type': '{CLASSIFIED}', 'label': value_json.label, {_SAID},"
    f" 'time': value_json.time, 'id': value_json.id}}, {_AT_TIMES}) | tojson }}}}"
    "{% endif %}"
)


def of_camera(
    camera: str,
    topics: Topics,
    *,
    pictures: bool,
    events: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> dict[str, Component]:
    """The first has no name of its own: it is what the camera is there for.

    `events` by name; `problems` are such, too, and have an entity already.
    """
    found = _answers(topics.state(camera)) | _problem(topics.problem(camera))
    found |= _events(topics.record("ok", camera))
    if pictures:
        found["picture"] = {
            "platform": "image",
            "name": "Picture",
            "image_topic": topics.thumbnail(camera),
            "content_type": "image/jpeg",
        }
    if events or problems:
        found["event"] = _happening(topics.events(camera), [*events, *problems])
    for name in events:
        found |= _of_event(name, topics, topics.place(camera, name))
    if events and pictures:
        found["event_picture"] = {
            "platform": "image",
            "name": "Event picture",
            "image_topic": topics.event_thumbnail(camera),
            "content_type": "image/jpeg",
        }
    return found


def of_events(names: Sequence[str]) -> dict[str, str]:
    """Return the platforms of what is there for a camera's events."""
    found = {"event": "event", "event_picture": "image"} if names else {}
    for name in names:
        found |= {f"event_{name}": "binary_sensor", f"seen_{name}": "sensor"}
    return found


def _happening(topics: str, names: Sequence[str]) -> Component:
    """Late ones are no news for who acts on them."""
    return {
        "platform": "event",
        "name": "Event",
        "icon": "mdi:eye",
        "event_types": [event_type(name, phase) for name in names for phase in get_args(EventPhase)],
        "state_topic": topics,
        "value_template": "{% if value_json.late is not defined %}{{ value_json | tojson }}{% endif %}",
    }


def _of_event(name: str, topics: Topics, end: str) -> dict[str, Component]:
    shown = name.replace("_", " ").capitalize()
    return {
        f"event_{name}": {
            "platform": "binary_sensor",
            "name": shown,
            "device_class": "occupancy",
            "state_topic": topics.active(end),
            "json_attributes_topic": topics.seen(end),
        },
        f"seen_{name}": {
            "platform": "sensor",
            "name": f"{shown} last seen",
            "device_class": "timestamp",
            "state_topic": topics.seen(end),
            "value_template": "{{ value_json.ended or value_json.time }}",
        },
    }


def _answers(state: str) -> dict[str, Component]:
    return {
        "label": {
            "platform": "sensor",
            "name": None,
            "icon": "mdi:cctv",
            "state_topic": state,
            # A state holds 255 characters.
            "value_template": f"{{{{ ({_SHOWN})[:255] }}}}",
            "json_attributes_topic": state,
            "json_attributes_template": _ATTRIBUTES,
        },
        "confidence": {
            "platform": "sensor",
            "name": "Confidence",
            "icon": "mdi:percent",
            "state_topic": state,
            "value_template": f"{{{{ (({_SURE}) * 100) | round(1) }}}}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
        "last_image": {
            "platform": "sensor",
            "name": "Last image",
            "device_class": "timestamp",
            "state_topic": state,
            "value_template": "{{ value_json.time }}",
        },
    }


def _problem(topic: str) -> dict[str, Component]:
    return {
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "state_topic": topic,
            "value_template": "{{ 'ON' if value_json.problems else 'OFF' }}",
            "json_attributes_topic": topic,
            "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
        }
    }


def _events(topic: str) -> dict[str, Component]:
    """For automations: of a state, the same label once more is no change.

    One filter for both: some brokers send twice what two of a client's filters fit.
    """
    topics = f"{topic}/#"
    return {
        "image": {
            "platform": "event",
            "name": "Image",
            "icon": "mdi:image-plus",
            "event_types": [CLASSIFIED],
            "state_topic": topics,
            "value_template": _EVENT,
        },
        "trigger": {
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": CLASSIFIED,
            "subtype": "image",
            "topic": topics,
        },
    }
