"""What a record of each kind says to rules."""

from typing import Any

import msgspec

from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import Claim, sighting_of
from dropsight.records import (
    NO_CLASS,
    UNKNOWN,
    BurstFacts,
    BurstPeak,
    ClipFacts,
    HeadAnswer,
    ImageFacts,
    Latency,
    Peak,
    Prediction,
    Region,
    Result,
    Segment,
    timestamp,
)
from records import MODEL
from sightings import EPOCH

FOX, CAT = Prediction(1, "red fox", 0.7), Prediction(2, "tabby", 0.2)
BOX = (0.0, 0.0, 1.0, 1.0)


def answered(**more: Any) -> Result:
    record = Result(
        id="r",
        time=timestamp(EPOCH + 3600),
        device="d",
        camera="front",
        image_path="x.jpg",
        predicted_class=1,
        label="red fox",
        confidence=0.7,
        top_5_predictions={"1": 0.7},
        predictions=[FOX, CAT],
        image=ImageFacts(1, 1, 1, "jpeg", timestamp(EPOCH)),
        model=MODEL,
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )
    return msgspec.structs.replace(record, **more)


def claims(record: Result) -> list[tuple[str, float, str | None, int]]:
    sighting = sighting_of(record)
    assert sighting
    return [(each.label, each.confidence, each.region, each.times) for each in sighting.answers]


def test_an_image_says_its_classes_at_the_time_when_it_was_captured() -> None:
    sighting = sighting_of(answered(tags={"station": "north"}), 7)
    assert sighting
    assert sighting.tags == {"station": "north"}
    assert (sighting.seq, sighting.id, sighting.camera) == (7, "r", "front")
    assert (sighting.at, sighting.heard) == (EPOCH, EPOCH + 3600)
    assert sighting.answers == (Claim("red fox", 0.7), Claim("tabby", 0.2))


def test_groups_and_heads_and_classes_that_are_there_at_once_can_be_asked_for() -> None:
    head = HeadAnswer.of([Prediction(0, "male", 0.9)])
    record = answered(groups={"fox": 0.85}, heads={"species": HeadAnswer.of([FOX]), "sex": head})
    assert claims(record)[2:] == [("group:fox", 0.85, None, 1), ("sex:male", 0.9, None, 1)]
    several = answered(multi_label=True, present=[FOX, CAT])
    least = {"*": 0.15}
    rules = [Rule(name, (name,), confidence=least, confirm=(1, 1)) for name in ("red fox", "tabby")]
    sighting = sighting_of(several)
    assert sighting
    assert [each.name for each in Machine(rules).step(sighting)] == ["red fox", "tabby"]


def test_each_region_speaks_for_itself_and_an_unknown_answer_for_nothing() -> None:
    door = Region("door", BOX, 2, "tabby", 0.8, [Prediction(2, "tabby", 0.8)], groups={"cat": 0.9})
    gate = Region("gate", BOX, NO_CLASS, UNKNOWN, 0.3, [Prediction(1, "red fox", 0.3)], would_be="red fox")
    assert claims(answered(region="door", regions=[door, gate])) == [
        ("tabby", 0.8, "door", 1),
        ("group:cat", 0.9, "door", 1),
    ]
    assert claims(answered(label=UNKNOWN, predicted_class=NO_CLASS, would_be="red fox")) == []


def clip(**more: Any) -> Result:
    """Ten seconds with a fox in five of them."""
    facts = ClipFacts(
        duration=10.0,
        fps=25.0,
        codec="h264",
        width=1,
        height=1,
        frames_read=250,
        frames_classified=6,
        sampling="every",
        aggregate="mean",
        timed=True,
        peak=Peak(4.0, 100, "red fox", 0.95),
        segments=[Segment("tabby", 0.0, 2.0, 0.6), Segment("red fox", 2.0, 7.0, 0.95)],
        timeline=[(0.0, 2, 0.6), (1.0, 1, 0.2), (2.0, 1, 0.6), (4.0, 1, 0.95), (6.0, 1, 0.9), (9.0, 3, 0.9)],
    )
    return answered(kind="clip", clip=facts, predictions=[FOX, CAT], groups={"fox": 0.75}, **more)


def test_a_clip_is_as_sure_as_its_surest_frame_and_counts_for_the_frames_that_show_it() -> None:
    """Its file is written when it ends."""
    sighting = sighting_of(clip())
    assert sighting
    assert sighting.at == EPOCH - 6.0
    assert sorted(claims(clip())) == [
        ("group:fox", 0.75, None, 3),
        ("red fox", 0.95, None, 3),
        ("tabby", 0.6, None, 1),
    ]
    (change,) = Machine([Rule("fox", ("red fox",))]).step(sighting)
    assert (change.phase, change.count, change.best.confidence) == ("start", 1, 0.95)
    assert claims(clip(predicted_class=NO_CLASS)) == []


def test_a_burst_says_nothing_that_its_photos_have_not_said() -> None:
    peak = BurstPeak("r", "x.jpg", 0.0, "red fox", 0.7)
    facts = BurstFacts(1, timestamp(EPOCH), timestamp(EPOCH), "mean", peak, [], ["r"], [(0.0, 1, 0.7)])
    assert sighting_of(answered(kind="burst", burst=facts)) is None


def test_a_record_without_a_time_and_with_names_of_bytes_is_a_sighting_all_the_same() -> None:
    """Logs of others may say anything."""
    odd = answered(time="yesterday", camera="caf\udce9", image=ImageFacts(1, 1, 1, "jpeg", "12:61"))
    sighting = sighting_of(odd)
    assert sighting
    assert (sighting.at, sighting.heard, sighting.camera) == (0.0, 0.0, "caf\\xe9")
    machine = Machine([Rule("fox", ("*",), confirm=(1, 1))])
    assert machine.step(sighting)
    assert msgspec.json.encode(machine.state)
