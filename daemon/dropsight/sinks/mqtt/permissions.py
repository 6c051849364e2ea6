"""What a broker's access rules allow: tried as `run` does it, with messages that leave nothing behind."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dropsight.config import Mqtt
from dropsight.records import Status
from dropsight.sinks.mqtt.brief_connection import HANGS_UP, BriefConnection
from dropsight.sinks.mqtt.homeassistant import birth_topics, discovery_topic
from dropsight.sinks.mqtt.identity import guest_id
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.offers import Offers
from dropsight.sinks.mqtt.one_id import ONE_ID, has_one_id_for_all
from dropsight.sinks.mqtt.topics import Topics

# A camera that nobody has: what is said of it is nobody's picture, and fires nobody's automation.
NOBODY = "dropsight-check"
ECHO_SECONDS = 2.0
# What is retained comes before the answers to what is asked after it.
KEPT_SECONDS = 0.25
_STATUSES: tuple[Status, ...] = ("ok", "failed", "expired")
_NOT_TRIED = (
    "what it accepts was not tested: its rules may depend on mqtt.client_id, which the running daemon uses;"
    " dropsight status names what it is refused, or stop it and check again"
)


class Findings(NamedTuple):
    """`refused` are faults, `doubts` what may be as it should; a line each."""

    spoken: str
    refused: list[str]
    doubts: list[str]


class TrialMessage(NamedTuple):
    topic: str
    payload: bytes
    retain: bool


class _Heard(NamedTuple):
    topic: str
    payload: bytes
    is_kept: bool


def try_broker(
    settings: Mqtt,
    device: str,
    *,
    state: Path,
    credential: str | None = None,
    bursts: bool = False,
    events: bool = False,
) -> Findings:
    """Publish one message of each kind, subscribe where the daemon does, disconnect; raises SinkError.

    `bursts`, `events`: the daemon publishes these, too.
    The will goes where the daemon's does, which the broker may refuse, but says nothing: it is empty.
    """
    topics = Topics.of(settings.base_topic, device, settings.discovery_prefix)
    client_id = guest_id(settings, state)
    will = (topics.availability, b"")
    with BriefConnection(settings, client_id=client_id, will=will, credential=credential) as visit:
        spoken = f"MQTT {visit.protocol}"
        if settings.client_id not in {None, client_id}:
            return Findings(spoken, [], [_NOT_TRIED])
        if has_one_id_for_all(settings, client_id, credential=credential):
            return Findings(spoken, [], [f"{ONE_ID}; what it accepts was not tested"])
        trial = _Trial(visit)
        trial.listen(topics.stats)
        births = birth_topics(topics.discovery) if settings.home_assistant else []
        deaf = trial.listen(topics.info, topics.availability, topics.command, *births)
        statuses = (*_STATUSES, "burst") if bursts else _STATUSES
        kept = trial.kept(topics.info, topics.stats)
        words = list(_words(topics, settings, device, statuses=statuses, kept=kept))
        words += _of_events(topics, settings) if events else ()
        refused = trial.say(words)
        doubts = [f"it denied the subscription to {topic}: {reason}" for topic, reason in deaf.items()]
        doubts += trial.doubts(len(words) - len(refused))
    return Findings(
        spoken,
        [f"the broker denied publishing to {topic}: {reason}" for topic, reason in refused.items()],
        doubts,
    )


def _words(
    topics: Topics, settings: Mqtt, device: str, *, statuses: Sequence[Status], kept: Mapping[str, bytes]
) -> Iterator[TrialMessage]:
    """Yield one for each kind of topic: of nobody's camera, or what is no news to who listens.

    Empty and retained, it is what is said of a camera that is gone; empty and not retained, nothing at all.
    """
    for status in statuses:
        yield TrialMessage(topics.record(status, NOBODY), b"", settings.retain and status == "ok")
    yield TrialMessage(topics.availability, b"", retain=False)
    for topic in (topics.info, topics.stats):
        yield TrialMessage(topic, kept.get(topic, b""), retain=False)
    for topic in (topics.state(NOBODY), topics.problem(NOBODY)):
        yield TrialMessage(topic, b"", retain=True)
    if settings.thumbnails:
        yield TrialMessage(topics.thumbnail(NOBODY), b"", retain=True)
    yield TrialMessage(topics.response, b'{"command":"check","ok":true}', retain=False)
    if settings.home_assistant:
        yield TrialMessage(topics.again(NOBODY), b"", retain=False)
        yield TrialMessage(discovery_topic(device, NOBODY, prefix=topics.discovery), b"", retain=True)


def _of_events(topics: Topics, settings: Mqtt) -> Iterator[TrialMessage]:
    end = topics.place(NOBODY, NOBODY)
    yield TrialMessage(topics.event(end), b"", retain=False)
    for topic in (topics.active(end), topics.seen(end)):
        yield TrialMessage(topic, b"", retain=True)
    if settings.thumbnails:
        yield TrialMessage(topics.event_thumbnail(NOBODY), b"", retain=True)


class _Trial:
    """For one thread. In MQTT 3.1.1 what is thrown away is acknowledged, too: we listen for our own words."""

    def __init__(self, visit: BriefConnection) -> None:
        self._visit = visit
        self._heard: list[_Heard] = []
        self._on_the_way: list[TrialMessage] = []
        self._unsure: list[TrialMessage] = []
        self._lacking = visit.offers.lacking

    def listen(self, *topics: str) -> Mapping[str, str]:
        """Return where the broker does not let us, and why."""
        answers = {topic: self._listen(topic) for topic in topics}
        return {topic: no for topic, no in answers.items() if no}

    def kept(self, *topics: str) -> Mapping[str, bytes]:
        """Return what is retained there, as far as we were told when we listened."""

        def found() -> dict[str, bytes]:
            return {each.topic: each.payload for each in self._heard if each.is_kept and each.topic in topics}

        self._visit.wait_for(lambda: len(found()) == len(topics), seconds=KEPT_SECONDS)
        return found()

    def say(self, words: Iterable[TrialMessage]) -> Mapping[str, str]:
        """Return what the broker does not take, and why."""
        refused: dict[str, str] = {}
        waiting, again, unkept = deque(words), set[TrialMessage](), set[TrialMessage]()
        while waiting:
            word = waiting.popleft()
            echoes = self._visit.protocol == "3.1.1"
            is_deaf = echoes and self._listen(word.topic) is not None
            no = self._visit.say(word.topic, word.payload, retain=word.retain)
            if no == HANGS_UP and echoes and word.retain:  # for that, or for the topic?
                unkept.add(word := word._replace(retain=False))
                waiting.appendleft(word)
            elif no:
                refused[word.topic] = no
            if no:
                lost = self._lost()
                waiting += [each for each in lost if each not in again]
                self._unsure += [each for each in lost if each in again]
                again.update(lost)
            elif echoes:
                if word in unkept:
                    self._lacking = Offers(retain=False).lacking
                (self._unsure if is_deaf else self._on_the_way).append(word)
        return refused

    def _lost(self) -> list[TrialMessage]:
        """Return what was on its way back to us on the connection that is no more."""
        self._visit.wait_for(lambda: not self._unheard(), seconds=0.0)
        lost = self._unheard()
        self._on_the_way.clear()
        return lost

    def doubts(self, said: int) -> Iterator[str]:
        """Say what is done without, and what was acknowledged and may be thrown away all the same."""
        if self._lacking:
            yield f"it {self._lacking}: continuing without"
        self._visit.wait_for(lambda: not self._unheard(), seconds=ECHO_SECONDS)
        lost = [word.topic for word in self._unheard()]
        if lost:
            told = "anything" if len(lost) == said else ", ".join(lost)
            yield f"it acknowledges {told}, but does not deliver: its access rules discard or hide it from us"
        if self._unsure:
            told = "it" if len(self._unsure) == said else ", ".join(word.topic for word in self._unsure)
            yield f"whether it discards what it acknowledges is unknown: we may not subscribe to {told}"

    def _unheard(self) -> list[TrialMessage]:
        heard = {(each.topic, each.payload) for each in self._heard if not each.is_kept}
        return [word for word in self._on_the_way if (word.topic, word.payload) not in heard]

    def _listen(self, topic: str) -> str | None:
        def told(asked: Incoming) -> None:
            self._heard.append(_Heard(topic, asked.payload, asked.retained))

        return self._visit.listen(topic, told)
