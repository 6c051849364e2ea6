"""Commands that come over MQTT, carried out on a thread of their own: some take longer than a keepalive."""

import logging
import queue
from collections.abc import Callable
from typing import NamedTuple

from dropsight.errors import SinkError
from dropsight.sinks.connection import Asked, Connection
from dropsight.sinks.topics import Topics

log = logging.getLogger(__name__)

LONGEST_QUEUE = 16


class _Work(NamedTuple):
    asked: Asked
    connection: Connection


class Commander:
    """`obey` takes a command's payload and returns the answer's."""

    def __init__(self, obey: Callable[[bytes], bytes], topics: Topics) -> None:
        self._obey, self._topics = obey, topics
        self._queue: queue.Queue[_Work | None] = queue.Queue(LONGEST_QUEUE)

    def take(self, asked: Asked, connection: Connection) -> None:
        """Note a command; never waits."""
        try:
            self._queue.put_nowait(_Work(asked, connection))
        except queue.Full:
            log.warning("a command was not carried out: %d others wait", LONGEST_QUEUE)

    def stop(self) -> None:
        self._queue.put(None)

    def run(self) -> None:
        while work := self._queue.get():
            answer = self._obey(work.asked.payload)
            topic = self._topic(work.asked.response_topic)
            try:
                work.connection.publish(topic, answer, qos=1, correlation=work.asked.correlation)
            except SinkError as error:
                log.warning("the answer to a command went nowhere: %s", error)

    def _topic(self, asked: str | None) -> str:
        if asked is None:
            return self._topics.response
        if not self._topics.may_answer_on(asked):
            log.warning("no answer goes to %.80r: see %s", asked, self._topics.response)
            return self._topics.response
        return asked
