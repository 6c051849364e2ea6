"""Who hears of events, told by a real daemon: broker, webhooks, dashboard, metrics, terminal."""

import http.client
import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import jinja2
import msgspec
import pytest
import yaml

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight
from dropsight.cameras.watch import CameraWatch
from dropsight.config import Cameras
from dropsight.journal.event_messages import encode_message
from dropsight.journal.event_table import EventReader
from dropsight.journal.outbox import Delivery
from dropsight.journal.store import Journal
from dropsight.records import timestamp
from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.entities import of_camera
from dropsight.sinks.mqtt.event_names import EventNames
from dropsight.sinks.mqtt.event_session import EventSession, EventSessionParts
from dropsight.sinks.mqtt.topics import Topics
from receivers import Receiver
from test_event_rows import message
from webs import ANY_PORT, Events, address, ask

pytestmark = pytest.mark.broker

BASE = "dropsight/test"
RULES: list[dict[str, Any]] = [
    {"name": "anything", "labels": ["*"], "confidence": 0.01, "confirm": "1 of 1", "end_after_seconds": 1.5},
    {"name": "elsewhere", "labels": ["*"], "cameras": ["back*"]},
]


class Day:
    """A daemon, in which an event begins and ends; another one goes on when its rule is taken away."""

    def __init__(self, root: Path, broker: Mosquitto) -> None:
        with (
            Receiver() as self.of_events,
            Receiver() as self.of_records,
            Subscriber(broker.port, "#", as_published=True) as self.heard,
        ):
            hooks = [
                {"url": self.of_events.url, "name": "events", "on": ["event"]},
                {"url": self.of_records.url, "name": "records"},
            ]
            settings = {"mqtt": {"url": broker.url, "thumbnails": True}, "web": ANY_PORT, "webhooks": hooks}
            self.house = House(root, {**settings, "events": RULES})
            try:
                self._live()
                self._live_without_the_rule()
            finally:
                self.house.kill()

    def _live(self) -> None:
        house = self.house
        house.start()
        web = address(house)
        connection = http.client.HTTPConnection(urlsplit(web).netloc, timeout=60)
        connection.request("GET", "/api/results/stream")
        stream = Events(connection.getresponse())
        (house.inbox / "front").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "front" / "a.jpg")
        self.streamed = [stream.next(), stream.next(), stream.next()]
        connection.close()
        wait_until(lambda: len(self.of_events.taken) == 2)
        wait_until(lambda: self.last("active/front/anything") == b"OFF")
        wait_until(lambda: len(self.of_records.taken) == 1)
        (self.record,) = house.records()
        self.cards = ask(web, "/api/events").json()
        self.filtered = {
            query: len(ask(web, f"/api/events?{query}").json()["events"])
            for query in (
                *("name=anything&camera=front", "name=fox", "camera=back", "limit=1"),
                *("since=2020-01-01T00:00:00Z", "since=2100-01-01", "until=2020-01-01"),
            )
        }
        self.refused = ask(web, "/api/events?limit=0")
        self.picture = ask(web, self.cards["events"][0]["picture"])
        self.results = ask(web, "/api/results").json()
        self.metrics = ask(web, "/metrics").body.decode()
        self.status = dropsight("status", "-c", str(house.config)).stdout
        self.logs = dropsight("logs", "-c", str(house.config)).stdout

    def _live_without_the_rule(self) -> None:
        """An event goes on when it is reloaded."""
        house = self.house
        config = yaml.safe_load(house.config.read_text())
        house.config.write_text(yaml.safe_dump({**config, "events": RULES[1:]}))
        shutil.copy(PHOTOS[1], house.inbox / "front" / "b.jpg")
        wait_until(lambda: len(self.of_events.taken) == 3)
        wait_until(lambda: len(self.heard.topics("/event_thumbnail/front")) == 2)
        self.second = len(self.heard.messages)
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.last("active/front/anything") == b"")
        wait_until(lambda: len(self.of_events.taken) == 4)
        wait_until(lambda: self.last("event_thumbnail/front") == b"")
        wait_until(lambda: b"" in self.since("seen/front/anything"))
        wait_until(lambda: any("front_seen_anything" in each for each in self.stubs()))
        assert house.stop() == 0

    def last(self, name: str) -> bytes | None:
        return next(iter(reversed(self.heard.topics(f"{BASE}/{name}"))), None)

    def since(self, name: str) -> list[bytes]:
        return [payload for topic, payload, _ in self.heard.messages[self.second :] if topic.endswith(name)]

    def stubs(self) -> list[dict[str, Any]]:
        told = self.since("homeassistant/device/dropsight_test/front/config")
        return [json.loads(each)["components"] for each in told if each]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield Day(tmp_path_factory.mktemp("house"), broker)


def test_a_broker_is_told_that_an_event_begins_and_that_it_is_over(day: Day) -> None:
    start, end = map(json.loads, day.heard.topics("/event/front/anything")[:2])
    assert day.heard.sent[f"{BASE}/event/front/anything"] == {(1, False)}
    assert (start["event_type"], start["phase"], start["ended"]) == ("anything", "start", None)
    assert (end["event_type"], end["phase"], end["id"]) == ("anything_end", "end", start["id"])
    assert start["best"]["id"] == day.record["id"]
    assert day.record["events"] == [{"id": start["id"], "name": "anything", "phase": "start"}]
    assert "late" not in start


def test_a_broker_keeps_whether_an_event_goes_on_and_what_was_told_of_it_last(day: Day) -> None:
    said = day.heard.topics("/active/front/anything")
    assert said[said.index(b"ON") :][:2] == [b"ON", b"OFF"]
    assert day.heard.sent[f"{BASE}/active/front/anything"] == {(1, True)}
    seen = [json.loads(each) for each in day.heard.topics("/seen/front/anything") if each]
    assert [each["phase"] for each in seen][:2] == ["start", "end"]
    assert day.heard.sent[f"{BASE}/seen/front/anything"] == {(1, True)}


def test_a_broker_keeps_the_best_picture_of_a_camera_s_newest_event(day: Day) -> None:
    *pictures, last = day.heard.topics("/event_thumbnail/front")
    assert last == b""  # when the rule is gone
    assert {each[:2] for each in pictures} == {b"\xff\xd8"}
    # One an event: what the broker still has is not told again.
    assert len(pictures) == len(set(pictures)) == 2
    assert day.heard.sent[f"{BASE}/event_thumbnail/front"] == {(1, True)}


def test_of_an_event_whose_rule_is_gone_the_broker_keeps_nothing(day: Day) -> None:
    said = day.since("active/front/anything")
    assert said[-2:] == [b"OFF", b""]
    assert day.since("seen/front/anything")[-1] == b""
    assert [json.loads(each)["phase"] for each in day.since("/event/front/anything")][-1] == "end"
    gone = day.stubs()[-1]
    assert gone["front_event_anything"] == {"platform": "binary_sensor"}
    assert gone["front_event"] == {"platform": "event"}


@pytest.mark.parametrize(("age", "late"), [(1.0, False), (121.0, True)])
def test_a_message_that_comes_after_an_outage_says_that_it_is_late(
    tmp_path: Path,
    age: float,
    late: bool,  # noqa: FBT001
) -> None:
    """Who acts on events, as Home Assistant does, passes by what is no news any more."""
    topics = Topics.of("dropsight", "test")
    store = Journal(tmp_path / "journal.db")
    watch = CameraWatch(Cameras(), {}, changed=lambda: None)
    shared = EventSessionParts(topics, watch, EventNames((), topics, tmp_path), EventReader(store.path), None)
    told = msgspec.structs.replace(message(), time=timestamp(time.time() - age))
    session = EventSession(shared, cast("Announcer", None))
    topic, line = session.of(Delivery(1, "garden", "event", encode_message(told)))
    assert topic == f"{BASE}/event/garden/fox"
    assert json.loads(line).get("late", False) is late
    template = of_camera("garden", topics, pictures=False, events=["fox"])["event"]["value_template"]
    shown = jinja2.Environment().from_string(str(template)).render(value_json=json.loads(line))  # noqa: S701
    assert bool(shown) is not late
    shared.reader.close()
    store.close()


def test_a_receiver_gets_events_if_it_asks_for_them_and_else_none(day: Day) -> None:
    assert [each["phase"] for each in day.of_events.taken] == ["start", "end"] * 2
    keys = [each.headers["Idempotency-Key"] for each in day.of_events.asked]
    assert len(set(keys)) == len(keys)
    assert {each["status"] for each in day.of_records.taken} == {"ok"}


def test_the_api_has_a_card_an_event_with_its_picture(day: Day) -> None:
    (card,) = day.cards["events"]
    assert (card["name"], card["camera"], card["count"]) == ("anything", "front", 1)
    assert (card["best"]["id"], card["duration_seconds"]) == (day.record["id"], 0.0)
    assert card["started"] == card["ended"]
    assert day.cards["before"] is None
    assert day.picture.body.startswith(b"\xff\xd8")
    assert day.refused.status == 400


def test_events_are_found_by_name_camera_and_time(day: Day) -> None:
    assert list(day.filtered.values()) == [1, 0, 0, 1, 1, 0, 0]


def test_a_stream_tells_of_events_by_a_name_of_their_own(day: Day) -> None:
    record, start, end = day.streamed
    assert "event" not in record
    assert (start["event"], end["event"]) == ("event", "event")
    assert [json.loads(each["data"])["phase"] for each in (start, end)] == ["start", "end"]
    assert int(record["id"]) < int(start["id"]) < int(end["id"])
    assert [each["id"] for each in day.results["results"]] == [day.record["id"]]


def test_events_are_counted_and_shown_in_status_and_logs(day: Day) -> None:
    assert 'dropsight_events_total{camera="front",name="anything"} 1.0' in day.metrics
    assert 'dropsight_events_going_on{camera="front",name="anything"} 0.0' in day.metrics
    assert "events     anything front 1\n" in day.status
    assert "[anything begins]" in day.logs
