"""The newest picture of each camera, and what the model sees of it: for `check`."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dropsight.commands.following import last_lines
from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError, ImageError
from dropsight.images.framing import Pixels, resize
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail_of
from dropsight.inference.planning import Plan
from dropsight.inference.seen import drawn, mask_misfit, seen_in_words
from dropsight.records import Result, burst_in
from dropsight.records import decode as record_of
from dropsight.video.decoder import ClipDecoder
from dropsight.web.pictures import SIZES, find_of_record, pixels_of
from dropsight.web.stills import STILL_BOUNDS, clip_of, surest

LOOKED_AT = 2000
"""So many of the newest results."""
MOST_DRAWN = 12
_TILE_PIXELS, _TITLE_PIXELS = 960, 40


class LastPicture(NamedTuple):
    """The newest of a camera, at a size for people; `width` and `height` are its own."""

    camera: str
    width: int
    height: int
    pixels: Pixels


def last_pictures(config: Config) -> list[LastPicture]:
    """Return those that are still there, of the cameras of the newest results; raises OSError."""
    newest: dict[str, tuple[Result, bytes]] = {}
    with contextlib.suppress(DropsightError):  # no log yet
        for line in last_lines(config.log.path, last=LOOKED_AT, follow=False):
            record = record_of(line)
            if isinstance(record, Result) and not burst_in(record):
                newest[record.camera] = record, line
    found = (_picture(*newest[camera], config) for camera in sorted(newest))
    return [each for each in found if each]


def _picture(record: Result, line: bytes, config: Config) -> LastPicture | None:
    bounds = Bounds(config.limits.max_bytes, config.limits.max_pixels, damaged_too=True)
    try:
        with find_of_record(record, config.watch) as file:
            if clip := clip_of(line):
                with ClipDecoder(STILL_BOUNDS) as decoder:
                    data = surest(
                        decoder, file, clip, longest=SIZES["large"], max_pixels=config.limits.max_pixels
                    )
            else:
                data = thumbnail_of(file, bounds, longest=SIZES["large"])
    except (ImageError, FileNotFoundError):
        return None
    return LastPicture(record.camera, record.image.width, record.image.height, pixels_of(data))


def in_words(plan: Plan, pictures: Sequence[LastPicture]) -> Iterator[str]:
    """Yield a line for all cameras of whose pictures the same is seen."""
    cameras: dict[str, list[str]] = {}
    for each in pictures:
        words = seen_in_words(plan.of(each.camera), each.width, each.height)
        cameras.setdefault(words, []).append(f"{each.camera} ({each.width} x {each.height})")
    for words, names in cameras.items():
        yield f"{', '.join(names)}: {words}"


def doubts(plan: Plan, pictures: Sequence[LastPicture]) -> Iterator[str]:
    """Yield a line for what of the config fits no picture."""
    known: Mapping[str, LastPicture] = {each.camera: each for each in pictures}
    for camera, sight in plan.sights.items():
        if camera not in known:
            there = f"; there are pictures of {', '.join(known)}" if known else ""
            yield f"cameras.{camera}: no picture of such a camera among the newest results{there}"
        elif sight.mask and (misfit := mask_misfit(sight.mask, known[camera].width, known[camera].height)):
            yield f"cameras.{camera}.mask: {misfit}"


def check_kind(file: Path) -> None:
    """Raise ConfigError for a file's name that tells no kind of picture."""
    if not file.suffix or not cv2.haveImageWriter(str(file)):
        raise ConfigError([f"{file}: not a supported picture format; name it .jpg or .png"])


def draw(file: Path, plan: Plan, pictures: Sequence[LastPicture]) -> bytes:
    """Return a picture of what is seen of each, of the kind of the file's name; raises DropsightError."""
    tiles = [_tile(plan.of(each.camera), each) for each in pictures[:MOST_DRAWN]]
    columns = 1 if len(tiles) == 1 else 2
    tall = max(tile.shape[0] for tile in tiles)
    filled = [np.pad(tile, ((0, tall - tile.shape[0]), (0, 0), (0, 0))) for tile in tiles]
    filled += [np.zeros_like(filled[0])] * (-len(filled) % columns)
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    done, encoded = cv2.imencode(file.suffix, cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    if not done:
        raise DropsightError(f"{file}: the picture cannot be encoded")
    return encoded.tobytes()


def _tile(plan: Plan, picture: LastPicture) -> Pixels:
    scale = _TILE_PIXELS / picture.pixels.shape[1]
    height = max(round(picture.pixels.shape[0] * scale), 1)
    shown = drawn(plan, resize(picture.pixels, height=height, width=_TILE_PIXELS))
    title = np.full((_TITLE_PIXELS, _TILE_PIXELS, 3), 24, np.uint8)
    words = seen_in_words(plan, picture.width, picture.height)
    text = f"{picture.camera}: {words}"
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
    size = 0.55 * min((_TILE_PIXELS - 24) / width, 1.0)
    cv2.putText(title, text, (12, 26), cv2.FONT_HERSHEY_SIMPLEX, size, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([title, shown])
