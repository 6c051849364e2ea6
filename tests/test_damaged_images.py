"""Images of which something is missing or wrong: failed, or answered with a warning, as the config says."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import SAMPLES, running
from dropsight import ImageInferenceRuntime
from dropsight.inference.results import ImageFailure, ImageResult
from hostile import photo
from test_images import photo_jpeg, with_a_hole


@pytest.mark.parametrize("damaged", ["fail", "accept"])
def test_a_damaged_image_fails_or_has_warnings_and_one_without_its_end_is_answered(
    tmp_path: Path, damaged: str
) -> None:
    files = {
        "hole": with_a_hole(photo_jpeg()),
        "cut": photo_jpeg()[: len(photo_jpeg()) // 2],
        "unended": photo_jpeg()[:-2],
        "whole": photo_jpeg(),
    }
    with running(tmp_path, limits={"damaged": damaged}) as house:
        for name, data in files.items():
            (house.inbox / f"{name}.jpg").write_bytes(data)
        wait_until(lambda: house.finished() == len(files))
        assert "JPEG" not in house.daemon_log()  # the decoder's own lines, which name no file
        assert house.stop() == 0
    found = {record["image_path"][:-4]: record for record in house.records()}
    assert "warnings" not in found["whole"]
    assert found["unended"]["warnings"] == ["no end-of-image marker"]
    if damaged == "fail":
        assert [found[name]["error"]["code"] for name in ("hole", "cut")] == ["unreadable", "truncated"]
    else:
        assert found["hole"]["warnings"]
        assert found["cut"]["warnings"] == ["no end-of-image marker", "premature end of data segment"]


def test_a_few_changed_bytes_within_a_picture_are_a_warning_and_a_hole_to_its_end_is_a_failure() -> None:
    """The decoder reaches the end of the picture with a little left over, or finds itself without data."""
    photo, chance = (SAMPLES / "china.jpg").read_bytes(), np.random.default_rng(3)
    third = len(photo) // 3
    found = []
    for _ in range(12):
        changed = bytearray(photo)
        for place in chance.integers(third, 2 * third, 3):
            changed[place] ^= 1 << chance.integers(8)
        found.append(bytes(changed))
    holed = photo[: 2 * third] + bytes(len(photo) - 2 * third - 2) + photo[-2:]
    *results, failure = ImageInferenceRuntime().predict_batch([*found, holed]).results
    assert isinstance(failure, ImageFailure)
    assert failure.error.code == "unreadable"
    assert sum(isinstance(each, ImageResult) for each in results) >= len(results) - 1
    told = [each.warnings for each in results if isinstance(each, ImageResult) and each.warnings]
    assert len(told) >= 2  # of the others no decoder can tell
    assert all(re.fullmatch(r"\d+ extraneous bytes before marker 0xd9", one) for (one,) in told)


def test_the_library_tells_of_warnings_too() -> None:
    with_warning, without = ImageInferenceRuntime().predict_batch([photo_jpeg()[:-2], photo_jpeg()]).results
    assert isinstance(with_warning, ImageResult)
    assert with_warning.warnings == ["no end-of-image marker"]
    assert isinstance(without, ImageResult)
    assert "warnings" not in without.to_json()


def test_how_sixteen_bits_became_eight_stands_in_the_record(tmp_path: Path) -> None:
    deep = cv2.imencode(".png", photo().astype(np.uint16) * 16)[1].tobytes()
    with running(tmp_path, images={"depth": "percentile"}) as house:
        (house.inbox / "thermal.png").write_bytes(deep)
        (house.inbox / "plain.jpg").write_bytes(photo_jpeg())
        wait_until(lambda: house.finished() == 2)
        assert house.stop() == 0
    found = {record["image_path"]: record["image"] for record in house.records()}
    assert found["thermal.png"]["depth"] == "percentile"
    assert "depth" not in found["plain.jpg"]
