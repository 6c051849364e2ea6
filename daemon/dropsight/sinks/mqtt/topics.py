"""The names of the MQTT topics, below <base>/<device>/."""

import logging
import re
from collections.abc import Collection
from hashlib import blake2b

import msgspec

from dropsight.records import Status

log = logging.getLogger(__name__)

_RECORDS: dict[Status, str] = {"ok": "result", "failed": "failure", "expired": "expired", "burst": "burst"}
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
LONGEST_TOPIC_BYTES = 256
# Of one topic; further ones of the same are not told of.
MOST_NAMED = 8
# Cameras that are known to have a topic; more than are remembered.
MOST_KNOWN = 10_000
HOME_ASSISTANT = "homeassistant"
"""Below which Home Assistant looks for devices, where nobody told it otherwise."""


def topic_part(name: str) -> str:
    """Keep letters, digits, underscore and hyphen; anything else becomes an underscore."""
    return _FOREIGN.sub("_", name) or "_"


class CameraTopicParts(msgspec.Struct):
    """A topic part for each camera, no two the same. For one thread.

    Of cameras that would share one, such as `a b` and `a_b`, the one named exactly so has it, else the first
    by name; the others get a digest of their name behind it. So it does not matter who came first. Of more
    cameras than are known, all do.
    """

    _sharing: dict[str, set[str]] = {}
    _known: int = 0
    _found: dict[str, str] = msgspec.field(default_factory=dict)
    """As long as no camera comes or goes."""

    def of(self, camera: str) -> str:
        return self._found.get(camera) or self._find(camera)

    def _find(self, camera: str) -> str:
        plain = topic_part(camera)
        sharing = self._sharing.get(plain, set())
        if camera not in sharing:
            if self._known >= MOST_KNOWN:
                return _digested(plain, camera)
            self._sharing[plain] = sharing
            self._known += 1
            self._found.clear()
            sharing.add(camera)
            if 1 < len(sharing) <= MOST_NAMED:
                others = ", ".join(sorted(sharing - {plain}))
                log.warning("cameras %s map to the same topic as %s: a digest is appended", others, plain)
        owner = plain if plain in sharing else min(sharing)
        self._found[camera] = found = plain if camera == owner else _digested(plain, camera)
        return found

    def forget(self, camera: str) -> None:
        self._found.clear()
        plain = topic_part(camera)
        sharing = self._sharing.get(plain, set())
        self._known -= camera in sharing
        sharing.discard(camera)
        if not sharing:
            self._sharing.pop(plain, None)


def _digested(part: str, camera: str) -> str:
    return f"{part}_{blake2b(camera.encode(), digest_size=4).hexdigest()}"


class Topics(msgspec.Struct, frozen=True):
    """`discovery` is what Home Assistant's topics begin with."""

    root: str
    parts: CameraTopicParts = msgspec.field(default_factory=CameraTopicParts)
    discovery: str = HOME_ASSISTANT

    @classmethod
    def of(cls, base_topic: str, device: str, discovery: str = HOME_ASSISTANT) -> "Topics":
        return cls(f"{base_topic.strip('/')}/{topic_part(device)}", discovery=discovery)

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
        # The journal may hold what a newer dropsight has recorded.
        return f"{self.root}/{_RECORDS.get(status) or topic_part(status)}/{self.parts.of(camera)}"

    def again(self, camera: str) -> str:
        """Where the first of a new camera is told once more, for who has only just heard of the camera."""
        return f"{self.record('ok', camera)}/again"

    def state(self, camera: str) -> str:
        return f"{self.root}/state/{self.parts.of(camera)}"

    def problem(self, camera: str) -> str:
        return f"{self.root}/problem/{self.parts.of(camera)}"

    def thumbnail(self, camera: str) -> str:
        return f"{self.root}/thumbnail/{self.parts.of(camera)}"

    def place(self, camera: str, name: str) -> str:
        """Return the end of the topics of an event that a camera may have."""
        return f"{self.parts.of(camera)}/{topic_part(name)}"

    def events(self, camera: str) -> str:
        """Return the filter for all that a camera's events say."""
        return f"{self.root}/event/{self.parts.of(camera)}/+"

    def event_thumbnail(self, camera: str) -> str:
        """Where the best picture of a camera's newest event is."""
        return f"{self.root}/event_thumbnail/{self.parts.of(camera)}"

    def event(self, end: str) -> str:
        return f"{self.root}/event/{end}"

    def active(self, end: str) -> str:
        return f"{self.root}/active/{end}"

    def seen(self, end: str) -> str:
        """Where stands what was told last."""
        return f"{self.root}/seen/{end}"

    def retained_of_events(self, ends: Collection[str], *, kept: Collection[str] = ()) -> list[str]:
        """Return what is retained of these, but for what belongs to those that are kept, too."""
        topics = [topic for end in ends for topic in (self.active(end), self.seen(end))]
        cameras = {end.partition("/")[0] for end in ends} - {end.partition("/")[0] for end in kept}
        return topics + [f"{self.root}/event_thumbnail/{camera}" for camera in sorted(cameras)]

    @property
    def all_thumbnails(self) -> str:
        return f"{self.root}/thumbnail/+"

    @property
    def all_event_thumbnails(self) -> str:
        return f"{self.root}/event_thumbnail/+"

    def retained_of(self, camera: str) -> tuple[str, ...]:
        return self.state(camera), self.problem(camera), self.thumbnail(camera)

    def kind_of(self, topic: str) -> str:
        """Return the filter that holds the topic and all that a broker allows or forbids along with it."""
        for prefix in (self.discovery, HOME_ASSISTANT):
            if topic.startswith(f"{prefix}/"):
                return f"{prefix}/#"
        kind, _, camera = topic.removeprefix(f"{self.root}/").partition("/")
        return f"{self.root}/{kind}/#" if camera and topic.startswith(f"{self.root}/") else topic

    def may_answer_on(self, topic: str) -> bool:
        """Whether an answer may go where somebody asks to have it.

        Who may command us need not be allowed to speak as us, to Home Assistant or to the broker: of the
        topics below our base, only those below our own response topic are free.
        """
        base = self.root.rpartition("/")[0]
        try:
            size = len(topic.encode())
        except UnicodeEncodeError:
            return False
        wild = any(sign in topic for sign in "+#\0")
        if wild or not 0 < size <= LONGEST_TOPIC_BYTES:
            return False
        if topic == self.response or topic.startswith(f"{self.response}/"):
            return True
        return not topic.startswith(("$", f"{HOME_ASSISTANT}/", f"{self.discovery}/", f"{base}/"))
