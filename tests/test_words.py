"""Records, ids, topics, pauses, states."""

import json
import math
import random
import re
import time
from collections.abc import Mapping
from typing import Any

import jinja2
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dropsight.journal.outbox import Delivery
from dropsight.records import (
    ErrorFacts,
    Failure,
    ImageFacts,
    Latency,
    ModelFacts,
    Prediction,
    Result,
    decode,
    drop_id,
    encode,
    shown_confidence,
    shown_label,
    shown_labels,
    with_total,
)
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.mqtt.entities import of_camera
from dropsight.sinks.mqtt.states import CameraStates
from dropsight.sinks.mqtt.topics import Topics, topic_part
from dropsight.web.history import DayHistory
from dropsight.web.results import Query

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


def answered(**more: Any) -> Result:
    return msgspec.structs.replace(
        Result(
            id="1",
            time="2026-11-28T10:00:00Z",
            device="d",
            camera="c",
            image_path="x.jpg",
            predicted_class=282,
            label="tiger cat",
            confidence=0.37,
            top_5_predictions={},
            predictions=[Prediction(282, "tiger cat", 0.37)],
            image=ImageFacts(1, 1, 1, "jpeg", "t"),
            model=ModelFacts("m", "tflite", "int8", "sha256:0"),
            tta=1,
            temperature=1.0,
            latency_ms=Latency(),
        ),
        **more,
    )


CAT: Mapping[str, Any] = {"group": "cat", "group_confidence": 0.91, "groups": {"cat": 0.91}}


def test_people_read_the_group_and_its_confidence_where_there_is_one() -> None:
    assert (shown_label(answered()), shown_confidence(answered())) == ("tiger cat", 0.37)
    assert (shown_label(answered(**CAT)), shown_confidence(answered(**CAT))) == ("cat", 0.91)
    there = [Prediction(0, "cat", 0.9), Prediction(1, "dog", 0.8)]
    assert shown_labels(answered(present=there)) == ["cat", "dog"]
    assert shown_label(answered(present=[])) == "nothing"


def test_home_assistant_shows_the_group_and_tells_events_the_class_beside_it() -> None:
    components = of_camera("c", Topics.of("dropsight", "d"), pictures=False)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML

    def rendered(name: str, template: str, record: Result) -> str:
        found = environment.from_string(str(components[name][template]))
        return found.render(value_json=json.loads(encode(record)), this={"attributes": {}})

    assert rendered("label", "value_template", answered(**CAT)) == "cat"
    assert rendered("confidence", "value_template", answered(**CAT)) == "91.0"
    assert rendered("label", "value_template", answered()) == "tiger cat"
    assert rendered("confidence", "value_template", answered()) == "37.0"
    event = json.loads(rendered("image", "value_template", answered(**CAT)))
    assert (event["label"], event["group"], event["group_confidence"]) == ("tiger cat", "cat", 0.91)
    assert "group" not in json.loads(rendered("image", "value_template", answered()))


def test_the_dashboard_finds_a_record_by_its_group_and_by_its_class_as_sure_as_it_reads() -> None:
    delivery = Delivery(1, "c", "ok", encode(answered(**CAT)))
    assert Query(label="CAT", min_confidence=0.9).fits(delivery)
    assert Query(label="tiger").fits(delivery)
    assert not Query(label="dog").fits(delivery)
    assert not Query(label="cat", min_confidence=0.95).fits(delivery)
    days = DayHistory()
    days.add([answered(**CAT), answered()])
    assert days.day().classes == {"cat": 1, "tiger cat": 1}


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


def picture_of(captured: str, *, recorded: str = "2026-02-01") -> Result:
    return Result(
        id="i",
        time=recorded,
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
    states.show(picture_of("2026-03-01"), b"before", arrived=1.0)
    states.show(picture_of("2026-01-01"), b"after", arrived=2.0)
    assert states.everything() == {"a": b"after"}


def test_what_another_worker_was_slow_with_is_not_the_newest() -> None:
    states = CameraStates()
    states.show(picture_of("2026-03-01"), b"second", arrived=2.0)
    states.show(picture_of("2026-03-02"), b"first", arrived=1.0)
    assert states.everything() == {"a": b"second"}


def test_of_images_that_wait_together_the_one_taken_last_is_the_newest_however_they_came() -> None:
    states, now = CameraStates(), time.monotonic()
    states.show(picture_of("2026-04-01"), b"yesterday's, of a wrong clock", arrived=-math.inf)
    states.show(picture_of("2026-03-01"), b"taken last", arrived=now - 9, at_rest=False)
    states.show(picture_of("2026-02-01"), b"came last", arrived=now - 1, at_rest=False)
    states.show(picture_of("2026-02-02"), b"at the very end", arrived=now - 1)
    assert states.everything() == {"a": b"taken last"}
    states.show(picture_of("1970-01-01"), b"came since", arrived=time.monotonic() + 1, at_rest=False)
    assert states.everything() == {"a": b"came since"}


def test_a_clock_of_ours_that_was_ahead_does_not_freeze_when_the_dashboard_last_saw_a_camera() -> None:
    days, ahead = DayHistory(), encode(picture_of("2026-01-01", recorded="2999-01-01T00:00:00Z"))
    days.recall([Delivery(1, "a", "ok", ahead)])
    days.add([picture_of("2026-01-01")])
    assert days.cameras()["a"].last <= time.time()


def test_a_state_is_due_once_a_second() -> None:
    states = CameraStates()
    states.show(picture_of("2026-01-02"), b"newer", arrived=2.0)
    states.show(picture_of("2026-01-01"), b"older", arrived=1.0)
    assert states.due() == {"a": b"newer"}
    states.show(picture_of("2026-01-03"), b"newest", arrived=3.0)
    assert states.due() == {}
    assert states.stale()
    assert states.due(at_once=True) == {"a": b"newest"}
    assert states.everything() == {"a": b"newest"}
