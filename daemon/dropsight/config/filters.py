"""Topics that images arrive on: what a filter may be, so that each of its + is a folder of the inbox."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from dropsight.config.keys import Key, dotted
from dropsight.config.layers import Fault
from dropsight.config.tree import Config, Watch

MOST_WILDCARDS = 8
# Below mqtt.base_topic and the device's name.
_OURS = ("+", "+", "+")


def broken_filters(config: Config) -> Iterator[Fault]:
    found = [(index, watch, watch.mqtt) for index, watch in enumerate(config.watch) if watch.mqtt is not None]
    for index, watch, topics in found:
        key = ("watch", str(index), "mqtt")
        if config.mqtt is None:
            text = "arrives by the broker of the mqtt section, which is null"
            yield Fault(key, f"{text}; give mqtt.url, too", also=(("mqtt",),))
        elif overlap(topics, "/".join((config.mqtt.base_topic, *_OURS))):
            text = "matches what dropsight itself publishes below mqtt.base_topic"
            yield Fault(
                key, f"{text}; give a filter of the cameras' own topics", also=(("mqtt", "base_topic"),)
            )
        if fault := _fault(topics):
            yield Fault(key, fault)
        yield from _folder(index, watch, topics)
    for (one, _, topics), (other, _, others) in combinations(found, 2):
        if overlap(topics, others):
            there = ("watch", str(one), "mqtt")
            text = f"and {dotted(there)} have topics in common; give each image one way in"
            yield Fault(("watch", str(other), "mqtt"), text, also=(there,))


def overlap(one: str, other: str) -> bool:
    """Whether there are topics that both filters, which are without #, let through."""
    mine, others = one.split("/"), other.split("/")
    return len(mine) == len(others) and all(
        here == there or "+" in (here, there) for here, there in zip(mine, others, strict=True)
    )


def levels(topics: str, topic: str) -> Sequence[str] | None:
    """Return what stands for each + of the filter; None where it does not let this topic through."""
    wanted, found = topics.split("/"), topic.split("/")
    if len(wanted) != len(found):
        return None
    pairs = list(zip(wanted, found, strict=True))
    if any(want not in {"+", level} for want, level in pairs):
        return None
    return [level for want, level in pairs if want == "+"]


def _fault(topics: str) -> str | None:
    parts = topics.split("/")
    if "#" in topics:
        return "has a #, which matches everything below; give each level a +, as in cameras/+/image"
    if any("+" in level and level != "+" for level in parts):
        return "has a + as a part of a level; a + must be a whole level, as in cameras/+/image"
    if topics.startswith("$"):
        return "begins with $, which is reserved for the broker; give one such as cameras/+/image"
    if parts.count("+") > MOST_WILDCARDS:
        return f"has {parts.count('+')} levels by +, each of them a folder; give at most {MOST_WILDCARDS}"
    return None


def _folder(index: int, watch: Watch, topics: str) -> Iterator[Fault]:
    """What the inbox has to be for all that arrives to be taken."""
    if "+" in topics and not watch.recursive:
        key: Key = ("watch", str(index), "recursive")
        yield Fault(key, "is false, but what arrives by + is put into sub-folders, the cameras; give true")
