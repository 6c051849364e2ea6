"""Our MQTT client id: always the same, so that the broker closes an earlier connection of ours."""

import logging
import secrets
from pathlib import Path

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.config import Mqtt
from dropsight.errors import DropsightError
from dropsight.files.disk import write_whole
from dropsight.status.control import NotRunningError, ask

log = logging.getLogger(__name__)

NAME = "mqtt-client-id"
LONGEST = 256


def own_id(settings: Mqtt, state: Path) -> str:
    """Return the daemon's, which is made and kept where the settings give none."""
    if settings.client_id is not None:
        return settings.client_id
    kept = _kept(state)
    if kept:
        return kept
    made = _made()
    try:
        write_whole(state / NAME, made.encode())
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): after a restart, a late last will may show this device as offline",
            state / NAME,
            error.strerror,
        )
    return made


def guest_id(settings: Mqtt, state: Path) -> str:
    """Return one for a short visit: the daemon's, which a broker may ask for, unless that throws it out."""
    try:
        ask(state, "status")
    except NotRunningError:
        return settings.client_id or _kept(state) or _made()
    except DropsightError:  # it is busy, or does not answer to us
        pass
    return f"{settings.client_id}-{secrets.token_hex(4)}" if settings.client_id else _made()


def _kept(state: Path) -> str:
    try:
        found = read_bounded(state / NAME, STATE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return found if found.isprintable() and len(found) <= LONGEST else ""


def _made() -> str:
    """Of no more than the 23 characters that every broker must take (MQTT 3.1.1, 3.1.3.1)."""
    return f"dropsight-{secrets.token_hex(6)}"
