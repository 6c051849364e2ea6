"""Room for a process that decodes, or tries a model, and none for its threads: nothing is blamed for it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from brokers import wait_until
from clips import make_clip, of_photos
from daemons import PHOTOS, House
from test_reload import bundle, hang_up, model_in_force, rewrite
from test_threads import MANY, as_a_user_of_its_own, bound, house_of_a_user, pytestmark, threads_of
from webs import ANY_PORT

__all__ = ["pytestmark"]

TRIED_AS_CLIP = """
import json, sys
from pathlib import Path
from dropsight.images.opening import open_image
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipFrame, ClipOrder
order = ClipOrder(Sampling(), None, 10**8, 60.0, True)
with open_image(sys.argv[1]) as file, ClipDecoder(ClipBounds()) as decoder:
    print(sum(isinstance(part, ClipFrame) for part in decoder.decode(file, order)))
"""


def heic_of(photo: Path) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.open(photo).convert("RGB")).save(file, format="HEIF")
    return file.getvalue()


def wait_with_room_for(house: House, tasks: int, *, until: str) -> None:
    """Beyond those of the daemon itself, however many it has just now."""

    def is_told() -> bool:
        bound(house, threads_of(house) + tasks)
        return until in house.daemon_log()

    wait_until(is_told)


def test_a_good_heic_waits_for_its_decoder_s_thread_and_is_classified_once_there_is_one(
    tmp_path: Path,
) -> None:
    """Its process began and its codec got no thread, which it told as a fault of the picture."""
    data = heic_of(PHOTOS[0])
    with house_of_a_user(tmp_path) as house:
        house.under = as_a_user_of_its_own()
        house.start()
        wait_until(lambda: "dashboard at" in house.daemon_log())
        bound(house, 1)
        (house.inbox / "a.heic").write_bytes(data)
        wait_with_room_for(house, 1, until="no thread to decode heic can be started")
        assert house.records() == []
        bound(house, MANY)
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok", house.records()
        wait_until(lambda: house.status()["troubles"] == {})


@pytest.mark.parametrize("reader", ["av", "cv2"])
def test_a_clip_is_decoded_where_there_is_room_for_its_process_alone(tmp_path: Path, reader: str) -> None:
    """FFmpeg scaled its frames with threads: each that it did not get was the clip's failure."""
    clip = make_clip(tmp_path / "a.mp4", of_photos(PHOTOS[:3]))
    if reader == "cv2":  # as if PyAV were not installed
        (tmp_path / "av.py").write_text("raise ImportError")
    environment = ["env", f"PYTHONPATH={tmp_path}", "OPENBLAS_NUM_THREADS=1"]
    done = subprocess.run(
        [*as_a_user_of_its_own(threads=2), *environment, sys.executable, "-c", TRIED_AS_CLIP, str(clip)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_reload_without_room_to_try_the_model_is_done_once_there_is(tmp_path: Path) -> None:
    """It went over to the fallback, and stayed there."""
    model = bundle(tmp_path / "models")
    wanted = {"path": str(model), "fallback": ["builtin:efficientnet_lite0"]}
    with house_of_a_user(tmp_path) as house:
        house.under = as_a_user_of_its_own()
        house.start()
        wait_until(lambda: "dashboard at" in house.daemon_log())
        bound(house, 1)
        rewrite(house, web=ANY_PORT, model=wanted)
        hang_up(house)
        wait_until(lambda: "cannot be tested before it is used" in house.daemon_log())
        assert "the old one stays in use" in house.daemon_log()
        bound(house, MANY)
        wait_until(lambda: model_in_force(house) == "mine")
        assert "falling back" not in house.daemon_log()
        wait_until(lambda: house.status()["troubles"] == {})


def test_a_start_without_room_to_try_the_model_goes_on_once_there_is(tmp_path: Path) -> None:
    model = bundle(tmp_path / "models")
    wanted = {"path": str(model), "fallback": ["builtin:efficientnet_lite0"]}
    with house_of_a_user(tmp_path, model=wanted) as house:
        house.under = as_a_user_of_its_own(threads=1)
        house.spawn()
        wait_until(lambda: "cannot be tested before it is used" in house.daemon_log())
        bound(house, MANY)
        wait_until(lambda: "ready: model mine is loaded" in house.daemon_log())
        assert "falling back" not in house.daemon_log()
