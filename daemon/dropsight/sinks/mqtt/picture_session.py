"""What a connection shows of pictures: one at a time, so that no record waits long for its turn."""

from collections.abc import Callable, Sequence

from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.thumbnails import Thumbnails


class PictureSession:
    """For the session's thread. `topic` is where a camera's is, `everything` the filter for all of them."""

    def __init__(
        self, pictures: Thumbnails, announcer: Announcer, *, topic: Callable[[str], str], everything: str
    ) -> None:
        self._pictures, self._announcer, self._topic, self._all = pictures, announcer, topic, everything
        self._in_flight: int | None = None

    def show_those_that_are_lost(self) -> None:
        """Of those that the broker still has, each would be news to who acts on a new picture."""
        topics = {self._topic(camera): camera for camera in self._pictures.sent}
        if topics:
            kept = self._announcer.retained(self._all, expected=topics.keys())
            known = {topics[topic]: jpeg for topic, jpeg in kept.items() if topic in topics}
            self._pictures.show_again(known)

    def publish(self, *, at_once: bool = False) -> bool:
        """Show one that is due, or any; tell whether there was one."""
        if self._in_flight is not None and not at_once:
            return False
        taken = self._pictures.take(at_once=at_once)
        if taken is None:
            return False
        self._in_flight = self._announcer.tell(self._topic(taken[0]), taken[1])
        return True

    def settle(self, mids: Sequence[int]) -> None:
        if self._in_flight in mids:
            self._in_flight = None

    def seconds_to_next(self) -> float:
        """How long until one is due, infinity where none is known to be."""
        seconds = self._pictures.seconds_to_next()
        return float("inf") if seconds is None or self._in_flight is not None else seconds
