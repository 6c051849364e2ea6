"""Who is told: the lines of a file are its targets, each on its own."""

from collections.abc import Mapping
from functools import partial

import msgspec

from dropsight.config import Config, Notify, notify_urls
from dropsight.config.last_read import LAST_READ


class Target(msgspec.Struct, frozen=True):
    """`name` is the config's, `place` the URL's among the lines, from 1 on; it is a secret as a whole."""

    name: str
    settings: Notify
    place: int
    url: str

    def __repr__(self) -> str:
        return f"Target({self.label}, {self.shown})"

    @property
    def label(self) -> str:
        return self.name if self.place == 1 else f"{self.name}/{self.place}"

    @property
    def shown(self) -> str:
        """As much of the URL as is no secret: of many services, what stands for the host is a key."""
        scheme, _, _ = self.url.partition("://")
        return f"{scheme}://***"


def targets_of(config: Config, name: str, *, credentials: Mapping[str, str | None] = {}) -> list[Target]:
    """Read them; raises ConfigError. `credentials` are those that are known already."""
    settings = config.notify[name]
    read = partial(notify_urls, name, settings, credential=credentials.get(name))
    urls = LAST_READ.read((name, settings), read)
    return [Target(name, settings, place, url) for place, url in enumerate(urls, start=1)]
