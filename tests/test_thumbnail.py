"""Thumbnails."""

import cv2
import numpy as np
import pytest

from daemons import SAMPLES
from dropsight.errors import ImageError
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import as_jpeg, thumbnail


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
