"""Images that arrive over MQTT: a session with the broker for each inbox, so that none holds up another."""

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dropsight.config import Config, Mqtt, redacted_url
from dropsight.errors import ConfigError, StoreError
from dropsight.intake.folder import DropFolder
from dropsight.intake.landing import Landing
from dropsight.intake.source import SourceStatus
from dropsight.sinks.mqtt.identity import own_id
from dropsight.sources.former import FormerSessions
from dropsight.sources.image_connection import MessageMemory
from dropsight.sources.image_session import REASONS, ImageSession
from dropsight.sources.subscriptions import former
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

NAME, PART, FORMER = "arrivals", "arrivals", "former-arrivals"
# Beside the publisher, whose session is another.
SUFFIX = "-images"


def make(config: Config, folders: Sequence[DropFolder], state: Path, troubles: Troubles) -> "MqttSource":
    """Make the one source of all entries of `watch` that have `mqtt`; raises ConfigError."""
    if config.mqtt is None:
        raise ConfigError(["watch[].mqtt: arrives by the broker of the mqtt section, which is null"])
    own = own_id(config.mqtt, state)
    inboxes = {
        topics: Landing(folder, sender=session_id(own, topics))
        for folder in folders
        for topics in [folder.settings.mqtt or ""]
    }
    return MqttSource(
        config.mqtt, inboxes, own=own, most_bytes=config.limits.max_bytes, state=state, troubles=troubles
    )


def session_id(own: str, topics: str) -> str:
    """Return the client id of what comes by this filter, whichever place it has in the config."""
    return f"{own}{SUFFIX}-{hashlib.blake2b(topics.encode(), digest_size=4).hexdigest()}"


class MqttSource:
    """Its sessions are told of as one."""

    def __init__(
        self,
        settings: Mqtt,
        inboxes: Mapping[str, Landing],
        *,
        own: str,
        most_bytes: int,
        state: Path,
        troubles: Troubles,
    ) -> None:
        self.heartbeats = Heartbeats()
        self._settings, self._troubles = settings, troubles
        self._faults: dict[str, str] = {}
        self._lock = threading.Lock()
        room = MessageMemory(most_bytes)
        self.sessions = [
            ImageSession(
                settings,
                topics,
                inbox,
                client_id=session_id(own, topics),
                room=room,
                state=state,
                heartbeats=self.heartbeats,
                fault=self._fault,
            )
            for topics, inbox in inboxes.items()
        ]
        found = former(state, {session.name for session in self.sessions})
        self._former = FormerSessions(settings, found, self.sessions, room=room)

    @property
    def name(self) -> str:
        return NAME

    def start(self, supervision: Supervision) -> threading.Thread:
        first, *others = self.sessions
        threads = [supervision.start(session.name, session.run) for session in others]
        if self._former.any():
            threads.append(supervision.start(FORMER, self._former.run))

        def run() -> None:
            first.run()
            for thread in threads:
                thread.join()

        return supervision.start(self.name, run)  # which may be about to connect when all ends

    def stop(self) -> None:
        self._former.stop()
        for session in self.sessions:
            session.stop()

    def status(self) -> SourceStatus:
        refused = sum((session.refused for session in self.sessions), Counter[str]())
        with self._lock:
            trouble = "; ".join(self._faults.values()) or None
        return SourceStatus(
            name="mqtt",
            place=", ".join([redacted_url(self._settings.url), *(each.topics for each in self.sessions)]),
            connected=all(session.connected for session in self.sessions),
            received=sum(session.received for session in self.sessions),
            refused={reason: refused[reason] for reason in REASONS},
            trouble=trouble,
        )

    def _fault(self, what: str, text: str | None) -> None:
        with self._lock:
            if text is None:
                self._faults.pop(what, None)
            else:
                self._faults[what] = text
            found = "; ".join(dict.fromkeys(self._faults.values()))  # what all of them have is said once
            if found:
                self._troubles.raised(PART, StoreError(found))
            else:
                self._troubles.cleared(PART)
