"""The names of the MQTT topics, below <base>/<device>/."""

import re
from dataclasses import dataclass

from dropsight.records import Status

_RECORDS: dict[Status, str] = {"ok": "result", "failed": "failure", "expired": "expired"}
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


def topic_part(name: str) -> str:
    """Keep letters, digits, underscore and hyphen; anything else becomes an underscore."""
    return _FOREIGN.sub("_", name) or "_"


@dataclass(frozen=True, slots=True)
class Topics:
    root: str

    @classmethod
    def of(cls, base_topic: str, device: str) -> "Topics":
        return cls(f"{base_topic.strip('/')}/{topic_part(device)}")

    @property
    def availability(self) -> str:
        return f"{self.root}/availability"

    @property
    def stats(self) -> str:
        return f"{self.root}/stats"

    @property
    def info(self) -> str:
        return f"{self.root}/info"

    @property
    def command(self) -> str:
        return f"{self.root}/command"

    @property
    def response(self) -> str:
        return f"{self.root}/command/response"

    def record(self, status: Status, camera: str) -> str:
        return f"{self.root}/{_RECORDS[status]}/{topic_part(camera)}"

    def state(self, camera: str) -> str:
        return f"{self.root}/state/{topic_part(camera)}"
