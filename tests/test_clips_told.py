"""What others hear of a clip: broker, Home Assistant, webhook, Prometheus, dashboard, terminals."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from brokers import Subscriber, mosquitto, wait_until
from clips import Picture, make_clip, of_photos
from daemons import PHOTOS, House, dropsight, running
from dropsight.events.sighting import sighting_of
from dropsight.images.framing import frame
from dropsight.records import ClipFacts, Result, decode
from dropsight.sinks.terminal import Table
from dropsight.web.stills import STRIP_FRAMES
from receivers import Receiver
from test_homeassistant import messages, rendered, told
from test_web import metrics
from webs import ANY_PORT, address, ask

pytestmark = pytest.mark.broker
NAMES = ("coffee", "panda", "koala")
SCENES = of_photos([next(photo for photo in PHOTOS if name in photo.name) for name in NAMES])


class Heard(NamedTuple):
    """Of one clip, while the daemon ran: its record in the log, and what came of it."""

    record: dict[str, Any]
    subscriber: Subscriber
    posted: list[Any]
    metrics: dict[str, float]
    thumbnail: bytes
    film: bytes
    status: str
    logs: str


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [picture for picture in SCENES for _ in range(15)]
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", pictures)


def drop(house: House, clip: Path, camera: str = "front") -> None:
    folder = house.inbox / camera
    folder.mkdir(exist_ok=True)
    (folder / ".clip.mp4").write_bytes(clip.read_bytes())
    (folder / ".clip.mp4").rename(folder / "clip.mp4")


@pytest.fixture(scope="module")
def heard(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    root = tmp_path_factory.mktemp("house")
    with (
        mosquitto(root) as broker,
        Subscriber(broker.port, "#") as subscriber,
        Receiver() as receiver,
        running(
            root,
            mqtt={"url": broker.url, "thumbnails": True},
            webhooks=[{"url": receiver.url}],
            web=ANY_PORT,
        ) as house,
    ):
        url = address(house)
        drop(house, clip)
        for topic in ("/result/front", "/state/front", "/thumbnail/front"):
            wait_until(lambda topic=topic: bool(subscriber.topics(topic)), what=topic)  # type: ignore[misc]
        wait_until(lambda: "front_picture" in told(subscriber))
        wait_until(lambda: bool(receiver.taken))
        wait_until(lambda: not house.waiting(), what="it is filed")
        (record,) = house.records()
        (house.processed / "front" / "clip.mp4").unlink()
        yield Heard(
            record,
            subscriber,
            list(receiver.taken),
            metrics(url),
            ask(url, f"/api/images/{record['id']}/thumbnail").body,
            ask(url, f"/api/images/{record['id']}/film").body,
            dropsight("status", "-c", str(house.config)).stdout,
            dropsight("logs", "-c", str(house.config)).stdout,
        )


def surest(record: dict[str, Any]) -> Picture:
    """What its peak shows."""
    frame: int = record["clip"]["peak"]["frame"]
    return SCENES[frame // 15]


def shows(jpeg: bytes, picture: Picture) -> bool:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    assert max(found.shape) <= 320
    rgb = cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    small = cv2.resize(picture, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA)
    return float(np.abs(small.astype(int) - rgb).mean()) < 12


def test_broker_and_webhook_get_the_record_of_the_log(heard: Heard) -> None:
    assert heard.record["kind"] == "clip"
    record = decode(json.dumps(heard.record).encode())
    assert isinstance(record, Result)
    sighting = sighting_of(record)
    assert sighting
    assert sighting.is_clip
    assert json.loads(heard.subscriber.topics("/result/front")[0]) == heard.record
    assert json.loads(heard.subscriber.topics("/state/front")[-1]) == heard.record
    assert heard.posted == [heard.record]


def test_the_picture_of_a_camera_is_the_surest_frame_of_its_clip(heard: Heard) -> None:
    published = heard.subscriber.topics("/thumbnail/front")[-1]
    assert shows(published, surest(heard.record))
    assert told(heard.subscriber)["front_picture"]["image_topic"] == "dropsight/test/thumbnail/front"


def test_pictures_of_a_new_clip_are_there_from_when_it_was_classified(heard: Heard) -> None:
    """Nothing is decoded a second time for the dashboard: the clip is gone meanwhile."""
    assert shows(heard.thumbnail, surest(heard.record))
    film = cv2.imdecode(np.frombuffer(heard.film, np.uint8), cv2.IMREAD_COLOR)
    assert film is not None
    for number, tile in enumerate(np.array_split(film, STRIP_FRAMES, axis=1)):
        middle = (number + 0.5) / STRIP_FRAMES * len(SCENES)
        assert shows(cv2.imencode(".png", tile)[1].tobytes(), SCENES[int(middle)]), number


def test_home_assistant_shows_a_clip_as_it_does_a_photo_and_names_what_it_is(heard: Heard) -> None:
    found, record = told(heard.subscriber), heard.record
    label, event = found["front_label"], found["front_image"]
    state = messages(heard.subscriber, label["state_topic"])[-1]
    assert rendered(label["value_template"], state) == record["group"]
    attributes = json.loads(rendered(label["json_attributes_template"], state))
    fired = json.loads(rendered(event["value_template"], heard.subscriber.topics("/result/front")[0]))
    for said in (attributes, fired):
        assert said["kind"] == "clip"
        assert said["duration"] == record["clip"]["duration"]
        assert said["peak_time"] == record["clip"]["peak"]["time"]
    photo = json.dumps({key: each for key, each in record.items() if key not in {"kind", "clip"}}).encode()
    of_photo = json.loads(rendered(label["json_attributes_template"], photo))
    assert of_photo["kind"] == "image", "an older record, which does not say it"
    assert of_photo.keys() == attributes.keys() - {"duration", "peak_time"}


def test_clips_their_frames_and_the_seconds_of_decoding_are_counted(heard: Heard) -> None:
    found, record = heard.metrics, heard.record
    assert found["dropsight_images_total,status=ok"] == 1
    assert found["dropsight_clips_total,status=ok"] == 1
    assert found["dropsight_clips_total,status=failed"] == 0
    assert found["dropsight_clips_waiting"] == 0
    assert found["dropsight_clip_frames_total,what=read"] == record["clip"]["frames_read"]
    assert found["dropsight_clip_frames_total,what=classified"] == record["clip"]["frames_classified"]
    seconds = record["latency_ms"]["decode"] / 1e3
    assert found["dropsight_clip_decode_seconds_total"] == pytest.approx(seconds, abs=0.002)


def test_a_terminal_is_told_how_long_a_clip_is_and_where_it_is_surest(heard: Heard) -> None:
    facts, record = heard.record["clip"], heard.record
    words = f"{record['group']} (clip, {facts['duration']:.1f} s, surest at {facts['peak']['time']:.1f} s)"
    assert f"{words}  front/clip.mp4" in heard.logs
    found = decode(json.dumps(record).encode())
    assert isinstance(found, Result)
    assert isinstance(found.clip, ClipFacts)
    assert words in Table().cells(found, 1.0)[2]
    assert (
        f"clips      1 done, 0 failed, 0 waiting; {facts['frames_classified']} frames classified"
        in heard.status
    )


@pytest.mark.slow
def test_a_broker_that_has_forgotten_a_clips_picture_is_sent_it_after_a_restart(
    clip: Path, tmp_path: Path
) -> None:
    with mosquitto(tmp_path) as broker:
        settings = {"url": broker.url, "thumbnails": True}
        with running(tmp_path, mqtt=settings) as house:
            drop(house, clip)
            wait_until(lambda: bool(house.records()) and not house.waiting(), what="it is filed")
            house.stop()
        broker.kill()
        broker.start()
        with Subscriber(broker.port, "#") as subscriber, running(tmp_path, mqtt=settings) as house:
            wait_until(lambda: bool(subscriber.topics("/thumbnail/front")))
            (record,) = house.records()
            assert shows(subscriber.topics("/thumbnail/front")[0], surest(record))


@pytest.mark.slow
def test_a_broker_of_1200_bytes_gets_a_clip_without_its_timeline(clip: Path, tmp_path: Path) -> None:
    extra = "allow_anonymous true\nmax_packet_size 1200\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "home_assistant": False}) as house,
    ):
        drop(house, clip)
        wait_until(lambda: bool(subscriber.topics("/result/front")))
        published = json.loads(subscriber.topics("/result/front")[0])
        (record,) = house.records()
        assert house.status()["mqtt"]["oversized"] == 0
    assert published["left_out"][0] == "clip.timeline"
    assert "timeline" not in published["clip"]
    assert published["clip"]["peak"] == record["clip"]["peak"]
    assert (published["label"], published["kind"]) == (record["label"], "clip")


@pytest.mark.slow
def test_an_explanation_of_a_clip_is_of_what_the_model_saw_most_surely(clip: Path, tmp_path: Path) -> None:
    with running(tmp_path) as house:
        drop(house, clip)
        wait_until(lambda: bool(house.records()) and not house.waiting(), what="it is filed")
        (record,) = house.records()
        answer = house.ask("explain", id=record["id"])
    assert answer["ok"], answer
    overlay = cv2.imdecode(
        np.frombuffer(base64.b64decode(answer["result"]["image_jpeg_base64"]), np.uint8), cv2.IMREAD_COLOR
    )
    assert overlay is not None
    shown = np.asarray(cv2.cvtColor(overlay, cv2.COLOR_BGR2GRAY), np.float64)
    likeness = [np.corrcoef(shown.ravel(), _as_seen(scene, shown.shape[0]).ravel())[0, 1] for scene in SCENES]
    assert int(np.argmax(likeness)) == record["clip"]["peak"]["frame"] // 15


def _as_seen(scene: Picture, size: int) -> np.ndarray[Any, Any]:
    cut = frame(scene, height=224, width=224, how="crop")
    return cv2.cvtColor(cv2.resize(cut, (size, size)), cv2.COLOR_RGB2GRAY)
