"""Hostile and rare forms of what people drop: tiles, gray, many frames, sizes that are not true."""

import io
import resource
import struct
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from dropsight import children
from dropsight.errors import ImageError, MemoryShortError
from dropsight.images import apart, av1, heif
from dropsight.images.decoding import decode, is_large
from dropsight.images.framing import Pixels
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds
from hostile import photo

pillow_heif.register_heif_opener()
KINDS: dict[str, dict[str, Any]] = {
    "heic": {"format": "HEIF"},
    "tiled.heic": {"format": "HEIF", "tile_size": 64},
    "avif": {"format": "AVIF"},
    "gif": {"format": "GIF"},
    "jp2": {"format": "JPEG2000"},
    "j2k": {"format": "JPEG2000", "no_jp2": True},
}


def picture() -> Image.Image:
    return Image.fromarray(photo()[:, :, ::-1])


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def ours(data: bytes) -> Pixels:
    header = read_header(data)
    check_bounds(header, Bounds())
    return decode(data, header, at_least=(10_000, 10_000), how="stretch")


def theirs(data: bytes) -> Pixels:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"))


def code_of(data: bytes) -> str:
    try:
        ours(data)
    except ImageError as error:
        return error.code
    return "ok"


def test_a_heic_that_comes_while_pip_upgrades_its_decoder_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apart, "find_spec", lambda _: None)
    assert ours(saved(picture(), **KINDS["heic"])).shape[2] == 3


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, "RGB") for name in KINDS), ("heic", "L"), ("avif", "L"), ("jp2", "L"), ("j2k", "L")],
)
def test_what_people_drop_has_the_pixels_that_pillow_sees(name: str, mode: str) -> None:
    data = saved(picture().convert(mode), **KINDS[name])
    found, expected = ours(data).astype(int), theirs(data)
    assert found.shape == expected.shape == (120, 160, 3)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_phone_s_picture_of_tiles_is_upright_and_its_header_tells_when_it_was_taken(
    orientation: int,
) -> None:
    exif = Image.Exif()
    exif[0x112], exif[0x132] = orientation, "2024:05:06 07:08:09"
    image = picture()
    image.info["exif"] = exif.tobytes()
    data = saved(image, **KINDS["tiled.heic"])
    header = read_header(data)
    assert (header.orientation, header.captured) == (orientation, "2024-05-06T07:08:09Z")
    found, expected = ours(data), theirs(data)
    assert header.upright == (found.shape[1], found.shape[0])
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_of_an_animation_the_first_frame_is_taken_however_many_follow() -> None:
    frames = [Image.new("P", (64, 48), number % 256) for number in range(2)]
    data = saved(picture().quantize(64).resize((64, 48)), format="GIF", save_all=True, append_images=frames)
    second = data.find(b"\x21\xf9", data.find(b"\x2c"))
    many = data[:second] + data[second:-1] * 5_000 + b";"
    assert np.array_equal(ours(many), theirs(data))


@pytest.mark.parametrize("name", KINDS)
def test_a_dropped_picture_that_is_cut_anywhere_is_truncated(name: str) -> None:
    data = saved(picture(), **KINDS[name])
    assert {code_of(data[: len(data) * part // 16]) for part in range(1, 16)} == {"truncated"}


def with_sizes(data: bytes, width: int, height: int) -> bytes:
    """Claim these sizes in the boxes of a HEIF file."""
    place = data.find(b"ispe")
    while place > 0:
        data = data[: place + 8] + struct.pack(">II", width, height) + data[place + 16 :]
        place = data.find(b"ispe", place + 4)
    return data


def test_a_picture_larger_inside_than_it_claims_is_refused() -> None:
    """Of one kilobyte a decoder made eight hundred megabytes."""
    flat = Image.new("RGB", (600, 600), (90, 120, 30))
    header = read_header(with_sizes(saved(flat, format="AVIF"), 64, 48))
    assert header.whole_bytes >= 600 * 600 * 6
    with pytest.raises(ImageError):
        check_bounds(header, Bounds(max_pixels=64 * 48))
    assert code_of(with_sizes(saved(flat, format="HEIF"), 64, 48)) == "too_many_pixels"


def many_items(data: bytes) -> bytes:
    place = data.find(b"iloc")
    return data[: place + 10] + b"\xff\xff" + data[place + 12 :]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b"\x21\xfe" + b"\1a" * 400_000, "unreadable"),
        (many_items(saved(picture(), format="AVIF")), "truncated"),
        (
            struct.pack(">I", 16) + b"ftypheic" + bytes(4) + struct.pack(">I4s", 8, b"free") * 9_000,
            "unreadable",
        ),
        (struct.pack(">I", 16) + b"ftypheic" + bytes(4) + struct.pack(">I4s", 4, b"meta"), "unreadable"),
    ],
)
def test_endless_structures_are_given_up(data: bytes, code: str) -> None:
    assert code_of(data) in {code, "unreadable"}


def test_jpeg_2000_of_too_many_tiles_is_refused() -> None:
    data = bytearray(saved(picture(), **KINDS["j2k"]))
    data[24:32] = struct.pack(">II", 1, 1)
    assert code_of(bytes(data)) == "unreadable"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_properties_that_are_said_of_pictures_again_and_again_are_given_up() -> None:
    """Each of these boxes was read on into all that follows, by reckoning an hour for a megabyte."""
    data = saved(picture(), format="AVIF")
    place = data.index(b"ipco") - 4
    size = struct.unpack_from(">I", data, place)[0]
    said = struct.pack(">I4sII", 16, b"ipma", 0, 4_000) * 4_000
    iprp = box(b"iprp", data[place : place + size] + said)
    start = data.index(b"iprp") - 4
    (old,) = struct.unpack_from(">I", data, start)
    data = data[:start] + iprp + data[start + old :]
    meta = data.index(b"meta") - 4
    (old_meta,) = struct.unpack_from(">I", data, meta)
    data = data[:meta] + struct.pack(">I", old_meta + len(iprp) - old) + data[meta + 4 :]
    with pytest.raises(ImageError, match="more than 5000 pieces"):
        read_header(data + box(b"free", (b"\xff" * 258) * 4_000))


@pytest.mark.parametrize("times", [1, 9])
def test_of_an_avif_far_more_is_not_coded_than_is_shown(times: int) -> None:
    """A decoder goes through all frames, and all tiles however large they are."""
    data = saved(Image.new("RGB", (600, 600), (90, 120, 30)), format="AVIF")
    found = heif.heif(data, "avif")
    place = data.index(b"mdat") + 4
    units = data[place:]
    assert av1.coded(units).frames == 1
    longer = data[:place] + units * times
    data = longer.replace(struct.pack(">I", len(units)), struct.pack(">I", len(units) * times))
    if times == 1:
        assert heif.heif(data, "avif") == found
    else:
        with pytest.raises(ImageError, match="more is coded than is shown"):
            heif.heif(data, "avif")


def test_jpeg_2000_in_pieces_of_a_pixel_takes_the_memory_of_its_own_process_at_most() -> None:
    """Of 231 bytes a decoder made gigabytes, of which the header tells nothing."""
    size = struct.pack(">H8IH", 0, 3000, 3000, 0, 0, 3000, 3000, 0, 0, 1) + b"\7\1\1"
    coding, steps = b"\1\0\0\1\0\0\0\0\0\1\0", b"\x40\x40"
    data = b"\xff\x4f" + b"".join(
        marker + struct.pack(">H", 2 + len(content)) + content
        for marker, content in ((b"\xff\x51", size), (b"\xff\x52", coding), (b"\xff\x5c", steps))
    )
    body = b"\xff\x93" + bytes(64)
    data += b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 12 + len(body), 0, 1) + body + b"\xff\xd9"
    assert is_large(read_header(data), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(data) in {"unreadable", "too_many_pixels"}  # OpenCV may say nothing of memory
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("free", [True, False])
def test_a_jpeg_2000_for_which_the_machine_has_no_memory_waits(
    monkeypatch: pytest.MonkeyPatch, *, free: bool
) -> None:
    """OpenCV says that it decodes to no picture, as of a damaged one."""
    program = "import sys; from dropsight.images import apart\n"
    if not free:
        program += "def none(*_): raise MemoryError\napart.np.empty = none\n"
    program += "apart._jpeg2000 = lambda _: 1 / 0\n"
    program += "sys.exit(apart.main(['jp2', '6000000', '10', '1']))"
    monkeypatch.setattr(children, "command", lambda *_: [sys.executable, "-c", program])
    with pytest.raises(ImageError if free else MemoryShortError):
        apart.decode_apart(saved(picture(), format="JPEG2000"), "jp2", pixels=6_000_000)


@pytest.mark.slow
def test_a_jpeg_2000_that_takes_more_memory_than_its_process_may_have_is_not_called_damaged() -> None:
    """Where `limits` let it in; OpenCV says that it decodes to no picture, as of a damaged one."""
    whole = cv2.imencode(".jp2", np.full((8200, 8200, 3), 90, np.uint8))[1].tobytes()
    with pytest.raises(ImageError, match="more memory than the 1024 MiB for a jp2") as refused:
        apart.decode_apart(whole, "jp2", pixels=8200 * 8200)
    assert refused.value.code == "too_many_pixels"


@pytest.mark.slow
def test_what_takes_a_processor_longer_than_its_size_allows_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the only place for large pictures meanwhile."""
    noise = np.random.default_rng(1).integers(0, 256, (2500, 2500, 3), np.uint8)
    data = saved(Image.fromarray(noise), format="JPEG2000")
    monkeypatch.setattr(apart, "CPU_SECONDS", 0.0)
    monkeypatch.setattr(apart, "CPU_SECONDS_A_MEGAPIXEL", 0.0)
    with pytest.raises(ImageError, match="more than 0 s of a processor"):
        ours(data)


def test_an_opencv_without_a_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    no: Callable[[str], bool] = lambda name: False  # noqa: ARG005, E731
    monkeypatch.setattr(cv2, "haveImageWriter", no)
    with pytest.raises(ImageError, match="cannot decode avif"):
        ours(saved(picture(), format="AVIF"))
