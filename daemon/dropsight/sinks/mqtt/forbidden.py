"""Topics of which the broker takes no record, or kinds: what follows on them costs others no time."""

import time
from typing import TypeAlias

from dropsight.errors import SinkError

Topic: TypeAlias = tuple[str, str]
"""Of a record: its status and camera."""

# So many records of one topic that were set aside in a row, or cameras of one status.
FEW = 3
# So many cameras of one status: rules that leave it out hold for thousands.
MANY_CAMERAS = 16
# So many topics that were doubted, of which none was ever taken.
MANY_DOUBTED = 9
EVERY = ""  # no camera's name
# So long none is tried, as each may cost a connection: some brokers hang up once they have said no.
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 600.0
# Of all that rest, one is tried in so long.
TRIAL_SECONDS = 10.0
# Of a camera that sends nothing any more nothing is said, either.
FORGOTTEN_SECONDS = 86_400.0
MOST, NAMED = 4_096, 8


class ForbiddenTopics:
    """For the publisher's thread, over all its connections; `cameras` may be asked by any.

    One of these is set aside at its first refusal, and those that follow untried, for a while. Where many
    cameras' are of one status, so are all others' of it, but for cameras of which the last was taken.
    """

    def __init__(self) -> None:
        self._aside: dict[Topic, int] = {}
        """How many were set aside since one was taken; the topic that was last stands last."""
        self._cameras: dict[str, set[str]] = {}
        """Of each status those of which some were set aside since one of that was taken."""
        self._good: dict[Topic, None] = {}
        """Those of which the last was taken."""
        self._taken = 0
        self._doubts: dict[Topic, tuple[int, int]] = {}
        """How many were doubted in a row, and what was taken in all as the last one counted."""
        self._at: dict[Topic, float] = {}
        self._rests: dict[Topic, float] = {}
        self._tried_again_at: dict[Topic, float] = {}
        self._next_trial_at = 0.0

    def set_aside(self, topic: Topic) -> None:
        """The broker does not take a record of this."""
        status, camera = topic
        self._aside[topic] = self._aside.pop(topic, 0) + 1
        self._good.pop(topic, None)
        cameras = self._cameras.setdefault(status, set())
        if len(cameras) < MANY_CAMERAS:
            cameras.add(camera)
        for each in (topic, (status, EVERY)):
            self._rest(each)
        if len(self._aside) > MOST:
            self._forget(next(iter(self._aside)))

    def doubted(self, topic: Topic) -> None:
        """One was acknowledged, and the connection lost at once, as it is where brokers hang up on anything.

        So it counts only where others were taken since the last that did, and no more once this is taken.
        """
        times, taken = self._doubts.pop(topic, (0, 0))
        self._doubts[topic] = times, taken = times + (taken < self._taken), self._taken
        if len(self._doubts) > MOST:
            del self._doubts[next(iter(self._doubts))]
        if times >= (1 if self._are_several and topic not in self._good else FEW):
            self._aside[topic] = max(self._aside.pop(topic, 0), FEW - 1)
            self.set_aside(topic)

    @property
    def _are_several(self) -> bool:
        """Whether it goes by camera: then one is enough, of a camera that never had any taken."""
        return len(self._doubts.keys() - self._good.keys()) >= MANY_DOUBTED

    def _rest(self, topic: Topic) -> None:
        self._at[topic] = time.monotonic()
        if topic in self and not self._rests_alone(topic):  # else it was on the way by then
            rest = min(2 * self._rests.get(topic, FIRST_REST_SECONDS / 2), LONGEST_REST_SECONDS)
            self._rests[topic], self._tried_again_at[topic] = rest, time.monotonic() + rest
            self._next_trial_at = time.monotonic() + TRIAL_SECONDS

    def taken(self, topic: Topic) -> None:
        self._taken += 1
        self._doubts.pop(topic, None)
        self._forget(topic)
        self._forget((topic[0], EVERY))
        self._cameras.pop(topic[0], None)
        self._good[topic] = None
        if len(self._good) > MOST:
            del self._good[next(iter(self._good))]

    def _forget(self, topic: Topic) -> None:
        for notes in (self._aside, self._at, self._rests, self._tried_again_at):
            notes.pop(topic, None)

    def __contains__(self, topic: Topic) -> bool:
        status, camera = topic
        cameras = len(self._cameras.get(status, ()))
        if camera == EVERY:
            return cameras >= MANY_CAMERAS
        return self._aside.get(topic, 0) >= FEW or cameras >= FEW

    def rests(self, topic: Topic) -> bool:
        """Whether none of this is to be tried for now."""
        is_all = topic not in self._good and self._rests_alone((topic[0], EVERY))
        waits_its_turn = self._aside.get(topic, 0) >= FEW and time.monotonic() < self._next_trial_at
        return is_all or waits_its_turn or self._rests_alone(topic)

    def _rests_alone(self, topic: Topic) -> bool:
        return time.monotonic() < self._tried_again_at.get(topic, 0.0)

    @property
    def cameras(self) -> list[str]:
        since = time.monotonic() - FORGOTTEN_SECONDS
        known = [topic for topic, at in list(self._at.items()) if topic in self and at > since]
        return sorted({camera for _, camera in known if camera != EVERY})

    def fault(self) -> SinkError | None:
        """What is to be said of these, if there are any."""
        if not self._aside or not (cameras := self.cameras):
            return None
        more = f" and {len(cameras) - NAMED} more" if len(cameras) > NAMED else ""
        named = ", ".join(cameras[:NAMED])
        kinds = sorted(status for status in self._cameras if (status, EVERY) in self)
        of_all = f"status {', '.join(kinds)}, nor of " if kinds else ""
        return SinkError(
            f"the broker takes no records of {of_all}some kind of {named}{more}"
            " (they are in the log, not on MQTT): see its access rules"
        )
