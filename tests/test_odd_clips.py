"""Clips that are not as clips are: of hours, of two sizes, of a cover alone."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clips import make_clip, number_of, numbered
from daemons import PHOTOS, ROOT
from dropsight.errors import ImageError
from dropsight.images.opening import open_named
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.sniffing import is_clip
from dropsight.video.wire import ClipEnd, ClipFrame, ClipHeader, ClipOrder, Frames

ORDER = ClipOrder(Sampling(), Frames((64, 96), "stretch", 1.0), 10**8, 60.0, whole_only=True)

FRONT = {"mp4": {"movflags": "faststart"}}


def parts_of(path: Path) -> tuple[ClipHeader, list[ClipFrame], ClipEnd]:
    with ClipDecoder(ClipBounds()) as decoder, open_named(path) as file:
        header, *frames, end = decoder.decode(file, ORDER)
    assert isinstance(header, ClipHeader)
    assert isinstance(end, ClipEnd)
    return header, [each for each in frames if isinstance(each, ClipFrame)], end


def test_a_clip_of_four_hours_is_seen_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "day.mkv", numbered(48), rate=Fraction(1, 300), gop=1)
    header, frames, _ = parts_of(clip)
    assert header.duration == 4 * 3600
    assert (frames[0].time, frames[-1].time) == (0.0, 47 * 300.0)


def test_a_stream_whose_size_changes_is_seen_in_both(tmp_path: Path) -> None:
    """As a camera sends it that is set to another resolution while it records."""
    small = make_clip(tmp_path / "small.h264", numbered(25), rate=25).read_bytes()
    large = make_clip(tmp_path / "large.h264", numbered(50, height=128, width=192)[25:], rate=25).read_bytes()
    both = tmp_path / "both.h264"
    both.write_bytes(small + large)
    _, frames, _ = parts_of(both)
    assert {(each.height, each.width) for each in frames} == {(64, 96)}
    shown = [number_of(pixels(each)) for each in frames if each.pixels]
    assert min(shown) < 25 <= max(shown)


@pytest.mark.parametrize("kind", ["avi", "mp4", "mkv"])
def test_a_clip_whose_camera_left_frames_out_is_whole_and_cut_off_is_not(tmp_path: Path, kind: str) -> None:
    """As in the dark, or where its disk is slow: an AVI counts those, too, and was truncated for that."""
    random = np.random.default_rng(7)
    noise = [random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(120)]
    out = {number for number in range(120) if number % 10 > 5}
    clip = make_clip(tmp_path / f"dark.{kind}", noise, left_out=out, container_options=FRONT.get(kind))
    header, _, end = parts_of(clip)
    assert (header.frames, end.warnings) == (72, ())
    assert header.duration == pytest.approx(11.6)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(ImageError) as found:
        parts_of(clip)
    assert found.value.code == "truncated"


@pytest.mark.parametrize(
    ("kind", "codec", "note"),
    [("h264", "libx264", "06 05 01 00 80"), ("h265", "libx265", "4e 01 05 01 00 80")],
)
def test_a_raw_stream_that_begins_with_a_note_is_a_clip(
    tmp_path: Path, kind: str, codec: str, note: str
) -> None:
    """As FFmpeg copies it out of an MP4: it was no image."""
    clip = make_clip(tmp_path / f"raw.{kind}", numbered(20), codec=codec)
    clip.write_bytes(bytes.fromhex("00 00 00 01" + note) + clip.read_bytes())
    assert is_clip(clip.read_bytes())
    assert parts_of(clip)[0].frames >= 20


def pixels(frame: ClipFrame) -> np.ndarray:
    return np.frombuffer(frame.pixels or b"", np.uint8)


def test_sound_with_a_cover_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "song.mkv"
    with av.open(str(path), "w") as made:
        stream = made.add_stream("aac", rate=8000)
        made.add_attachment("cover.jpg", "image/jpeg", PHOTOS[0].read_bytes())
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        quiet.sample_rate = 8000
        for packet in (*stream.encode(quiet), *stream.encode()):
            made.mux(packet)
    with pytest.raises(ImageError) as found:
        parts_of(path)
    assert found.value.code == "not_an_image"


def test_a_stream_that_the_header_does_not_name_costs_no_frame() -> None:
    header, frames, end = parts_of(ROOT / "tests" / "corpus" / "clips" / "late-stream.flv")
    assert (header.frames, end.frames_read, len(frames)) == (9, 2, 2)  # two of the nine are keyframes


def test_a_transport_stream_is_read_beyond_a_damaged_place() -> None:
    """What reads it asks for another try there: taken for the machine's trouble, it waited for ever."""
    header, frames, _ = parts_of(ROOT / "tests" / "corpus" / "clips" / "damaged-stream.ts")
    assert (header.frames, frames[-1].time) == (11, 1.0)
