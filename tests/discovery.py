"""What Home Assistant's MQTT discovery takes, per its documentation: our own table of those facts.

A device payload needs `device` (with an identifier), `origin` (with a name) and `components`; a component
needs its platform, and as an entity a unique id. One with nothing but its platform takes an entity back.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

TOP_REQUIRED = {"device", "origin", "components"}
TOP = TOP_REQUIRED | {
    "availability",
    "availability_mode",
    "availability_topic",
    "availability_template",
    "payload_available",
    "payload_not_available",
    "state_topic",
    "command_topic",
    "qos",
    "encoding",
}
DEVICE = {
    "identifiers",
    "connections",
    "configuration_url",
    "hw_version",
    "manufacturer",
    "model",
    "model_id",
    "name",
    "serial_number",
    "suggested_area",
    "sw_version",
    "via_device",
}
ORIGIN = {"name", "sw_version", "support_url"}
COMMON = {
    "platform",
    "unique_id",
    "name",
    "icon",
    "entity_category",
    "enabled_by_default",
    "default_entity_id",
    "json_attributes_topic",
    "json_attributes_template",
    "availability",
    "availability_topic",
    "availability_mode",
    "qos",
    "encoding",
}
READS = {"state_topic", "value_template", "device_class", "expire_after", "force_update"}
KNOWN = {
    "sensor": COMMON
    | READS
    | {"unit_of_measurement", "state_class", "suggested_display_precision", "options"},
    "binary_sensor": COMMON | READS | {"payload_on", "payload_off", "off_delay"},
    "event": COMMON | READS | {"event_types"},
    "device_automation": {"platform", "automation_type", "type", "subtype", "topic", "payload", "qos"},
    "image": COMMON | {"image_topic", "url_topic", "url_template", "content_type", "image_encoding"},
    "button": COMMON | {"command_topic", "command_template", "payload_press", "device_class", "retain"},
    "switch": COMMON
    | {
        "command_topic",
        "command_template",
        "state_topic",
        "value_template",
        "payload_on",
        "payload_off",
        "state_on",
        "state_off",
        "optimistic",
        "retain",
        "device_class",
    },
}  # fmt: skip
REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "device_automation": {"automation_type", "type", "subtype", "topic"},
    "image": {"image_topic"},
    "button": {"command_topic"},
    "switch": {"command_topic"},
}
# Of each platform's device classes, the ones that could be of use here, with a sensor's units.
SENSOR_UNITS: dict[str | None, set[str | None]] = {
    None: {None, "%", "images", "records"},
    "duration": {"d", "h", "min", "s", "ms", "µs"},
    "timestamp": {None},
    "temperature": {"°C", "°F", "K"},
    "data_size": {"B", "kB", "MB", "GB", "KiB", "MiB", "GiB"},
}
SENSOR_STATE_CLASSES: dict[str | None, set[str | None]] = {
    None: {None, "measurement", "total_increasing"},
    "duration": {None, "measurement", "total", "total_increasing"},
    "timestamp": {None},
    "temperature": {None, "measurement"},
    "data_size": {None, "measurement", "total", "total_increasing"},
}
BINARY_CLASSES: set[str | None] = {None, "problem", "connectivity", "running"}
BUTTON_CLASSES: set[str | None] = {None, "identify", "restart", "update"}
CATEGORIES = {"config": {"switch", "button"}, "diagnostic": {"sensor", "binary_sensor", "image", "button"}}
OBJECT_ID = re.compile(r"[a-zA-Z0-9_-]+")
TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)?/config")


def faults(topic: str, message: Mapping[str, Any]) -> Iterator[str]:
    """What Home Assistant would not take, or would take for something else."""
    if not TOPIC.fullmatch(topic):
        yield f"{topic} is no discovery topic"
    yield from _keys("message", set(message), TOP_REQUIRED, TOP)
    yield from _keys("device", set(message["device"]), {"name"}, DEVICE)
    if not (message["device"].get("identifiers") or message["device"].get("connections")):
        yield "device: nothing identifies it"
    yield from _keys("origin", set(message["origin"]), {"name"}, ORIGIN)
    seen: set[str] = set()
    for name, component in message["components"].items():
        if not OBJECT_ID.fullmatch(name):
            yield f"{name}: is no object id"
        if set(component) == {"platform"}:
            continue  # taken back
        if component["platform"] != "device_automation":  # which is no entity
            if component["unique_id"] in seen:
                yield f"{name}: shares its unique id"
            seen.add(component["unique_id"])
        yield from _component(name, component, str(message["device"]["name"]))


def _component(name: str, component: Mapping[str, Any], device: str) -> Iterator[str]:
    platform = component.get("platform")
    if platform not in KNOWN:
        yield f"{name}: platform {platform}"
        return
    yield from _keys(name, set(component), REQUIRED[platform] | {"platform"}, KNOWN[platform])
    if str(component.get("name")).startswith(device):
        yield f"{name}: repeats the device's name, which stands before it anyway"
    category = component.get("entity_category")
    if category is not None and platform not in CATEGORIES.get(category, set()):
        yield f"{name}: a {platform} cannot be {category}"
    for key, value in component.items():
        # An event's may be a filter, of a whole branch.
        plain = (
            value.removesuffix("/#").removesuffix("/+")
            if platform == "event" and key == "state_topic"
            else value
        )
        if key.endswith("_topic") and (not value or re.search(r"[+#\0]", plain)):
            yield f"{name}: {key} {value!r}"
        if key.endswith("_template") and value.count("{{") != value.count("}}"):
            yield f"{name}: {key} is no template"
    yield from _classes(name, platform, component)


def _classes(name: str, platform: str, component: Mapping[str, Any]) -> Iterator[str]:
    kind = component.get("device_class")
    if platform == "sensor":
        if component.get("unit_of_measurement") not in SENSOR_UNITS[kind]:
            yield f"{name}: unit {component.get('unit_of_measurement')} of a {kind}"
        if component.get("state_class") not in SENSOR_STATE_CLASSES[kind]:
            yield f"{name}: state class {component.get('state_class')} of a {kind}"
    allowed = {"binary_sensor": BINARY_CLASSES, "button": BUTTON_CLASSES}.get(platform)
    if allowed is not None and kind not in allowed:
        yield f"{name}: device class {kind}"


def _keys(name: str, there: set[str], required: set[str], known: set[str]) -> Iterator[str]:
    if missing := required - there:
        yield f"{name}: lacks {sorted(missing)}"
    if unknown := there - known:
        yield f"{name}: does not know {sorted(unknown)}"
