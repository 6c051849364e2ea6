"""Problems of cameras, broker and disk, told as events."""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from brokers import wait_until
from discovery import faults
from dropsight.cameras.problem_names import problem_names
from dropsight.config import Config, ProblemEvents, load
from dropsight.errors import ConfigError
from dropsight.journal.event_messages import EventMessage
from dropsight.journal.event_table import EventReader
from dropsight.service.lasting_problems import LASTING_SECONDS, LastingProblems
from dropsight.sinks.mqtt.event_names import EventNames
from dropsight.sinks.mqtt.homeassistant import Entities
from dropsight.sinks.mqtt.topics import Topics
from dropsight.sinks.notify.words import body_of
from test_recorder import Desk

CONFIG = Config(device="pi", problem_events=ProblemEvents(notify=("phone",)))


class RecorderContext:
    """What may be wrong, and who looks whether it lasts."""

    def __init__(self, config: Config = CONFIG, going_on: list[EventMessage] | None = None) -> None:
        self.cameras: dict[str, Mapping[str, str]] = {}
        self.troubles: dict[str, str] = {}
        self.now = 1000.0
        self.told: list[EventMessage] = []
        self.lasting = LastingProblems(
            config,
            self.told.append,
            cameras=lambda: self.cameras,
            troubles=lambda: self.troubles,
            going_on=going_on or [],
            monotonic=lambda: self.now,
        )

    def look(self, *, after: float = 0.0) -> list[tuple[str, str, str]]:
        """What is told now."""
        self.now += after
        self.told.clear()
        self.lasting.look()
        return [(each.camera, each.name, each.phase) for each in self.told]


def test_a_camera_s_problem_is_an_event_as_long_as_it_lasts() -> None:
    around = RecorderContext()
    assert around.look() == []
    around.cameras = {"front": {"silent": "no image for more than 2 h"}, "back": {"black": "it is black"}}
    assert around.look() == [("front", "camera_silent", "start"), ("back", "camera_black", "start")]
    begun = around.told[0]
    assert (begun.best.id, begun.best.label) == ("", "no image for more than 2 h")
    assert begun.notify == ["phone"]
    assert around.look() == []
    del around.cameras["front"]
    assert around.look() == [("front", "camera_silent", "end")]
    assert (around.told[0].id, around.told[0].started) == (begun.id, begun.started)


def test_broker_and_disk_are_events_once_they_have_lasted() -> None:
    around = RecorderContext()
    around.troubles = {
        "mqtt": "connection refused",
        "journal": "no space left on device",
        "web": "port in use",
    }
    assert around.look() == []
    around.troubles.pop("mqtt")
    around.look()  # it was back in between
    around.troubles["mqtt"] = "connection refused"
    assert around.look(after=LASTING_SECONDS - 1) == []
    assert around.look(after=1) == [("pi", "disk", "start")]
    assert around.look(after=LASTING_SECONDS) == [("pi", "broker", "start")]
    around.troubles.clear()
    assert set(around.look()) == {("pi", "broker", "end"), ("pi", "disk", "end")}


def test_only_what_is_asked_for_is_told_and_what_is_no_longer_asked_for_is_over() -> None:
    around = RecorderContext()
    around.cameras = {"front": {"frozen": "the same again"}}
    around.look()
    (begun,) = around.told
    for config in (Config(device="pi"), Config(device="pi", problem_events=ProblemEvents(of=("disk",)))):
        later = RecorderContext(config, [begun])
        later.cameras = around.cameras
        assert later.look() == [("front", "camera_frozen", "end")]
    again = RecorderContext(going_on=[begun])
    again.cameras = around.cameras
    assert again.look() == []


def test_a_problem_goes_the_way_of_all_events(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    lasting = LastingProblems(
        CONFIG,
        desk.recorder.occurrences.put,
        cameras=lambda: {"front": {"black": "it is black"}},
        troubles=dict,
        going_on=(),
    )
    with desk.running(), closing(EventReader(desk.store.path)) as reader:
        lasting.look()
        wait_until(lambda: bool(reader.going_on()))
        assert [(each.name, each.camera) for each in reader.going_on()] == [("camera_black", "front")]
    desk.close()


def test_home_assistant_hears_of_problems_by_the_event_entity_alone(tmp_path: Path) -> None:
    """It has an entity for a camera's problems already."""
    topics = Topics.of("dropsight", "pi")
    names = EventNames((), topics, tmp_path, problems=problem_names(CONFIG))
    known = Entities("pi", topics, thumbnails=True, events=names)
    message = msgspec.json.decode(known.of_camera("front"))
    assert list(faults(known.topic_of("front"), message)) == []
    assert "camera_silent" in message["components"]["front_event"]["event_types"]
    assert not [name for name in message["components"] if "camera_silent" in name]
    assert {"front/camera_black", "pi/broker", "pi/disk"} <= names.places(["front"]).keys()
    assert "front/broker" not in names.places(["front"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("problem_events: {of: [kitchen]}", "problem_events.of"),
        ("problem_events: {notify: [phone]}", "names phone, which is not a target in notify"),
        (
            "problem_events: {}\nevents: [{name: broker, labels: [x]}]",
            "the name of a problem event",
        ),
    ],
)
def test_a_wrong_key_is_one_clear_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load(tmp_path / "c.yaml")


def test_a_notification_of_a_problem_says_what_is_wrong() -> None:
    around = RecorderContext()
    around.cameras = {"front": {"silent": "no image for more than 2 h"}}
    around.look()
    message = msgspec.structs.replace(around.told[0], started="2026-11-28T06:00:00.000000Z")
    now = datetime(2026, 11, 28, 7, tzinfo=UTC)
    assert body_of(message, now=now, zone=UTC) == "no image for more than 2 h, since 06:00"
