"""Records, ids, topics, pauses, states."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from dropsight.records import (
    ErrorFacts,
    Failure,
    ImageFacts,
    Latency,
    ModelFacts,
    Result,
    decode,
    drop_id,
    encode,
    with_total,
)
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.states import CameraStates
from dropsight.sinks.topics import Topics, topic_part

DROPS = st.tuples(st.text(max_size=9), st.binary(max_size=9), st.integers(0, 2**40), st.integers(0, 2**62))


@given(DROPS, DROPS)
def test_an_id_is_the_same_for_the_same_drop_and_another_for_another(
    one: tuple[str, bytes, int, int], other: tuple[str, bytes, int, int]
) -> None:
    assert (drop_id(*one) == drop_id(*other)) is (one == other)
    assert drop_id(*one, repeat=1) != drop_id(*one)


@given(st.text(), st.floats(0, 1e6))
def test_a_record_survives_its_json_and_its_total_can_be_replaced(text: str, total: float) -> None:
    text = text.encode("utf-8", "replace").decode()
    record = Failure(
        id="1",
        time="t",
        device=text,
        camera=text,
        image_path=text,
        error=ErrorFacts("empty", '"total":9'),
        latency_ms=Latency(),
    )
    line = with_total(encode(record), total)
    found = decode(line)
    assert found.image_path == text
    assert found.latency_ms.total == round(total, 3)
    assert b"\n" not in line


@given(st.text())
def test_a_topic_part_keeps_to_its_alphabet(name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", topic_part(name))


def test_the_topics_are_those_of_the_contract() -> None:
    topics = Topics.of("dropsight", "porch pi")
    assert topics.availability == "dropsight/porch_pi/availability"
    assert topics.record("ok", "front/1") == "dropsight/porch_pi/result/front_1"
    assert topics.state("a") == "dropsight/porch_pi/state/a"
    assert topics.record("failed", "a") == "dropsight/porch_pi/failure/a"
    assert (topics.info, topics.stats) == ("dropsight/porch_pi/info", "dropsight/porch_pi/stats")


@given(st.integers(1, 10_000), st.integers())
def test_pauses_double_from_one_second_to_five_minutes(failures: int, seed: int) -> None:
    pause = pause_seconds(failures, random.Random(seed))  # noqa: S311 - jitter
    longest = min(2.0 ** (min(failures, 20) - 1), 300.0)
    assert 0.75 * longest <= pause <= longest


def picture_of(captured: str, *, now: str = "2026-02-01") -> Result:
    return Result(
        id="i",
        time=now,
        device="d",
        camera="a",
        image_path="a/x.jpg",
        predicted_class=1,
        label="x",
        confidence=0.5,
        top_5_predictions={},
        predictions=[],
        image=ImageFacts(1, 1, 1, "jpeg", captured),
        model=ModelFacts("m", "tflite", "int8", "d"),
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )


def test_a_clock_set_back_does_not_freeze_the_state_of_a_camera() -> None:
    states = CameraStates()
    states.show(picture_of("2026-03-01", now="2026-03-01"), b"before")
    states.show(picture_of("2026-01-01", now="2026-01-01"), b"after")
    assert states.everything() == {"a": b"after"}


def test_a_state_is_the_newest_by_capture_time_and_due_once_a_second() -> None:
    states = CameraStates()
    states.show(picture_of("2026-01-02"), b"newer")
    states.show(picture_of("2026-01-01"), b"older")
    assert states.due() == {"a": b"newer"}
    states.show(picture_of("2026-01-03"), b"newest")
    assert states.due() == {}
    assert states.stale()
    assert states.due(at_once=True) == {"a": b"newest"}
    assert states.everything() == {"a": b"newest"}
