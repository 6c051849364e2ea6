"""Bursts by the real daemon: once each, across kills and stops, and told to all who hear of records."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from arriving import sending
from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.crashpoints import RAISE_VARIABLE, VARIABLE
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal, Row
from dropsight.records import burst_id
from receivers import Receiver
from webs import ANY_PORT, address, ask

# Longer than a test takes: what is to be one burst is one on a slow machine, too.
LONG = 300
EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


def drop(house: House, numbers: Sequence[int], *, camera: str = "front") -> None:
    """Photos by the quarter of a second of their capture."""
    (house.inbox / camera).mkdir(exist_ok=True)
    for number in numbers:
        part = house.root / f"{camera}-{number}.part"
        shutil.copy(PHOTOS[number % 2], part)
        os.utime(part, (EPOCH + number / 4, EPOCH + number / 4))
        part.rename(house.inbox / camera / f"{number}.jpg")


def images(house: House) -> list[dict[str, Any]]:
    return [record for record in house.records() if record["kind"] == "image"]


def bursts(house: House) -> list[dict[str, Any]]:
    return [record for record in house.records() if record["kind"] == "burst"]


def watching(seconds: float, **more: Any) -> dict[str, Any]:
    return {"watch": [{"path": "inbox", "burst_seconds": seconds}], **more}


def is_whole(house: House, count: int) -> None:
    """All photos are in one burst, which is on record once."""
    (burst,) = bursts(house)
    assert burst["burst"]["count"] == count
    photos = sorted(images(house), key=lambda record: record["image"]["captured"])
    assert burst["burst"]["photos"] == [record["id"] for record in photos]
    assert burst["id"] == burst_id(burst["burst"]["photos"])
    assert len(house.records()) == len({record["id"] for record in house.records()}) == count + 1


@pytest.mark.slow
@pytest.mark.parametrize("step", ["before_burst", "before_conclusion", "after_conclusion"])
def test_a_burst_survives_a_kill_at_any_step_and_is_recorded_once(tmp_path: Path, step: str) -> None:
    house = House(tmp_path, watching(LONG))
    drop(house, range(4))
    try:
        house.spawn("--once", **{VARIABLE: step})
        assert house.ended() == -signal.SIGKILL, house.daemon_log()
        house.spawn("--once")
        assert house.ended() == 0
    finally:
        house.kill()
    is_whole(house, 4)


@pytest.mark.slow
def test_photos_whose_daemon_is_killed_over_and_over_are_one_burst(tmp_path: Path) -> None:
    house = House(tmp_path, watching(LONG))
    try:
        for number in range(3):
            drop(house, [number])
            house.spawn()
            house.until(lambda number=number: len(images(house)) > number)  # type: ignore[misc]
            house.kill()
        house.configure(watching(0.5))
        house.start()
        wait_until(lambda: bool(bursts(house)))
        assert house.stop() == 0
    finally:
        house.kill()
    is_whole(house, 3)


@pytest.mark.slow
def test_a_burst_goes_on_after_a_stop_and_with_once_it_is_over_at_the_end(tmp_path: Path) -> None:
    house = House(tmp_path, watching(LONG))
    try:
        house.spawn()
        drop(house, [0, 1])
        house.until(lambda: len(images(house)) == 2)
        assert house.stop() == 0
    finally:
        house.kill()
    assert not bursts(house)
    drop(house, [2, 3])
    done = dropsight("run", "-c", str(house.config), "--once", "-v")
    assert done.returncode == 0, done.stderr
    assert "burst of 4 photos" in done.stdout
    is_whole(house, 4)
    shown = dropsight("logs", "-c", str(house.config), "-n", "1").stdout
    peak = bursts(house)[0]["burst"]["peak"]
    assert f"burst of 4 photos, surest in {peak['image_path']}" in shown


@pytest.mark.slow
@pytest.mark.broker
def test_everybody_who_hears_of_records_hears_of_a_burst(tmp_path: Path, broker: Mosquitto) -> None:
    """One burst, a photo alone, and one that cannot be read; nobody's counts of photos change by it."""
    with (
        Receiver() as receiver,
        Receiver() as of_photos,
        Subscriber(broker.port, "dropsight/test/#") as told,
        running(
            tmp_path,
            **watching(2),
            mqtt={"url": broker.url},
            web=ANY_PORT,
            webhooks=[
                {"url": receiver.url, "name": "all"},
                {"url": of_photos.url, "name": "photos", "on": ["ok"]},
            ],
        ) as house,
    ):
        web = address(house)
        drop(house, range(3))
        drop(house, [500], camera="back")
        (house.inbox / "front" / "bad.jpg").write_bytes(b"no picture")
        wait_until(lambda: len(receiver.taken) == 6)
        (burst,) = bursts(house)
        topics = {topic for topic, _, _ in told.messages}
        wait_until(lambda: "dropsight/test/burst/front" in {topic for topic, _, _ in told.messages})
        (message,) = [payload for topic, payload, _ in told.messages if topic == "dropsight/test/burst/front"]
        assert f'"id":"{burst["id"]}"'.encode() in message
        of_bursts = [topic for topic, payload, _ in told.messages if b'"kind":"burst"' in payload]
        assert of_bursts == ["dropsight/test/burst/front"], topics
        assert [body["id"] for body in receiver.taken if body["kind"] == "burst"] == [burst["id"]]
        wait_until(lambda: len(of_photos.taken) == 4)
        assert {body["kind"] for body in of_photos.taken} == {"image"}
        stats = house.status()["stats"]
        assert stats["bursts"] == 1
        assert "bursts     1 recorded" in dropsight("status", "-c", str(house.config)).stdout
        assert stats["cameras"] == {"front": 4, "back": 1}
        assert sum(stats["classes"].values()) == house.counters()["done"] == 4
        metrics = ask(web, "/metrics").body.decode()
        assert "dropsight_bursts_total 1.0" in metrics
        assert 'dropsight_images_total{status="ok"} 4.0' in metrics
        assert [each["id"] for each in ask(web, "/api/results?status=burst").json()["results"]] == [
            burst["id"]
        ]
        assert len(ask(web, "/api/results?status=ok").json()["results"]) == 4
        assert ask(web, f"/api/images/{burst['burst']['peak']['id']}/thumbnail").status == 200
        overview = ask(web, "/api/stats").json()
        assert overview["day"]["images"] == 5
        assert overview["cameras"]["front"]["images"] == 4
        assert house.stop() == 0
    # After a restart, what is retained of a camera is its newest photo still.
    with Subscriber(broker.port, "dropsight/test/state/front") as states:
        house.start()
        try:
            wait_until(lambda: bool(states.messages))
            assert house.stop() == 0
        finally:
            house.kill()
        assert all(b'"kind":"image"' in payload for _, payload, _ in states.messages)
    assert len(bursts(house)) == 1


@pytest.mark.slow
@pytest.mark.broker
def test_images_over_mqtt_have_bursts_and_a_reload_turns_them_on(tmp_path: Path, broker: Mosquitto) -> None:
    watch = {"mqtt": "bursting/+/image", "path": str(tmp_path / "inbox")}
    settings = {"mqtt": {"url": broker.url, "home_assistant": False}, "device": "bursting"}
    with running(tmp_path, watch=[watch], **settings) as house, sending(broker) as sender:
        house.configure({"watch": [{**watch, "burst_seconds": 3}], **settings})
        assert house.ask("reload")["ok"]
        wait_until(lambda: house.daemon_log().count("ready: model") == 2)
        wait_until(lambda: bool(house.status()["sources"][0]["connected"]))
        for photo in PHOTOS[:3]:
            sender.send("bursting/yard/image", photo.read_bytes())
        wait_until(lambda: bool(bursts(house)))
        assert {burst["camera"] for burst in bursts(house)} == {"yard"}


@pytest.mark.slow
def test_a_bug_in_making_a_burst_is_told_and_it_is_made_for_all_that(tmp_path: Path) -> None:
    house = House(tmp_path, watching(2))
    try:
        house.spawn(**{RAISE_VARIABLE: "before_burst"})
        wait_until(house.answers)
        drop(house, range(3))
        wait_until(lambda: house.status()["troubles"].get("threads", "").startswith("bursts"))
        wait_until(lambda: bool(bursts(house)))
        assert house.stop() == 0
    finally:
        house.kill()
    is_whole(house, 3)


def test_check_says_what_becomes_a_burst(tmp_path: Path) -> None:
    house = House(tmp_path, watching(2.5))
    done = dropsight("check", "-c", str(house.config))
    assert "follow one another within 2.5 s get one more record together" in done.stdout


def test_nothing_follows_the_journal_for_bursts_that_nobody_wants(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    drop(house, [0, 1])
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert not bursts(house)
    with sqlite3.connect(tmp_path / "state" / "journal.db") as journal:
        assert "bursts" not in {name for (name,) in journal.execute("SELECT name FROM cursor")}


def test_a_burst_is_neither_a_camera_s_newest_answer_nor_one_of_many_failures(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    line = b'{"id":"%d","latency_ms":{"total":0.0}}'
    rows = [
        Row(str(number), b"/in/%d.jpg" % number, 1, 1, "front", "ok", line % number) for number in range(2)
    ]
    rows += [Row(str(number), b"", 0, 0, "front", "burst", line % number) for number in range(2, 10)]
    store.add(rows)
    assert [entry.seq for piece in store.unfiled() for entry in piece] == [1, 2]
    store.settle(totals=[], filed=[1, 2], cursors={})
    reader = JournalReader(store.path)
    assert reader.latest("front") == line % 1
    assert store.prune(after=0, upto=10, keep=8).early == 0
    assert reader.latest("front") is None
    reader.close()
    store.close()
