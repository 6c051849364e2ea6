"""What follows the journal, by the section of the config that asks for it; imported on demand."""

from collections.abc import Iterator
from importlib import import_module

from dropsight.config import Config
from dropsight.sinks.sink import FollowerSpec, Section

FOLLOWERS: dict[str, str] = {
    "mqtt": "dropsight.sinks.mqtt.publisher:followers",
    "webhooks": "dropsight.sinks.webhook:followers",
    "notify": "dropsight.sinks.notify.target_followers:followers",
}
"""Section to "module:function", which is given the config; a new sink is one file and one line."""


def wanted(config: Config) -> list[FollowerSpec]:
    return list(_wanted(config))


def _wanted(config: Config) -> Iterator[FollowerSpec]:
    for section, entry in FOLLOWERS.items():
        if getattr(config, section):
            module, _, function = entry.partition(":")
            followers: Section = getattr(import_module(module), function)
            yield from followers(config)
