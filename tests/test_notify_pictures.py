"""The picture of a notification, where a clip shows its event best."""

import base64
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from clip_houses import RATE, clip_record
from clips import make_clip, numbered
from dropsight.config import Config, load
from dropsight.errors import ImageError
from dropsight.journal.event_messages import EventBest
from dropsight.journal.store import Journal, Row
from dropsight.service.record_pictures import MOST_KEPT, RecordPictures, picture_of
from notified import Events, NotedDispatcher, Told, message, own_dispatcher
from receivers import Receiver


def recorded(config: Config, clip: Path) -> str:
    """Have on record that this was classified; return the record's id."""
    watch = config.watch[0]
    stat, relative = clip.stat(), f"front/{clip.name}"
    record = clip_record(relative, stat)
    line, path = json.dumps(record).encode(), os.fsencode(watch.path / relative)
    journal = Journal(config.store.path)
    journal.add([Row(record["id"], path, stat.st_size, stat.st_mtime_ns, "front", "ok", line)])
    journal.close()
    return str(record["id"])


def test_of_a_clip_the_surest_frame_is_sent_and_once_it_is_gone_the_text_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dropsight.yaml").write_text("mqtt: null\nweb: null\n")
    config = load(tmp_path / "dropsight.yaml")
    filed = config.watch[0].processed / "front" / "walk.mp4"
    filed.parent.mkdir(parents=True)
    config.store.path.parent.mkdir()
    make_clip(filed, numbered(3 * RATE, height=540, width=960), rate=RATE)
    told = message(1, best=EventBest(recorded(config, filed), 0.97, "giant panda"))
    picture = partial(_picture, config)
    with Receiver() as web, own_dispatcher() as dispatcher, Told(tmp_path, dispatcher) as people:
        events = Events([told])
        teller = people.by(events, f"json://127.0.0.1:{web.port}/", picture=picture)
        wait_until(lambda: len(web.taken) == 1)
        filed.unlink()  # by hand, by retention, or never filed: after: delete
        events.add(message(2, best=told.best))
        teller.wake()
        wait_until(lambda: len(web.taken) == 2)
        events.add(message(3, best=EventBest("pruned from the journal", 0.9, "giant panda")))
        teller.wake()
        wait_until(lambda: len(web.taken) == 3)
        assert not teller.troubles.any()
    (attached,) = web.taken[0]["attachments"]
    assert attached["mimetype"] == "image/jpeg"
    frame = cv2.imdecode(np.frombuffer(base64.b64decode(attached["base64"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert frame is not None
    assert frame.shape == (360, 640)
    assert frame.mean() == pytest.approx(20 + 4 * 25, abs=4)  # the gray level tells the frame: that at 2.5 s
    assert web.taken[1]["attachments"] == web.taken[2]["attachments"] == []
    assert web.taken[1]["message"].startswith("giant panda 97 %, 2 photos since")
    assert caplog.text.count("sent without the picture: its file is gone") == 1


def test_a_problem_has_no_picture_and_nothing_is_said_of_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noted = NotedDispatcher()
    problem = message(
        1, name="broker", camera="default", best=EventBest("", 0.0, "mqtt://hub cannot be reached")
    )
    with Told(tmp_path, noted) as people:
        teller = people.by(Events([problem]), "json://127.0.0.1/")
        wait_until(lambda: teller.standing().delivered == 1)
    assert noted.notifications[0].title == "broker at default"
    assert "picture" not in caplog.text


def test_a_picture_that_nothing_can_be_made_of_keeps_nobody_from_being_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noted = NotedDispatcher()
    with Told(tmp_path, noted) as people:
        teller = people.by(Events([message(1)]), "json://127.0.0.1/", picture=lambda *_: bytes(-1))
        wait_until(lambda: teller.standing().delivered == 1)
    assert "internal error: no picture of record00000001" in caplog.text
    assert "sent without the picture: negative count" in caplog.text


def _picture(config: Config, record: str, longest: int) -> bytes:
    return picture_of(record, config, longest=longest)


def test_for_however_many_targets_a_picture_is_made_once_and_one_at_a_time() -> None:
    """Two dozen of them decoded a large one beside each other, and the kernel ended the daemon over it."""
    made, at_once, most = list[str](), 0, 0

    def make(record_id: str, longest: int) -> bytes:
        nonlocal at_once, most
        at_once, most = at_once + 1, max(most, at_once + 1)
        made.append(record_id)
        time.sleep(0)  # whoever else is at it gets on
        at_once -= 1
        return f"{record_id} {longest}".encode()

    pictures = RecordPictures(make)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: pictures.picture(f"{number % 2}", 640), range(48)))
    assert set(found) == {b"0 640", b"1 640"}
    assert sorted(made) == ["0", "1"]
    assert most == 1
    for number in range(2, 2 + MOST_KEPT):
        pictures.picture(str(number), 640)
    pictures.picture("0", 640)
    assert made.count("0") == 2


def test_a_picture_that_cannot_be_made_is_not_tried_for_each_target() -> None:
    """It may take a minute to fail, and two dozen targets would wait for each other's."""
    tries = list[str]()

    def make(record_id: str, _: int) -> bytes:
        tries.append(record_id)
        raise ImageError("unreadable", "decoding it takes more than 60 s")

    pictures = RecordPictures(make)
    for _ in range(24):
        with pytest.raises(ImageError, match="more than 60 s"):
            pictures.picture("slow", 640)
    assert tries == ["slow"]
