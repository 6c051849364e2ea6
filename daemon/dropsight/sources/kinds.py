"""Which keys of `watch` ask for a source, and where each is made: imported only where it is asked for."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dropsight.config import Config
from dropsight.intake.folder import DropFolder
from dropsight.intake.source import Source
from dropsight.status.troubles import Troubles

MAKERS: Mapping[str, str] = {
    "mqtt": "dropsight.sources.arrivals:make",
}
"""By the key of `watch`. A maker is called once, with the folders of all entries that have it."""

Maker = Callable[[Config, Sequence[DropFolder], Path, Troubles], Source]


def open_sources(
    config: Config, folders: Sequence[DropFolder], troubles: Troubles, *, makers: Mapping[str, str] = MAKERS
) -> list[Source]:
    """Make what the config asks for; raises ConfigError."""
    found: list[Source] = []
    for key, place in makers.items():
        if asked := [folder for folder in folders if getattr(folder.settings, key) is not None]:
            module, _, name = place.partition(":")
            maker: Maker = getattr(importlib.import_module(module), name)
            found.append(maker(config, asked, config.store.path.parent, troubles))
    return found
