"""The names of the MQTT topics, below <base>/<device>/."""

import re
from dataclasses import dataclass

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

    def result(self, camera: str) -> str:
        return f"{self.root}/result/{topic_part(camera)}"

    def state(self, camera: str) -> str:
        return f"{self.root}/state/{topic_part(camera)}"

    def failure(self, camera: str) -> str:
        return f"{self.root}/failure/{topic_part(camera)}"
