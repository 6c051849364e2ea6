"""Thumbnails."""

import asyncio
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from daemons import SAMPLES
from dropsight.errors import ImageError
from dropsight.images.opening import Bounds, open_image
from dropsight.images.thumbnail import as_jpeg, thumbnail
from dropsight.sinks.mqtt.thumbnails import Thumbnails
from dropsight.web.api import Api, answering


def _decoded(jpeg: bytes) -> tuple[int, int, int]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width, channels = picture.shape
    return int(height), int(width), int(channels)


def test_a_thumbnail_keeps_the_shape_within_its_longest_side() -> None:
    whole = cv2.imread(str(SAMPLES / "coffee.jpg"))
    assert whole is not None
    height, width = whole.shape[:2]
    shape = _decoded(thumbnail(str(SAMPLES / "coffee.jpg"), Bounds(2**26, 10**8), longest=200))
    assert shape == (round(200 * height / width), 200, 3)


def test_a_small_picture_is_not_enlarged_for_its_thumbnail() -> None:
    assert _decoded(as_jpeg(np.zeros((30, 40, 3), np.uint8), longest=320)) == (30, 40, 3)


def test_a_file_that_is_no_picture_has_no_thumbnail() -> None:
    with pytest.raises(ImageError):
        thumbnail(__file__, Bounds(2**26, 10**8), longest=200)


def test_a_picture_that_takes_its_time_is_made_while_others_go_out() -> None:
    """A frame of a clip takes seconds, in which the broker would hear nothing."""
    is_made, may_go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        assert may_go_on.wait(60)
        return b"slow"

    thumbnails = Thumbnails(is_made.set)
    thumbnails.show("clips", slowly)
    thumbnails.show("photos", b"quick")
    assert thumbnails.take() == ("photos", b"quick")
    assert thumbnails.take() is None
    assert thumbnails.seconds_to_next() is None
    may_go_on.set()
    assert is_made.wait(60)
    assert thumbnails.take() == ("clips", b"slow")


@pytest.mark.parametrize("instead", [None, b"newer"])
def test_a_picture_that_is_not_wanted_any_more_is_not_shown_once_it_is_made(instead: bytes | None) -> None:
    has_begun, is_made, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def slowly() -> bytes:
        has_begun.set()
        assert may_go_on.wait(60)
        return b"old"

    thumbnails = Thumbnails(is_made.set)
    thumbnails.show("cam", slowly)
    assert thumbnails.take() is None
    assert has_begun.wait(60)
    if instead:
        thumbnails.show("cam", instead)
    else:
        thumbnails.forget("cam")
    may_go_on.set()
    assert is_made.wait(60)
    assert thumbnails.take() == (("cam", instead) if instead else None)


def test_at_the_end_pictures_are_waited_for() -> None:
    """Nobody else would show them: a run over a folder ends with its last image."""
    thumbnails = Thumbnails(lambda: None)
    thumbnails.show("clips", lambda: b"made")
    assert thumbnails.take(at_once=True) == ("clips", b"made")
    assert thumbnails.take(at_once=True) is None


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """As whoever uploaded it may have it, filed or not: nobody opens it without a wait."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


def test_a_picture_that_its_uploader_has_a_lease_on_ends_neither_the_publisher_nor_a_request(
    tmp_path: Path,
) -> None:
    picture = tmp_path / "picture.jpg"
    picture.touch()

    def make() -> bytes:
        with open_image(picture) as file:
            return file.read(Bounds())

    async def endpoint(_api: Api, _request: Request) -> Response:
        return Response(make())

    async def ask() -> Response:
        return await answering(endpoint)(cast("Api", None), Request({"type": "http"}))

    with leased(picture):
        was_tried = threading.Event()
        thumbnails = Thumbnails(was_tried.set)
        thumbnails.recall("cam", make)
        thumbnails.show_again({})
        assert thumbnails.take() is None
        assert was_tried.wait(60)
        assert thumbnails.take() is None
        assert not thumbnails.sent
        answer = asyncio.run(ask())
        assert answer.status_code == 503
