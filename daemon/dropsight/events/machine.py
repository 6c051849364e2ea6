"""From sightings to events; time is what records say, there is no clock."""

from collections.abc import Iterator, Mapping, Sequence

from dropsight.events import turn
from dropsight.events.rule import Least, Rule, in_order
from dropsight.events.sighting import Claim, Match, Sighting
from dropsight.events.state import MOST_CAMERAS, Spell, State, Stream
from dropsight.events.turn import Change, end_of

# A picture that comes so much later than others of its time finds the event that it belongs to, whatever else
# came in between.
LATE_SECONDS = 600.0
# Cameras and labels that are remembered; beyond that they are looked at anew.
_MOST_KNOWN = 10_000


class Machine:
    """For one thread. `state` may be encoded, and given to another machine, between any two calls.

    Pictures of a camera belong together by when they were captured, in whatever order they come. A rule that
    is gone, or no longer watches a camera, has its open events end with the next `tick`.
    """

    def __init__(self, rules: Sequence[Rule], state: State | None = None) -> None:
        self.state = state or State()
        self.changed: set[str] = set()
        """The cameras whose part of `state` may be another since this was last cleared."""
        self._rules = {rule.name: rule for rule in in_order(rules)}
        self._linger = {rule.name: _linger(rule, rules) for rule in rules}
        self._watched: dict[str, _Watched] = {}
        self._alike: dict[tuple[str, ...], _Watched] = {}
        self._is_new = True

    def step(self, sighting: Sighting) -> list[Change]:
        """Take the next record."""
        camera = sighting.camera
        watched = self._watched_at(camera)
        matches = watched.matches(sighting)
        known = self.state.cameras.get(camera)
        if not matches and known is None:
            return []
        streams = known or {}
        changes: list[Change] = []
        for rule in watched.rules:
            stream, match = streams.get(rule.name), matches.get(rule.name)
            if (match or stream) and rule.takes(sighting):
                stream = streams.setdefault(rule.name, Stream())
                changes += turn.pass_by(rule, stream, sighting, self._linger[rule.name])
                changes += turn.take(rule, stream, sighting, match, streams)
        self._keep(camera, streams)
        changes += self._without_the_oldest(camera)
        return changes

    def tick(self, at: float) -> list[Change]:
        """Tell the ends that are due at this time of the device's clock.

        Only telling depends on it: if more of an event comes, by when it was captured, the event goes on.
        """
        ends = list(self._of_rules_gone()) if self._is_new else []
        for camera, streams in self.state.cameras.items():
            for name, stream in streams.items():
                after = self._rules[name].end_after
                over = [each for each in _open(stream) if abs(at - each.heard) > after]
                ends += [end_of(name, camera, each) for each in over]
                if over:
                    self.changed.add(camera)
        return ends

    def _watched_at(self, camera: str) -> "_Watched":
        watched = self._watched.get(camera)
        if watched is None:
            if len(self._watched) >= MOST_CAMERAS:
                self._watched.clear()
                self._alike.clear()
            rules = [rule for rule in self._rules.values() if rule.watches(camera)]
            watched = self._alike.setdefault(tuple(rule.name for rule in rules), _Watched(rules))
            self._watched[camera] = watched
        return watched

    def _keep(self, camera: str, streams: dict[str, Stream]) -> None:
        self.changed.add(camera)
        if left := {name: each for name, each in streams.items() if each.spells or each.told}:
            self.state.cameras[camera] = left
        else:
            self.state.cameras.pop(camera, None)

    def _without_the_oldest(self, spared: str) -> Iterator[Change]:
        """However many cameras there are, so many are remembered."""
        while len(self.state.cameras) > MOST_CAMERAS:
            others = (each for each in self.state.cameras.items() if each[0] != spared)
            camera, _ = min(others, key=lambda each: (_last_heard(each[1]), each[0]))
            self.changed.add(camera)
            for name, stream in self.state.cameras.pop(camera).items():
                yield from (end_of(name, camera, each) for each in _open(stream))

    def _of_rules_gone(self) -> Iterator[Change]:
        self._is_new = False
        for camera, streams in list(self.state.cameras.items()):
            watched = {rule.name for rule in self._watched_at(camera).rules}
            gone = {name: stream for name, stream in streams.items() if name not in watched}
            for name, stream in gone.items():
                yield from (end_of(name, camera, each) for each in _open(stream))
            if gone:
                self._keep(camera, {name: each for name, each in streams.items() if name in watched})


class _Watched:
    """The rules of one camera, by the labels that they take, each of which is looked up once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._by_label: dict[str, tuple[tuple[Rule, Least], ...]] = {}

    def matches(self, sighting: Sighting) -> Mapping[str, Match]:
        """Return what each rule takes of it, by the rule's name."""
        found: dict[str, Match] = {}
        for claim in sighting.answers:
            takers = self._by_label.get(claim.label)
            for rule, least in self._learn(claim.label) if takers is None else takers:
                if claim.confidence >= least.counted and (not rule.regions or claim.region in rule.regions):
                    match = Match(_share(claim, least), claim.confidence >= least.kept, claim)
                    before = found.get(rule.name)
                    if before is None or _rank(match) > _rank(before):
                        found[rule.name] = match
        return found

    def _learn(self, label: str) -> tuple[tuple[Rule, Least], ...]:
        if len(self._by_label) >= _MOST_KNOWN:
            self._by_label.clear()
        takers = tuple((rule, least) for rule in self.rules if (least := rule.least(label)))
        self._by_label[label] = takers
        return takers


def _share(claim: Claim, least: Least) -> float:
    return claim.confidence / least.sure if least.sure else 1.0


def _rank(match: Match) -> tuple[bool, float]:
    return match.sure, match.claim.confidence


def _open(stream: Stream) -> list[Spell]:
    return [each for each in stream.spells if each.id and not each.ended]


def _last_heard(streams: Mapping[str, Stream]) -> float:
    found = [spell.heard for stream in streams.values() for spell in stream.spells]
    found += [notice.heard for stream in streams.values() for notice in stream.told]
    return max(found)


def _linger(rule: Rule, rules: Sequence[Rule]) -> float:
    """How long past its end an event is remembered: for late pictures, and for rules that ask for it."""
    return max(
        LATE_SECONDS, *(each.unless[1] for each in rules if each.unless and each.unless[0] == rule.name), 0.0
    )
