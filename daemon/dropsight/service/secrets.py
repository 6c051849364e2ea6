"""Secrets while the daemon runs: read again at a reload, and told of where everybody may read them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dropsight.config import Config, open_to_all
from dropsight.errors import DropsightError
from dropsight.sinks.sink import Follower
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:
    from dropsight.web.serving import WebServer

PART = "secrets"


def look_at_secrets(config: Config, troubles: Troubles) -> None:
    """Have status and log name files that are open to all."""
    if found := open_to_all(config):
        troubles.raised(PART, DropsightError("; ".join(found)))
    else:
        troubles.cleared(PART)


def read_secrets(followers: Sequence[Follower], web: "WebServer | None") -> None:
    """Raises ConfigError, and then the former ones stay."""
    for follower in followers:
        follower.read_secrets()
    if web:
        web.read_token()
