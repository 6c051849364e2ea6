"""Topics of which the broker takes no record: what follows on them costs others no time."""

import time
from typing import TypeAlias

from dropsight.errors import SinkError

Topic: TypeAlias = tuple[str, str]
"""Of a record: its status and camera."""

# So many records of one topic that were set aside in a row.
FEW = 3
# So long none is tried, as each may cost a connection: some brokers hang up once they have said no.
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 600.0
# Of a camera that sends nothing any more nothing is said, either.
FORGOTTEN_SECONDS = 86_400.0
MOST, NAMED = 4_096, 8


class ForbiddenTopics:
    """For the publisher's thread, over all its connections; `cameras` may be asked by any.

    One of these is set aside at its first refusal, and those that follow untried, for a while.
    """

    def __init__(self) -> None:
        self._aside: dict[Topic, int] = {}
        """How many were set aside since one was taken; the topic that was last stands last."""
        self._at: dict[Topic, float] = {}
        self._rests: dict[Topic, float] = {}
        self._tried_again_at: dict[Topic, float] = {}

    def set_aside(self, topic: Topic) -> None:
        """The broker does not take a record of this."""
        self._aside[topic] = self._aside.pop(topic, 0) + 1
        self._at[topic] = time.monotonic()
        if topic in self and not self.rests(topic):  # else it was on the way by then
            rest = min(2 * self._rests.get(topic, FIRST_REST_SECONDS / 2), LONGEST_REST_SECONDS)
            self._rests[topic], self._tried_again_at[topic] = rest, time.monotonic() + rest
        if len(self._aside) > MOST:
            self.taken(next(iter(self._aside)))

    def taken(self, topic: Topic) -> None:
        for notes in (self._aside, self._at, self._rests, self._tried_again_at):
            notes.pop(topic, None)

    def __contains__(self, topic: Topic) -> bool:
        return self._aside.get(topic, 0) >= FEW

    def rests(self, topic: Topic) -> bool:
        """Whether none of this is to be tried for now."""
        return time.monotonic() < self._tried_again_at.get(topic, 0.0)

    @property
    def cameras(self) -> list[str]:
        since = time.monotonic() - FORGOTTEN_SECONDS
        return sorted({topic[1] for topic, at in list(self._at.items()) if topic in self and at > since})

    def fault(self) -> SinkError | None:
        """What is to be said of these, if there are any."""
        if not self._aside or not (cameras := self.cameras):
            return None
        more = f" and {len(cameras) - NAMED} more" if len(cameras) > NAMED else ""
        named = ", ".join(cameras[:NAMED])
        return SinkError(
            f"the broker takes no records of some kind of {named}{more} (they are in the log, not on MQTT):"
            " see its access rules"
        )
