"""Whatever is played to the machine, in whatever pieces: the same events, none invented and none lost."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import Claim, Sighting
from dropsight.events.state import State, Stream
from dropsight.events.turn import Change
from dropsight.records import timestamp

RULES = [
    Rule(
        "fox",
        ("fox",),
        confidence={"*": 0.6},
        confirm=(2, 3),
        within=30,
        end_after=40,
        cooldown=100,
        renotify_above=(0.9,),
        unless=("owl", 20),
        notify=("phone",),
    ),
    Rule("owl", ("owl", "fox"), confirm=(1, 1), keep=0.2, end_after=15, cooldown=0, notify=("hub",)),
    Rule("cat", ("cat",), cameras=("a",), confirm=(3, 4), within=50, active=lambda at: at % 200 < 150),
    Rule("dog", ("dog", "fox"), confirm=(2, 4), on_average=True, within=30, end_after=40, notify=("phone",)),
]
CLAIMS = st.lists(
    st.tuples(st.sampled_from(["fox", "owl", "cat", "dog"]), st.sampled_from([0.1, 0.3, 0.5, 0.65, 0.95])),
    max_size=2,
)
# Forward by seconds or minutes; back a little, as pictures overtake one another; to another year and back.
STEPS = st.one_of(
    st.integers(0, 12), st.integers(0, 90), st.sampled_from([-3, -25, -700, -3600, 3600, 10**9])
)


@st.composite
def streams(draw: Callable[..., object], steps: st.SearchStrategy[int] = STEPS) -> list[Sighting]:
    at = {"a": 10_000.0, "b": 10_000.0}
    found: list[Sighting] = []
    for number in range(draw(st.integers(0, 40))):  # type: ignore[call-overload]
        camera = str(draw(st.sampled_from("ab")))
        at[camera] += float(str(draw(steps)))
        claims = tuple(Claim(*each) for each in draw(CLAIMS))  # type: ignore[attr-defined]
        heard = 2e9 + 5 * number
        found.append(Sighting(None, f"r{number}", at[camera], heard, camera, claims))
    return found


def told(changes: Iterable[Change]) -> list[tuple[str, tuple[object, ...], int]]:
    """What is left of them at last: of each event when, how often, the best of it, who was told how often."""
    events: dict[str, tuple[object, ...]] = {}
    notices: dict[str, int] = {}
    for each in changes:
        notices[each.id] = notices.get(each.id, 0) + bool(each.notify)
        events[each.id] = (
            each.name,
            each.camera,
            each.started,
            each.ended,
            each.count,
            each.best,
            each.region,
        )
    return sorted((key, value, notices[key]) for key, value in events.items())


def played(
    stream: Sequence[Sighting], machine: Machine | None = None
) -> list[tuple[str, tuple[object, ...], int]]:
    machine = machine or Machine(RULES)
    return told([*(change for each in stream for change in machine.step(each)), *machine.tick(9e9)])


@settings(max_examples=60)
@given(streams(), st.data())
def test_ticks_kills_and_reloads_in_between_change_no_event(
    stream: list[Sighting], data: st.DataObject
) -> None:
    """What changes of the state is kept, and given to another machine; clocks tick at any time."""
    expected = played(stream)
    machine, changes, kept = Machine(RULES), list[Change](), dict[str, bytes]()
    for each in stream:
        match data.draw(st.sampled_from(["go on", "go on", "kill", "tick"])):
            case "kill":
                state = {
                    camera: msgspec.json.decode(row, type=dict[str, Stream]) for camera, row in kept.items()
                }
                machine = Machine(data.draw(st.permutations(RULES)), State(state))
            case "tick":
                changes += machine.tick(each.heard + data.draw(st.sampled_from([0, 30, 10**6, -(10**6)])))
        changes += machine.step(each)
        keep(machine, kept)
        cameras = machine.state.cameras
        assert kept == {camera: msgspec.json.encode(streams) for camera, streams in cameras.items()}
    assert told([*changes, *machine.tick(9e9)]) == expected


def keep(machine: Machine, kept: dict[str, bytes]) -> None:
    """As the journal does, a row a camera."""
    for camera in machine.changed:
        streams = machine.state.cameras.get(camera)
        if streams is None:
            kept.pop(camera, None)
        else:
            kept[camera] = msgspec.json.encode(streams)
    machine.changed.clear()


@settings(max_examples=30)
@given(streams())
def test_how_cameras_are_mixed_changes_no_event(stream: list[Sighting]) -> None:
    by_camera = [each for camera in "ab" for each in stream if each.camera == camera]
    assert played(by_camera) == played(stream)


@settings(max_examples=30)
@given(streams())
def test_phases_come_in_order_and_messages_are_worth_one(stream: list[Sighting]) -> None:
    machine = Machine(RULES)
    changes = [*(change for each in stream for change in machine.step(each)), *machine.tick(9e9)]
    for _, group in groupby(sorted(changes, key=lambda each: each.id), key=lambda each: each.id):
        phases = [each.phase for each in group]
        assert phases[0] == "start"
        assert phases.count("start") == 1
        assert phases[-1] == "end"
        assert ("end", "end") not in pairwise(phases)
    assert all(each.news for each in changes if each.phase != "update" or each.notify)


def expected(rule: Rule, stream: Sequence[Sighting]) -> list[tuple[str, str, int, bool]]:
    """Return (started, ended, count, whether told) of the events of one camera, its pictures in order."""
    window: list[tuple[Sighting, float]] = []
    keep = rule.keep or 0.45
    events: list[list[Sighting]] = []
    notices: list[float] = []
    told_of: list[bool] = []
    is_open = False
    for each in stream:
        sure = max((claim.confidence for claim in each.answers if claim.label in rule.labels), default=0.0)
        if is_open and each.at - events[-1][-1].at > rule.end_after:
            is_open, window = False, []
        if is_open:
            if sure >= keep:
                events[-1].append(each)
            continue
        window = [*window, (each, sure)][-rule.confirm[1] :]
        hits = confirming(rule, [(seen, how) for seen, how in window if each.at - seen.at <= rule.within])
        if hits:
            is_open = True
            events.append(hits)
            told_of.append(not any(each.at - at < rule.cooldown for at in notices))
            notices += [each.at] * told_of[-1]
    return [
        (timestamp(event[0].at), timestamp(event[-1].at), len(event), is_told)
        for event, is_told in zip(events, told_of, strict=True)
    ]


def confirming(rule: Rule, seen: Sequence[tuple[Sighting, float]]) -> list[Sighting]:
    """Return those of the last answers with which an event begins, if they are enough."""
    surest = sorted((how for _, how in seen), reverse=True)[: rule.confirm[0]]
    if len(surest) < rule.confirm[0]:
        return []
    if rule.on_average:
        enough = sum(surest) > 0.6 * len(surest) - 1e-6 and surest[-1] >= 0.3
    else:
        enough = surest[0] >= 0.6 and surest[-1] >= (rule.keep or 0.45)
    return [one for one, how in seen if enough and how >= min(rule.keep or 0.45, surest[-1])]


@settings(max_examples=80)
@given(streams(st.integers(0, 70)), st.sampled_from([*RULES[:2], RULES[-1]]))
def test_in_order_it_is_what_a_few_plain_lines_say(stream: list[Sighting], rule: Rule) -> None:
    rule = msgspec.structs.replace(rule, unless=None, renotify_above=())
    for camera in "ab":
        mine = [each for each in stream if each.camera == camera]
        found = played(mine, Machine([rule]))
        assert sorted((*event[2:5], bool(notices)) for _, event, notices in found) == sorted(
            expected(rule, mine)
        )


@settings(max_examples=60)
@given(streams(st.integers(0, 30)), st.randoms(use_true_random=False))
def test_a_clock_that_jumps_to_and_fro_invents_no_event_and_loses_none(
    stream: list[Sighting], random: Random
) -> None:
    """A camera has its batteries changed: 1970 until it hears the time; and it sends late what it kept."""
    mine = [msgspec.structs.replace(each, camera="a") for each in stream if each.camera == "a"]
    rules = [msgspec.structs.replace(rule, cooldown=0) for rule in RULES]
    far = [
        msgspec.structs.replace(each, camera="a", at=each.at - 1e6) for each in stream if each.camera == "b"
    ]
    mixed = sorted([*mine, *far], key=lambda _: random.random())
    heads = {True: iter(mine), False: iter(far)}
    mixed = [next(heads[each in mine]) for each in mixed]
    apart = sorted([*played(mine, Machine(rules)), *played(far, Machine(rules))])
    assert played(mixed, Machine(rules)) == apart
