"""The daemon's explanations: beside processed images, on command, and in nobody's way."""

import base64
import json
import logging
import math
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import NoReturn, cast

import cv2
import numpy as np
import pytest

from brokers import Subscriber, mosquitto, wait_until
from clips import make_clip, of_photos
from daemons import SAMPLES, House, dropsight, running
from dropsight.classify.work import Engine, InForce, UnsureAnswer
from dropsight.config import Config, Explain, Retention, Watch
from dropsight.errors import ImageError, ModelError
from dropsight.files.beneath import Top
from dropsight.intake.backlog import Backlog
from dropsight.intake.clock import Clock
from dropsight.journal.filed import FiledImages
from dropsight.journal.retention import Sweeper
from dropsight.service.explanations import Explanations
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles


@pytest.mark.slow
def test_the_daemon_lays_an_overlay_beside_an_unsure_image_and_names_it_in_the_record(tmp_path: Path) -> None:
    watch = [{"path": "inbox"}]
    with running(tmp_path, watch=watch, explain={"below_confidence": 0.9999, "every": 0}) as house:
        (house.inbox / "cam").mkdir()
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox / "cam" / "a.jpg")
        wait_until(lambda: house.finished() == 1)
        (record,) = house.records()
        target = Path(record["explanation"])
        assert target.parent == house.processed / "cam"
        wait_until(target.exists)
        picture = cv2.imread(str(target))
        assert picture is not None
        assert picture.shape == (448, 448, 3)
        assert house.stop() == 0


def test_a_sure_answer_is_left_unexplained(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 0.1}})
    shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert "explanation" not in house.records()[0]


@pytest.mark.slow
def test_every_second_image_is_explained_where_the_config_says_so(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 0.0, "every": 2}})
    for number in range(4):
        shutil.copyfile(SAMPLES / "coffee.jpg", house.inbox / f"{number}.jpg")
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    named = [Path(record["explanation"]) for record in house.records() if "explanation" in record]
    assert len(named) == 2
    assert all(path.exists() for path in named)


@pytest.mark.slow
def test_the_command_explain_answers_with_an_overlay_of_what_a_recorded_image_is_or_would_be(
    tmp_path: Path,
) -> None:
    with running(tmp_path, inference={"unknown": 0.001}) as house:
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
        wait_until(lambda: house.finished() == 1)
        (record,) = house.records()
        assert (record["label"], record["predicted_class"], record["would_be"]) == ("unknown", -1, "espresso")
        answer = house.ask("explain", id=record["id"])
        assert answer["ok"], answer
        assert answer["result"]["label"] == "espresso"
        data = np.frombuffer(base64.b64decode(answer["result"]["image_jpeg_base64"]), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (448, 448, 3)
        assert "no record nothing" in house.ask("explain", id="nothing")["error"]


@pytest.mark.slow
def test_of_an_unsure_clip_the_surest_frame_is_explained_beside_it_and_on_command(tmp_path: Path) -> None:
    gray = np.full((240, 320, 3), 127, np.uint8)
    clip = make_clip(tmp_path / "clip.mp4", [*[gray] * 20, *of_photos([SAMPLES / "coffee.jpg"]) * 10])
    with running(tmp_path, explain={"below_confidence": 0.9999, "every": 0}) as house:
        shutil.copy(clip, house.inbox / "clip.mp4")
        wait_until(lambda: house.finished() == 1)
        (record,) = house.records()
        assert (record["kind"], record["label"]) == ("clip", "espresso")
        target = Path(record["explanation"])
        wait_until(target.exists)
        beside = cv2.imread(str(target))
        answer = house.ask("explain", id=record["id"])
        assert answer["ok"], answer
        assert answer["result"]["seconds"] == record["clip"]["peak"]["time"] >= 2.0
        data = np.frombuffer(base64.b64decode(answer["result"]["image_jpeg_base64"]), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        assert beside is not None
        np.testing.assert_array_equal(picture, beside)
        assert picture.shape == (448, 448, 3)
        assert picture.std() > 30  # a cup, and no gray
        assert house.stop() == 0


@pytest.mark.slow
@pytest.mark.broker
def test_the_command_explain_is_answered_over_mqtt(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
        wait_until(lambda: len(subscriber.topics("result/default")) == 1)
        record = json.loads(subscriber.topics("result/default")[0])
        order = {"command": "explain", "id": record["id"]}
        subscriber.publish("dropsight/test/command", json.dumps(order).encode())
        wait_until(lambda: len(subscriber.topics("command/response")) == 1)
        answer = json.loads(subscriber.topics("command/response")[0])
        assert (answer["ok"], answer["result"]["id"]) == (True, record["id"])
        assert base64.b64decode(answer["result"]["image_jpeg_base64"]).startswith(b"\xff\xd8")
        assert house.stop() == 0


@pytest.mark.slow
def test_explanations_are_made_at_the_lowest_priority_by_whoever_asks(tmp_path: Path) -> None:
    """The hundred invokes are on threads of the lowest; those that classify, and that asked, keep theirs."""
    with running(tmp_path) as house:
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
        wait_until(lambda: house.finished() == 1)
        before = ticks_by_niceness(house)
        assert before[0] > 0
        assert house.ask("explain", id=house.records()[0]["id"])["ok"]
        spent = ticks_by_niceness(house)
        spent.subtract(before)
        assert spent[19] > spent[0]
        assert house.stop() == 0


class Onlooker:
    """An engine that notes who has it look at a picture."""

    def __init__(self) -> None:
        self.asked_by: list[str] = []

    def seen(self, *_: object) -> NoReturn:
        self.asked_by.append(threading.current_thread().name)
        raise ImageError("unreadable", "seen enough")


@pytest.mark.slow
def test_of_all_who_ask_for_an_explanation_one_has_a_picture_in_memory_at_a_time(tmp_path: Path) -> None:
    """Eight at the control socket, each with one of 49 megapixels, took gigabytes."""
    with running(tmp_path) as house:
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
        wait_until(lambda: house.finished() == 1)
        (record,) = house.records()
    engine, troubles = Onlooker(), Troubles(logging.getLogger(__name__))
    explanations = Explanations(
        None,
        in_force=InForce(Config(), cast("Engine", engine)),
        backlog=Backlog(),
        supervision=Supervision(troubles),
    )
    try:
        watches = [Watch(path=house.inbox, processed=house.processed, failed=house.failed)]
        with pytest.raises(ImageError, match="seen enough"):
            explanations.of_record(record["id"], tmp_path / "state" / "journal.db", watches)
    finally:
        explanations.stop()
    assert engine.asked_by == ["explain"]


def ticks_by_niceness(house: House) -> Counter[int]:
    """What the daemon's threads have cost in CPU time."""
    assert house.process
    ticks: Counter[int] = Counter()
    for task in Path(f"/proc/{house.process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            # The name, which may hold anything, ends at the last bracket.
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks[int(fields[16])] += int(fields[11]) + int(fields[12])
    return ticks


class Opened(Thread):
    """A thread that goes on once it is waited for."""

    def __init__(self, run: Callable[[], None], waited_for: Event) -> None:
        super().__init__(target=run)
        self._waited_for = waited_for

    def join(self, timeout: float | None = None) -> None:
        self._waited_for.set()
        super().join(timeout)


class Starting:
    """Who starts threads, as the daemon's supervision does."""

    def __init__(self) -> None:
        self.waited_for = Event()

    def start(self, _: str, run: Callable[[], None], **_options: bool) -> Thread:
        thread = Opened(run, self.waited_for)
        thread.start()
        return thread


@pytest.mark.parametrize(("seconds", "looked_at"), [(-1.0, 1), (math.inf, 4)])
def test_a_stop_gives_up_promised_explanations_that_take_too_long_and_run_once_makes_them_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float, looked_at: int
) -> None:
    """At the lowest priority, on a busy machine, four took a stop beyond what systemd gives it."""
    starting, begun, asked = Starting(), Event(), list[str]()
    explanations = Explanations(
        Explain(below_confidence=1.0, every=1),
        in_force=InForce(Config(), cast("Engine", Onlooker())),
        backlog=Backlog(),
        supervision=cast("Supervision", starting),
        stop_seconds=seconds,
    )

    def seen() -> NoReturn:
        begun.set()
        starting.waited_for.wait()
        asked.append("seen")
        raise ModelError("seen enough")

    folder = SimpleNamespace(settings=Watch(path=tmp_path, processed=tmp_path, failed=tmp_path))
    for number in range(4):
        unsure = SimpleNamespace(
            engine=None,
            candidate=SimpleNamespace(folder=folder),
            drop=SimpleNamespace(relative=b"%d.jpg" % number, id=f"{number}"),
            class_index=0,
            pixels=seen,
        )
        explanations.promise(cast("UnsureAnswer", unsure))
    begun.wait()
    explanations.stop()
    assert len(asked) == looked_at
    assert caplog.text.count("the daemon stops") == 4 - looked_at


@pytest.mark.slow
def test_a_burst_is_classified_without_waiting_for_its_explanations(tmp_path: Path) -> None:
    """What a record names is there in the end; what there was no time for is not named."""
    watch = [{"path": "inbox"}]
    with running(tmp_path, watch=watch, explain={"below_confidence": 1.0, "every": 0}) as house:
        for number in range(60):
            shutil.copyfile(SAMPLES / "coffee.jpg", house.inbox / f"{number}.jpg")
        house.until(lambda: house.finished() == 60)
        made = len(list(house.processed.glob("*.why.jpg")))
        named = [Path(record["explanation"]) for record in house.records() if "explanation" in record]
        assert made < 60
        assert 1 <= len(named) < 60
        wait_until(lambda: all(path.exists() for path in named))
        assert house.stop() == 0


@pytest.mark.slow
def test_overlays_go_with_the_processed_images_when_their_time_is_over(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 1.0, "every": 0}})
    shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert len(list(house.processed.iterdir())) == 2
    shelf = FiledImages(tmp_path / "state" / "journal.db")
    sweep = Sweeper(Clock()).sweep_place
    assert sweep(Top.at(house.processed), Retention(days=None, max_bytes=1), shelf, remembered_from=0) == 2
    shelf.close()
    assert not list(house.processed.iterdir())
