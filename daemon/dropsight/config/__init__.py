"""The settings: one checked tree from a YAML file, the environment and the command line."""

from dropsight.config.addresses import host_and_port, is_loopback
from dropsight.config.credentials import (
    has_password,
    open_to_all,
    password,
    redacted_url,
    stored_password,
    token,
)
from dropsight.config.effective import dump, effective, schema
from dropsight.config.reading import load
from dropsight.config.sizes import format_size, parse_size
from dropsight.config.tree import (
    ByteSize,
    Cameras,
    Config,
    Explain,
    Images,
    Inference,
    Limits,
    Log,
    ModelSettings,
    Mqtt,
    Queue,
    Retention,
    Stats,
    Store,
    Tls,
    View,
    Watch,
    Web,
)

__all__ = [
    "ByteSize",
    "Cameras",
    "Config",
    "Explain",
    "Images",
    "Inference",
    "Limits",
    "Log",
    "ModelSettings",
    "Mqtt",
    "Queue",
    "Retention",
    "Stats",
    "Store",
    "Tls",
    "View",
    "Watch",
    "Web",
    "dump",
    "effective",
    "format_size",
    "has_password",
    "host_and_port",
    "is_loopback",
    "load",
    "open_to_all",
    "parse_size",
    "password",
    "redacted_url",
    "schema",
    "stored_password",
    "token",
]
