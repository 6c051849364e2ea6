"""Alarms of camera days: what people would be told without rules, and by rules."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from camera_pictures import Picture
from dropsight.config.event_rules import confirmed_by
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import GROUP, sighting_of
from dropsight.models.spec import ModelSpec
from dropsight.records import Result

PLACES = frozenset({"building", "landscape", "street"})
"""Groups that nobody visits: their photos are scenes, and answers that say so are no alarm."""
PHONE = ("phone",)
TENFOLD = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """Of all rules; `unknown` as `inference.unknown`."""

    confidence: float = 0.6
    confirm: str = "2 of 3 on average"
    within: float = 60.0
    keep: float | None = None
    end_after: float = 120.0
    cooldown: float = 300.0
    unknown: str = "off"


_SURE = (0.5, 0.6, 0.7)
GRID = (
    *(
        Settings(confidence=confidence, confirm=confirm, keep=keep)
        for confidence, confirm, keep in itertools.product(
            _SURE,
            ("1 of 1", "2 of 2", "2 of 3", "2 of 4", "2 of 5", "3 of 5"),
            (0.3, 0.35, 0.4, 0.45, 0.5, 0.6),
        )
        if keep <= confidence
    ),
    *(
        Settings(confidence=confidence, confirm=f"{confirm} on average")
        for confidence, confirm in itertools.product(
            (0.55, 0.625, 0.65, *_SURE), ("2 of 2", "2 of 3", "2 of 5", "2 of 8", "3 of 5")
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a camera, without its pixels, and its record by what `unknown` is."""

    camera: str
    picture: Picture
    records: dict[str, Result]


@dataclass(slots=True)
class Counts:
    """Alarms of what is not there, by the kind of picture; of what was told already; visits told of."""

    false: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    told: set[int] = field(default_factory=set)

    def alarm(self, picture: Picture, thing: str) -> None:
        if picture.visit is None or picture.thing != thing:
            self.false[picture.kind] += 1
        elif picture.visit in self.told:
            self.repeats += 1
        else:
            self.told.add(picture.visit)


class World:
    """What people call the classes of the model, and what they want to hear of."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._groups = {number: group.name for group in spec.groups for number in group.classes}

    def thing(self, number: int) -> str:
        return self._groups.get(number, self._spec.labels[number])

    def sure(self, record: Result, thing: str) -> float:
        """How sure a record is of a thing: by its group's sum, or by the class that is called so."""
        groups, classes = record.groups or {}, {each.label: each.confidence for each in record.predictions}
        return max(groups.get(thing, 0.0), classes.get(thing, 0.0))

    def by_class(self, record: Result) -> tuple[str, float]:
        """What a record's best class is called, and how sure it is."""
        best = record.predictions[0]
        return self.thing(best.class_index), best.confidence

    def by_group(self, record: Result) -> tuple[str, float]:
        """Return the group that is the surest, if there is one."""
        return next(iter((record.groups or {}).items()), self.by_class(record))

    def claims(self, record: Result) -> dict[str, float]:
        """How sure a record is of all but places that it names."""
        named = {self.thing(each.class_index) for each in record.predictions} | set(record.groups or {})
        return {thing: self.sure(record, thing) for thing in named - PLACES}

    def things(self) -> list[str]:
        """All but places; each has a rule."""
        names = {self.thing(number) for number in range(len(self._spec.labels))}
        return sorted(names - PLACES)

    def rule(self, thing: str, said: Settings) -> Rule:
        grouped, confirm = thing in self._groups.values(), confirmed_by(said.confirm)
        return Rule(
            thing,
            (f"{GROUP}{thing}" if grouped else thing,),
            confidence={"*": said.confidence},
            confirm=confirm[:2],
            on_average=confirm.on_average,
            within=said.within,
            keep=said.keep,
            end_after=said.end_after,
            cooldown=said.cooldown,
            notify=PHONE,
        )


def without_rules(
    seen: Sequence[Seen], best: Callable[[Result], tuple[str, float]], confidence: float
) -> Counts:
    """Count each answer as an alarm whose best is that sure, and not of a place."""
    counts = Counts()
    for each in seen:
        thing, sure = best(each.records["off"])
        if sure >= confidence and thing not in PLACES:
            counts.alarm(each.picture, thing)
    return counts


def with_rules(seen: Sequence[Seen], world: World, said: Settings) -> Counts:
    """Count what people are told; a visit that went on under an event that they were told of is no miss."""
    machine = Machine([world.rule(thing, said) for thing in world.things()])
    counts = Counts()
    for each in seen:
        sighting = sighting_of(each.records[said.unknown])
        for change in machine.step(sighting) if sighting else ():
            if change.notify:
                counts.alarm(each.picture, change.name)
            elif (
                each.picture.visit is not None and each.picture.thing == change.name and change.phase != "end"
            ):
                counts.told.add(each.picture.visit)
    return counts


def cut(off: Counts, on: Counts) -> float:
    return off.false.total() / max(on.false.total(), 1)


def visits_of_known(seen: Sequence[Seen]) -> set[int]:
    """Return the visits of photos that the model is sure of: what else is missed is not the rules' doing."""
    return {each.picture.visit for each in seen if each.picture.visit is not None and each.picture.known}


def lost(off: Counts, on: Counts) -> set[int]:
    """Return the visits that people hear of by single answers, but not by rules."""
    return off.told - on.told


def showing(seen: Sequence[Seen], world: World, least: float) -> Counter[int]:
    """Count the pictures of each visit in which the model sees, so surely, what it is of."""
    return Counter(
        each.picture.visit
        for each in seen
        if each.picture.visit is not None and world.sure(each.records["off"], each.picture.thing) >= least
    )


def chosen(seen: Sequence[Seen], world: World, visits: int) -> Settings:
    """Return what misses least, then loses least, of all that cut false alarms tenfold; print all."""
    off = without_rules(seen, world.by_class, Settings().confidence)
    found: list[tuple[bool, int, int, Settings]] = []
    for each in GRID:
        on = with_rules(seen, world, each)
        missed, gone = visits - len(on.told), len(lost(off, on))
        found.append((cut(off, on) < TENFOLD, missed, gone, each))
        print(
            f"  confidence {each.confidence:g}, confirm {each.confirm}, keep {each.keep or 'as is'}: "
            f"{cut(off, on):6.1f} times fewer, {gone / visits:.1%} lost, {missed / visits:.1%} missed, "
            f"{on.repeats / visits:.2f} repeats"
        )
    return min(found, key=lambda each: each[:3])[3]
