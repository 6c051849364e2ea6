"""What makes a picture black, the same again or blurred, tried on real photos."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from daemons import PHOTOS
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels
from dropsight.images.header import read_header
from dropsight.images.looks import BLURRED_SHARPNESS, Look, look_at

Photo = NDArray[np.floating]


def photo(path: Path, *, enlarged: int = 1) -> Photo:
    found = cv2.imread(str(path))
    assert found is not None
    return cv2.resize(found, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC).astype(float)


def taken(scene: Photo, *, noise: float = 0.0, seed: int = 0, quality: int = 85) -> Pixels:
    """Decode what a camera would have sent of this scene: noise of its sensor, then a JPEG."""
    chance = np.random.default_rng(seed).standard_normal(scene.shape, np.float32)
    noisy = scene.astype(np.float32) + np.float32(noise) * chance
    data = cv2.imencode(
        ".jpg", np.clip(np.rint(noisy), 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )[1].tobytes()
    return decode(data, read_header(data), at_least=(224, 224), how="crop")


def with_clock(scene: Photo, text: str) -> Photo:
    plain = scene.astype(np.uint8)
    return cv2.putText(plain, text, (12, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2).astype(float)


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_no_sample_photo_looks_black_blurred_or_empty(path: Path) -> None:
    look = look_at(taken(photo(path)))
    assert not look.is_black
    assert not look.shows_nothing
    assert look.tells_sharpness
    assert look.sharpness > 5 * BLURRED_SHARPNESS


@pytest.mark.parametrize(("level", "noise"), [(0, 0), (0, 3), (4, 2), (16, 2), (16, 6)])
def test_a_covered_lens_is_black_whatever_the_sensor_adds(level: float, noise: float) -> None:
    assert look_at(taken(np.full((1080, 1920, 3), float(level)), noise=noise)).is_black


def test_the_clock_that_a_camera_burns_in_does_not_make_black_anything_else() -> None:
    dark = with_clock(np.full((480, 640, 3), 3.0), "2026-11-25 03:14:15 FRONT")
    assert look_at(taken(dark, noise=2)).is_black


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_dark_night_is_not_black_while_something_shows(path: Path) -> None:
    assert not look_at(taken(photo(path) * 0.08, noise=2)).is_black


def test_a_single_lamp_in_the_night_is_not_black() -> None:
    night = np.full((480, 640, 3), 3.0)
    cv2.circle(night, (320, 240), 60, (200.0, 220.0, 230.0), -1)
    assert not look_at(taken(night, noise=2)).is_black


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_photo_badly_out_of_focus_is_blurred_beyond_doubt_or_far_below_itself(path: Path) -> None:
    scene = photo(path)
    width = 2 * min(scene.shape[:2]) / 224
    blurred = look_at(taken(cv2.GaussianBlur(scene, (0, 0), width).astype(float)))
    sharp = look_at(taken(scene))
    assert blurred.sharpness < max(BLURRED_SHARPNESS, sharp.sharpness / 10)


@pytest.mark.parametrize("light", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("path", PHOTOS[:5], ids=lambda path: path.stem)
def test_sharpness_hardly_depends_on_the_light(path: Path, light: float) -> None:
    full, dim = look_at(taken(photo(path))), look_at(taken(photo(path) * light))
    assert dim.sharpness == pytest.approx(full.sharpness, rel=0.35)


def test_a_lens_behind_fog_or_tape_shows_nothing() -> None:
    assert look_at(taken(np.full((480, 640, 3), 180.0), noise=3)).shows_nothing


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_frozen_picture_is_the_same_though_its_clock_runs_on(path: Path) -> None:
    scene = photo(path)
    one, other = (look_at(taken(with_clock(scene, text))) for text in ("03:14:15", "03:15:16"))
    assert one.same_as(other) is True


@pytest.mark.slow
@pytest.mark.parametrize("quality", [60, 75, 90])
@pytest.mark.parametrize("light", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("enlarged", [1, 4])
def test_a_still_scene_before_a_live_sensor_is_never_the_same(
    enlarged: int, light: float, quality: int
) -> None:
    """Even half a grey level of noise, a large picture shrunk in decoding, and a strong compression."""
    for path in PHOTOS[:: 4 * enlarged]:
        scene = photo(path, enlarged=enlarged) * light
        one, other = (look_at(taken(scene, noise=0.5, seed=seed, quality=quality)) for seed in (1, 2))
        assert one.same_as(other) is not True


def test_of_clipped_pictures_nobody_can_say_whether_they_are_the_same() -> None:
    white = look_at(np.full((480, 640, 3), 255, np.uint8))
    assert white.same_as(white) is None


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60), st.just(3)), elements=st.integers(0, 255)
    )
)
def test_any_picture_has_a_look_and_is_the_same_as_itself(pixels: Pixels) -> None:
    look = look_at(pixels)
    assert isinstance(look, Look)
    assert np.isfinite([look.level, look.spread, look.contrast, look.sharpness]).all()
    assert look.same_as(look_at(pixels)) is not False
