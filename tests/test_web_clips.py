"""Clips over HTTP: what they look like, and the clip itself, a part at a time."""

import asyncio
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from clip_houses import clip_record, gray_clip, showing
from clips import make_clip
from daemons import PHOTOS, House
from dropsight.errors import DropsightError, ImageError
from dropsight.images.opening import open_named
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.web.films import ClipPictures
from dropsight.web.ranges import UnsatisfiableError, asked_part
from dropsight.web.screening import PART_BYTES
from dropsight.web.stills import STRIP_FRAMES, clip_of
from dropsight.web.stills import strip as strip_by
from webs import Answer, address, ask

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - the test's own


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What plays; one as large as several answers; one that nothing decodes; pictures far too large."""
    folder = tmp_path_factory.mktemp("clips")
    found = {
        "garden": gray_clip(folder / "garden.mp4"),
        "yard": gray_clip(folder / "yard.avi", codec="mpeg4"),
    }
    found["long"] = folder / "long.mp4"
    shutil.copy(found["garden"], found["long"])
    with found["long"].open("ab") as file:
        file.truncate(2 * PART_BYTES + 1000)
    found["broken"] = folder / "broken.mp4"
    found["broken"].write_bytes(found["garden"].read_bytes()[:900])
    huge = np.zeros((4320, 7680, 3), np.uint8)
    found["huge"] = make_clip(folder / "huge.mkv", [huge], codec="ffv1", pix_fmt="yuv420p")
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]) -> Iterator[House]:
    files = [clips[name] for name in ("garden", "yard", "long", "broken", "huge")]
    with showing(tmp_path_factory.mktemp("house"), files, limits={"max_pixels": 1_000_000}) as found:
        yield found


@pytest.fixture(scope="module")
def url(house: House) -> str:
    return address(house)


@pytest.fixture(scope="module")
def ids(url: str) -> dict[str, str]:
    return {each["camera"]: each["id"] for each in ask(url, "/api/results").json()["results"]}


def part(url: str, path: str, wanted: str, **headers: str) -> Answer:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(url, path, headers={"Range": wanted, **more})


def grays(answer: Answer, tiles: int) -> list[float]:
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return [float(tile.mean()) for tile in np.array_split(picture, tiles, axis=1)]


def decoders(house: House) -> list[str]:
    """The processes of the daemon that decode clips."""
    assert house.process
    pid = house.process.pid
    children = " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()
    lines = [Path(f"/proc/{child}/cmdline").read_bytes().decode() for child in children]
    return [line for line in lines if "dropsight.video.child" in line]


@pytest.mark.slow
def test_the_thumbnail_of_a_clip_is_its_surest_frame_and_the_film_what_it_showed_evenly(
    house: House, url: str, ids: dict[str, str]
) -> None:
    for name in ("garden", "yard"):
        (surest,) = grays(ask(url, f"/api/images/{ids[name]}/thumbnail"), 1)
        assert surest == pytest.approx(20 + 4 * 25, abs=4)  # gray levels tell a frame's number
        film = grays(ask(url, f"/api/images/{ids[name]}/film"), STRIP_FRAMES)
        assert film == pytest.approx([20 + 4 * number for number in range(0, 40, 5)], abs=4)
    wait_until(lambda: not decoders(house), what="the process ends when nobody waits for a picture")


def test_a_clip_is_sent_whole_and_in_parts(url: str, ids: dict[str, str], clips: dict[str, Path]) -> None:
    data, path = clips["garden"].read_bytes(), f"/api/images/{ids['garden']}/clip"
    whole = ask(url, path)
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, data, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    for wanted, expected in {"bytes=0-": data, "bytes=10-19": data[10:20], "bytes=-7": data[-7:]}.items():
        answer = part(url, path, wanted)
        begin = data.index(expected)
        assert (answer.status, answer.body) == (206, expected), wanted
        assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(data)}"
    beyond = part(url, path, f"bytes={len(data)}-")
    assert (beyond.status, beyond.body, beyond.headers["content-range"]) == (416, b"", f"bytes */{len(data)}")
    assert part(url, path, "bytes=0-4,8-9").status == 200
    assert part(url, path, "bytes=0-4", If_Range=whole.headers["etag"]).status == 206
    assert part(url, path, "bytes=0-4", If_Range='"another"').body == data
    head = ask(url, path, method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("bytes=2-4", (2, 5)),
        ("bytes=2-400", (2, 10)),
        ("bytes=-400", (0, 10)),
        ("Bytes= 9-9", (9, 10)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        (f"bytes={'9' * 4000}-", None),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-", None),
    ],
)
def test_a_range_is_read_as_it_is_written_and_passed_over_otherwise(
    text: str | None, expected: tuple[int, int] | None
) -> None:
    assert asked_part(text, 10) == expected


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_beyond_the_end_is_refused(text: str, size: int) -> None:
    with pytest.raises(UnsatisfiableError):
        asked_part(text, size)


def test_a_player_gets_so_much_at_a_time_and_a_download_as_much_as_it_asks_for(
    url: str, ids: dict[str, str], clips: dict[str, Path]
) -> None:
    """A paused player keeps no place; an interrupted download goes on where it ended."""
    data = clips["long"].read_bytes()
    clip, original = (f"/api/images/{ids['long']}/{name}" for name in ("clip", "original"))
    answer = part(url, clip, "bytes=5-")
    assert (answer.status, answer.body) == (206, data[5 : 5 + PART_BYTES])
    assert answer.headers["content-range"] == f"bytes 5-{4 + PART_BYTES}/{len(data)}"
    rest = part(url, original, "bytes=7000-")
    assert (rest.status, rest.body) == (206, data[7000:])
    assert rest.headers["content-disposition"].startswith("attachment")


def test_a_clip_that_gives_no_picture_is_asked_once_and_troubles_nobody(
    house: House, url: str, ids: dict[str, str]
) -> None:
    for name in ("broken", "huge"):
        for path in ("thumbnail", "film", "film"):
            answer = ask(url, f"/api/images/{ids[name]}/{path}")
            assert (answer.status, "no picture" in answer.json()["error"]) == (404, True), name
    shutil.copyfile(PHOTOS[0], house.inbox / "photo.jpg")
    wait_until(lambda: house.finished() == 1)
    assert "Traceback" not in house.daemon_log()


def test_what_is_no_clip_of_a_record_is_not_played(house: House, url: str, ids: dict[str, str]) -> None:
    """A page under a clip's name, a link and another file of the same name are none of the daemon's."""
    lies = house.processed / "yard" / "yard.avi"
    path, data = f"/api/images/{ids['yard']}/clip", lies.read_bytes()
    stat = lies.stat()
    assert ask(url, path).headers["content-type"] == "video/vnd.avi"
    try:
        lies.write_bytes(b"<script>".ljust(stat.st_size))
        os.utime(lies, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        page = ask(url, path)
        assert (page.status, page.json()["error"]) == (404, "no picture available: it is no clip")
        lies.write_bytes(data + b"more")
        assert ask(url, path).status == 404
        lies.unlink()
        lies.symlink_to("/dev/zero")
        assert ask(url, path).status == 404
        assert ask(url, f"/api/images/{ids['yard']}/original").status == 404
    finally:
        lies.unlink()
        lies.write_bytes(data)
        os.utime(lies, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    shutil.copyfile(PHOTOS[1], house.inbox / "another.jpg")
    wait_until(lambda: any(each["image_path"] == "another.jpg" for each in house.records()))
    photo = next(each for each in house.records() if each["image_path"] == "another.jpg")
    for name in ("clip", "film"):
        assert ask(url, f"/api/images/{photo['id']}/{name}").status == 404
        assert ask(url, f"/api/images/{'0' * 32}/{name}").status == 404


def test_a_clip_takes_the_token(tmp_path: Path, clips: dict[str, Path]) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    settings = {"web": {"listen": "127.0.0.1:0", "token_file": str(file)}}
    with showing(tmp_path, [clips["garden"]], **settings) as house:
        url, bearer = address(house), {"Authorization": f"Bearer {TOKEN}"}
        (record,) = ask(url, "/api/results", headers=bearer).json()["results"]
        for name in ("clip", "film", "thumbnail"):
            path = f"/api/images/{record['id']}/{name}"
            assert ask(url, path).status == 401
            assert ask(url, path, headers=bearer).status == 200


def test_a_clip_that_is_read_by_many_costs_little_memory(
    house: House, url: str, ids: dict[str, str], clips: dict[str, Path]
) -> None:
    lies, size = house.processed / "long" / "long.mp4", clips["long"].stat().st_size
    assert lies.stat().st_size == size
    before = _highest_memory(house)
    for _ in range(8):
        assert len(ask(url, f"/api/images/{ids['long']}/clip").body) == size
    assert _highest_memory(house) - before < size


def _highest_memory(house: House) -> int:
    assert house.process
    lines = Path(f"/proc/{house.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def strip(pictures: ClipPictures, path: Path) -> bytes:
    """Ask for the film of what lies there, whatever it is, as of one clip."""
    clip = clip_of(json.dumps(clip_record("garden/garden.mp4", Path(__file__).stat())).encode())
    assert clip

    def work(decoder: ClipDecoder) -> bytes:
        with open_named(path) as file:
            return strip_by(decoder, file, clip, max_pixels=10**6)

    return asyncio.run(pictures.make("one", work))


def test_a_clip_that_takes_too_long_for_a_picture_has_none_and_is_not_tried_again(
    clips: dict[str, Path],
) -> None:
    pictures = ClipPictures(ClipBounds(seconds=0.0))
    try:
        for path in (clips["garden"], Path("/nonexistent")):  # which is not looked at any more
            with pytest.raises(ImageError, match="takes more than the limit"):
                strip(pictures, path)
    finally:
        pictures.close()


def test_to_stop_waits_for_no_film(clips: dict[str, Path]) -> None:
    pictures, stopped = ClipPictures(), threading.Event()

    def stop_in_the_middle() -> None:
        wait_until(lambda: pictures.pid is not None)
        os.kill(pictures.pid or 0, signal.SIGSTOP)
        pictures.close()
        stopped.set()

    threading.Thread(target=stop_in_the_middle, daemon=True).start()
    with pytest.raises(DropsightError):
        strip(pictures, clips["garden"])
    assert stopped.wait(60)
