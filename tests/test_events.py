"""Rules: what becomes an event, how it goes on and ends, and who is told."""

from collections.abc import Iterable

import msgspec
import pytest

from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import Claim, Sighting
from dropsight.events.state import MOST_CAMERAS, State
from dropsight.events.turn import Change
from dropsight.records import timestamp
from sightings import EPOCH, nothing, seen

FOX = Rule("fox", ("red fox", "group:fox"), notify=("phone",))


def played(rules: Rule | list[Rule], sightings: Iterable[Sighting]) -> list[Change]:
    machine = Machine([rules] if isinstance(rules, Rule) else rules)
    return [change for each in sightings for change in machine.step(each)]


def told(changes: Iterable[Change]) -> list[str]:
    return [f"{each.phase} {each.name}" + (" !" if each.notify else "") for each in changes]


def test_two_of_three_answers_make_an_event_and_one_wrong_frame_makes_none() -> None:
    assert played(FOX, [seen(0), nothing(5), nothing(10), nothing(15), seen(20), nothing(25)]) == []
    (change,) = played(FOX, [seen(0, confidence=0.7), nothing(5), seen(10)])
    assert (change.phase, change.name, change.camera, change.count) == ("start", "fox", "front", 2)
    assert (change.started, change.ended) == (timestamp(EPOCH), None)
    assert (change.best.id, change.best.confidence, change.best.label) == ("front-10", 0.9, "red fox")
    assert change.notify == ("phone",)


@pytest.mark.parametrize("sure", [[0.7, 0.46], [0.46, 0.7], [0.46, 0.1, 0.46, 0.1, 0.7]])
def test_one_sure_answer_is_confirmed_by_others_that_an_event_would_go_on_with(sure: list[float]) -> None:
    """Three quarters of 0.6; a sure one that is alone begins nothing, nor does any number of unsure ones."""
    rule = Rule("fox", ("red fox",), confirm=(2, 5))
    visit = [seen(at, confidence=each) for at, each in enumerate(sure)]
    (change,) = played(rule, visit)
    assert (change.phase, change.started) == ("start", timestamp(EPOCH))
    assert (change.best.confidence, change.count) == (0.7, sum(each > 0.45 for each in sure))
    assert played(rule, [each for each in visit if each.answers[0].confidence < 0.6]) == []
    assert played(rule, [seen(0, confidence=0.7), seen(1, confidence=0.44)]) == []
    strict = Rule("fox", ("red fox",), confirm=(2, 5), keep=0.6)
    assert played(strict, visit) == []
    assert played(strict, [seen(0, confidence=0.7), seen(1, confidence=0.61)])


@pytest.mark.parametrize(
    ("sure", "begins"),
    [
        ([0.9, 0.3], True),
        ([0.7, 0.5], True),
        ([0.5, 0.1, 0.7], True),
        ([0.6, 0.59], False),
        ([0.95, 0.29], False),
        ([0.99], False),
        ([0.9, 0.1, 0.1, 0.5], False),
        ([0.55, 0.59, 0.58], False),
    ],
)
def test_of_answers_that_are_sure_enough_on_average_one_makes_up_for_what_the_other_lacks(
    sure: list[float], *, begins: bool
) -> None:
    """Two of the last three at 0.6, none below half of that; in any order."""
    rule = Rule("fox", ("red fox",), confirm=(2, 3), on_average=True)
    for order in (sure, sure[::-1]):
        visit = [seen(at, confidence=each) for at, each in enumerate(order)]
        assert [each.phase for each in played(rule, visit)] == ["start"] * begins
    assert not played(Rule("fox", ("red fox",)), [seen(0, confidence=0.9), seen(1, confidence=0.3)])


def test_what_only_makes_up_an_average_neither_keeps_an_event_going_nor_counts_beside_surer_ones() -> None:
    rule = Rule("fox", ("red fox",), confirm=(2, 5), on_average=True)
    visit = [seen(at, confidence=each) for at, each in enumerate([0.3, 0.5, 0.7, 0.4])]
    start, *others = played(rule, visit)
    assert (start.phase, start.count, start.started, others) == ("start", 2, timestamp(EPOCH + 1), [])
    for keep, begins in ((0.4, True), (0.5, False)):
        rule = Rule("fox", ("red fox",), keep=keep, on_average=True)
        assert bool(played(rule, [seen(0), seen(1, confidence=0.45)])) is begins


def test_labels_of_their_own_confidence_are_on_average_as_sure_as_they_need() -> None:
    rule = Rule("fox", ("*fox",), confidence={"*": 0.5, "red fox": 0.8}, confirm=(2, 3), on_average=True)
    assert played(rule, [seen(0, "grey fox", 0.6), seen(5, "red fox", 0.65)])
    assert not played(rule, [seen(0, "grey fox", 0.6), seen(5, "red fox", 0.6)])


def test_answers_that_were_kept_before_there_was_an_average_count_by_what_they_were() -> None:
    """A row of the journal from before the upgrade; one answer was sure, the other one just kept it going."""
    for sure, begins in ((True, True), (False, False)):
        hit = [EPOCH, {"id": "old", "confidence": 0.61, "label": "red fox"}, None, 1, 1, sure]
        spell = {"started": EPOCH, "last": EPOCH, "heard": EPOCH, "hits": [hit], "answers": 1}
        state = msgspec.convert({"cameras": {"front": {"fox": {"spells": [spell]}}}}, State)
        machine = Machine([Rule("fox", ("red fox",), confirm=(2, 3), on_average=True)], state)
        assert bool(machine.step(seen(5, confidence=0.62))) is begins


def test_answers_that_are_too_far_apart_confirm_nothing() -> None:
    assert played(FOX, [seen(0), seen(61), seen(122), seen(183)]) == []


def test_an_event_goes_on_while_it_is_kept_and_ends_with_the_last_that_kept_it() -> None:
    """0.6 begins, 0.45 keeps, unless the rule says otherwise."""
    changes = played(
        FOX, [seen(0), seen(10), seen(100, confidence=0.46), seen(200, confidence=0.44), nothing(300)]
    )
    assert told(changes) == ["start fox !", "update fox", "end fox"]
    assert (changes[-1].count, changes[-1].ended) == (3, timestamp(EPOCH + 100))
    assert len({each.id for each in changes}) == 1


def test_time_alone_ends_an_event_by_the_clock_of_the_device() -> None:
    """A camera's own clock may be hours off; what counts is how long nothing more has come."""
    machine = Machine([FOX])
    for at in (0, 10):
        machine.step(seen(at, heard=7200 + at))
    assert machine.tick(EPOCH + 7200 + 100) == []
    (end,) = machine.tick(EPOCH + 7200 + 131)
    assert (end.phase, end.ended) == ("end", timestamp(EPOCH + 10))
    assert machine.tick(EPOCH + 9999) == []


def test_an_event_whose_end_was_told_too_early_goes_on_as_the_same() -> None:
    """Pictures that waited for an hour are as close together as they were when they were captured."""
    machine = Machine([FOX])
    first = [*machine.step(seen(0)), *machine.step(seen(10))]
    machine.tick(EPOCH + 3600)
    (again,) = machine.step(seen(50, heard=3601))
    assert (again.phase, again.id, again.count, again.news) == ("update", first[0].id, 3, True)
    assert again.notify == ()


def test_people_are_told_once_and_again_only_where_it_is_much_surer() -> None:
    rule = Rule("fox", ("red fox",), notify=("phone",), renotify_above=(0.9,))
    sure = [0.7, 0.7, 0.8, 0.91, 0.95]
    changes = played(rule, [seen(at, confidence=each) for at, each in enumerate(sure)])
    assert told(changes) == ["start fox !", "update fox", "update fox !", "update fox"]
    assert [each.news for each in changes] == [True, True, True, False]


def test_within_the_cooldown_another_event_is_not_told() -> None:
    rule = Rule("fox", ("red fox",), notify=("phone",), end_after=20, cooldown=300)
    visits = [seen(begin + at) for begin in (0, 100, 400) for at in (0, 10)]
    assert told(played(rule, visits)) == ["start fox !", "end fox", "start fox", "end fox", "start fox !"]


def test_cameras_have_events_of_their_own() -> None:
    changes = played(FOX, [seen(0), seen(1, camera="back"), seen(10), seen(11, camera="back")])
    assert [each.camera for each in changes] == ["front", "back"]
    assert len({each.id for each in changes}) == 2


def test_a_rule_looks_only_where_and_at_what_it_is_told_to() -> None:
    rule = Rule("fox", ("*fox",), cameras=("gar*",), regions=("gate",), tags={"station": "north*"})

    def found(
        label: str = "Grey Fox", camera: str = "garden", region: str = "gate", **tags: str
    ) -> list[str]:
        at_once = (seen(at, label, camera=camera, region=region, tags={**tags}) for at in (0, 1))
        return told(played(rule, at_once))

    assert found(station="North-3") == ["start fox"]
    assert found() == found(station="south") == []
    assert found("fox hound", station="north") == []
    assert found(camera="front", station="north") == []
    assert found(region="door", station="north") == []


@pytest.mark.parametrize(("confidence", "begins"), [(0.79, False), (0.81, True)])
def test_a_label_of_its_own_confidence_is_asked_for_that(confidence: float, *, begins: bool) -> None:
    rule = Rule("fox", ("*fox",), confidence={"*": 0.5, "red fox": 0.8})
    assert bool(played(rule, [seen(0, "Red Fox", confidence), seen(1, "Red Fox", confidence)])) is begins


def test_a_group_is_meant_only_by_its_name() -> None:
    rule, group = Rule("all", ("*",)), Rule("fox", ("group:f*",))
    sightings = [seen(at, "group:fox") for at in (0, 1)]
    (change,) = played([rule, group], sightings)
    assert (change.name, change.best.label) == ("fox", "fox"), "as people read it"


def test_an_event_does_not_begin_while_the_other_one_is_seen() -> None:
    rules = [
        Rule("fox", ("red fox",), unless=("person", 60)),
        Rule("person", ("person",), end_after=30),
    ]
    person = [seen(0, "person"), seen(5, "person")]
    assert told(played(rules, [*person, seen(10), seen(20), seen(60)])) == ["start person", "end person"]
    assert "start fox" in told(played(rules, [*person, seen(66), seen(70)]))
    both = (Claim("person", 0.9), Claim("red fox", 0.9))
    sightings = [Sighting(None, str(at), at, at, "front", both) for at in (0.0, 1.0)]
    assert told(played(rules, sightings)) == ["start person"], "in one picture, whatever their order"


def test_of_what_an_event_is_made_of_clips_are_counted_apart() -> None:
    machine = Machine([FOX])
    (begun,) = [*machine.step(seen(0, is_clip=True)), *machine.step(seen(5))]
    assert (begun.count, begun.clips) == (2, 1)
    (more,) = machine.step(seen(10, is_clip=True))
    assert (more.count, more.clips) == (3, 2)


def test_a_clip_in_which_it_is_seen_often_enough_confirms_by_itself() -> None:
    assert told(played(FOX, [seen(0, times=5)])) == ["start fox !"]
    assert played(FOX, [seen(0, times=1)]) == []


def test_pictures_that_come_late_belong_to_when_they_were_captured() -> None:
    """A camera that was cut off for a while sends what it kept among what it sees."""
    live = [seen(3600 + 10 * number) for number in range(4)]
    kept = [seen(10 * number, heard=3600 + 10 * number) for number in range(4)]
    mixed = [each for pair in zip(live, kept, strict=True) for each in pair]
    changes = played(FOX, mixed)
    assert [each.id for each in changes if each.phase == "start"] == list({each.id: 0 for each in changes})
    assert list({each.id: each.count for each in changes}.values()) == [4, 4]
    newest_first = played(FOX, [seen(-10 * number) for number in range(100)])
    assert len({each.id for each in newest_first}) == 1


def test_a_rule_that_is_gone_ends_what_it_began_and_the_others_go_on() -> None:
    owl = Rule("owl", ("owl",))
    machine = Machine([FOX, owl])
    for at in (0, 1):
        machine.step(seen(at, "owl"))
        machine.step(seen(at))
    machine = Machine([owl, Rule("new", ("red fox",))], machine.state)
    assert told(machine.tick(EPOCH + 2)) == ["end fox"]
    assert told(machine.step(seen(3, "owl"))) == ["update owl"]
    elsewhere = Machine([Rule("owl", ("owl",), cameras=("back",))], machine.state)
    assert told(elsewhere.tick(EPOCH + 4)) == ["end owl"]
    assert not elsewhere.state.cameras


def test_however_many_cameras_and_events_there_are_the_state_is_bounded() -> None:
    machine = Machine([Rule("any", ("*",), confirm=(1, 1), end_after=1, within=1)])
    changes = [
        change
        for number in range(MOST_CAMERAS + 10)
        for at in (0, 20, 40, 60, 10, 30, 50, 70, 90, 80, 100)
        for change in machine.step(seen(at, camera=str(number)))
    ]
    assert len(machine.state.cameras) == MOST_CAMERAS
    assert all(len(stream["any"].spells) <= 8 for stream in machine.state.cameras.values())
    begun, ended = ({each.id for each in changes if each.phase == phase} for phase in ("start", "end"))
    still_open = {
        spell.id
        for streams in machine.state.cameras.values()
        for spell in streams["any"].spells
        if not spell.ended
    }
    assert begun == ended | still_open, "none is forgotten without a word"
