"""From bytes to framed, upright pixels."""

import io
import os
import socket
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from daemons import SAMPLES
from dropsight.errors import ImageError
from dropsight.images import decoding, excess, jpeg
from dropsight.images.decoding import decode, decode_and_judge, upright
from dropsight.images.excess import inflated_once
from dropsight.images.framing import CROP_FRACTION, Pixels, crop_size, frame, resize
from dropsight.images.header import LITTER_BYTES, check_bounds, read_header
from dropsight.images.jpeg import MOST_MISSING, Decoded
from dropsight.images.opening import Bounds, open_image
from dropsight.images.views import VIEWS, views
from dropsight.records import Resize
from hostile import (
    INTERLACING,
    chunk,
    jpeg_with_empty_scans,
    large_progressive,
    photo,
    png_of,
    png_with_excess,
    png_with_heavy_exif,
    png_with_texts,
    tiff_with_a_tile,
    tiff_with_two_sizes,
    webp_with_a_canvas,
)

ANY = (1, 1)


def gradient(height: int = 40, width: int = 60) -> Pixels:
    """Red grows to the right, green downwards, blue is constant: every turn of it shows."""
    red = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    green = np.broadcast_to(np.linspace(0, 255, height)[:, np.newaxis], (height, width))
    return np.stack([red, green, np.full((height, width), 60)], axis=-1).astype(np.uint8)


def encoded(suffix: str, picture: np.ndarray) -> bytes:
    """`picture` in OpenCV's order of channels."""
    return cv2.imencode(suffix, picture)[1].tobytes()


def full_size(data: bytes) -> Pixels:
    return decode(data, read_header(data), at_least=(10_000, 10_000), how="stretch")


def judged(data: bytes) -> Decoded:
    return decode_and_judge(data, read_header(data), scale=1)


def whole_or_raise(data: bytes) -> Pixels:
    pixels, damage = judged(data)
    if damage and damage.missing > MOST_MISSING:
        raise damage.error()
    return pixels


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with this one tag behind the start of image."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_every_format_gives_the_same_rgb_picture(suffix: str) -> None:
    picture = gradient()
    found = full_size(encoded(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)))
    assert found.shape == picture.shape
    assert np.abs(found.astype(int) - picture).mean() < 6


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".jpg"])
def test_gray_becomes_three_equal_channels(suffix: str) -> None:
    found = full_size(encoded(suffix, gradient()[:, :, 0]))
    assert found.shape == (40, 60, 3)
    assert (found[:, :, 0] == found[:, :, 2]).all()


def test_alpha_is_dropped_and_the_colours_stay() -> None:
    colours = cv2.cvtColor(gradient(), cv2.COLOR_RGB2BGRA)
    colours[:, :, 3] = 100
    assert np.array_equal(full_size(encoded(".png", colours)), gradient())


def test_a_tiff_keeps_the_colours_that_are_not_multiplied_by_its_alpha() -> None:
    into = io.BytesIO()
    Image.fromarray(np.dstack([gradient(), np.full((40, 60), 200, np.uint8)])).save(into, "TIFF")
    assert read_header(into.getvalue()).straight_alpha
    found = full_size(into.getvalue())
    assert found.shape == (40, 60, 3)
    assert np.abs(found.astype(int) - gradient()).max() <= 1


@pytest.mark.parametrize("bits", [32, 64])
def test_a_tiff_with_alpha_of_more_than_16_bits_is_refused_by_its_header(bits: int) -> None:
    """Only with alpha OpenCV reads it, and takes eight times what the header tells."""
    into = io.BytesIO()
    Image.new("RGBA", (40, 60)).save(into, "TIFF")
    data = into.getvalue().replace(struct.pack("<4H", 8, 8, 8, 8), struct.pack("<4H", *[bits] * 4))
    with pytest.raises(ImageError) as caught:
        read_header(data)
    assert caught.value.code == "unsupported_format"


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_a_large_picture_comes_small_with_the_mean_of_the_pixels_of_each(suffix: str) -> None:
    """Whatever its format: of large ones several would be in memory at once, whole."""
    picture = gradient(3_001, 4_003)
    data = encoded(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    found = decode(data, read_header(data), at_least=(224, 224), how="crop")
    assert found.shape == (376, 501, 3)
    means = picture[:3_000, :4_000].reshape(375, 8, 500, 8, 3).mean(axis=(1, 3))
    assert np.abs(found[:375, :500] - means).max() <= 2
    assert (full_size(data) == picture).all()


def test_sixteen_bits_become_eight() -> None:
    deep = cv2.cvtColor(gradient(), cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    assert np.abs(full_size(encoded(".png", deep)).astype(int) - gradient()).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, "tl"), (2, "tr"), (3, "br"), (4, "bl"), (5, "tl"), (6, "tr"), (7, "br"), (8, "bl")],
)
def test_exif_orientation_is_honoured(orientation: int, corner: str) -> None:
    """The stored top left corner is black; the table of TIFF 6.0 says where a person sees it."""
    picture = gradient()
    data = with_orientation(encoded(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)), orientation)
    header = read_header(data)
    found = full_size(data)
    assert found.shape[:2] == header.upright[::-1]
    row, column = {"t": 0, "b": -1}[corner[0]], {"l": 0, "r": -1}[corner[1]]
    assert found[row, column, :2].max() < 40
    assert np.array_equal(found, upright(full_size(with_orientation(data, 1)), orientation))


# TIFF 6.0: how what a person is to see as it is lies in the file.
STORED: Mapping[int, Callable[[Pixels], Pixels]] = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_format_is_turned_upright_once(kind: str, orientation: int) -> None:
    """Some decoders turn by themselves, and some only where they are told to."""
    stored = np.ascontiguousarray(STORED[orientation](gradient()))
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"tiffinfo": {0x112: orientation}} if kind == "TIFF" else {"exif": exif}
    file = io.BytesIO()
    Image.fromarray(stored).save(file, kind, **options)
    found = full_size(file.getvalue())
    assert found.shape == gradient().shape
    assert np.abs(found.astype(int) - gradient()).mean() < 8


def photo_jpeg(*options: int) -> bytes:
    return cv2.imencode(".jpg", photo(), list(options))[1].tobytes()


def with_a_hole(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(400) + data[middle + 400 :]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (photo_jpeg()[: len(photo_jpeg()) // 2], "truncated", "of the picture is missing"),
        (photo_jpeg()[: len(photo_jpeg()) // 2] + b"\xff\xd9", "unreadable", "premature end"),
        (with_a_hole(photo_jpeg()), "unreadable", "damaged"),
        (photo_jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)[:4000] + b"\xff\xd9", "unreadable", "premature end"),
        (photo_jpeg().replace(b"\n", b"\r\n"), "unreadable", "damaged"),
    ],
)
def test_a_jpeg_of_which_data_is_missing_or_wrong_is_told_by_its_decoder(
    data: bytes, code: str, words: str
) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        whole_or_raise(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "warnings"),
    [
        (photo_jpeg()[:-2], ("no end-of-image marker",)),
        (photo_jpeg()[:-2] + bytes(500), ("no end-of-image marker",)),
        (b"\r\n" + photo_jpeg(), ("2 bytes before the picture",)),
        (b"\0\x80\xfe" + photo_jpeg(), ("3 bytes before the picture",)),
        (b"Content-Type: image/jpeg\r\n\r\n" + photo_jpeg(), ("28 bytes before the picture",)),
        (b"\n" * LITTER_BYTES + photo_jpeg(), ("1024 bytes before the picture",)),
        (photo_jpeg() + b"trailer" * 50, ()),
        (photo_jpeg()[:-2] + bytes(9) + b"\xff\xd9", ()),
    ],
)
def test_a_jpeg_that_lacks_only_its_end_or_has_a_little_before_its_start_is_a_picture(
    data: bytes, warnings: tuple[str, ...]
) -> None:
    assert read_header(data).warnings == warnings
    pixels, damage = judged(data)
    assert damage is None
    assert np.array_equal(pixels, full_size(photo_jpeg()))


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("colours", [0, 1])
def test_the_decoder_that_tells_of_damage_gives_opencv_s_pixels(
    scale: int, colours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = cv2.imencode(".jpg", photo() if colours else photo()[:, :, 0])[1].tobytes()
    size = (120 // scale, 160 // scale)
    ours = decode(data, read_header(data), at_least=size, how="stretch")
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert np.array_equal(ours, decode(data, read_header(data), at_least=size, how="stretch"))


@pytest.mark.parametrize("how", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (3040, 4056), (300, 300)])
def test_a_reduced_jpeg_is_never_smaller_than_its_framing_needs(how: Resize, size: tuple[int, int]) -> None:
    data = encoded(".jpg", np.zeros((*size, 3), np.uint8))
    found = decode(data, read_header(data), at_least=(224, 224), how=how)
    height, width = found.shape[:2]
    if how == "crop":
        assert min(crop_size(width, height, aspect=1, fraction=CROP_FRACTION)) >= 224
    elif how == "stretch":
        assert min(height, width) >= 224
    else:
        assert max(height, width) >= 224
    assert height < size[0] or size[0] < 600


def test_crop_takes_the_central_part_undistorted() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 50:150] = 200
    assert (frame(picture, height=50, width=50, how="crop") == 200).all()


@pytest.mark.parametrize("width", range(97, 105))
def test_the_framing_of_a_mirrored_picture_is_the_mirrored_framing(width: int) -> None:
    picture = np.random.default_rng(2).integers(0, 255, (101, width, 3), np.uint8)
    framed = frame(picture, height=32, width=32, how="crop").astype(int)
    mirrored = frame(np.ascontiguousarray(picture[:, ::-1]), height=32, width=32, how="crop").astype(int)
    assert np.abs(framed - mirrored[:, ::-1]).max() <= 1


def test_letterbox_shows_all_of_it_between_gray_bars() -> None:
    framed = frame(np.full((100, 200, 3), 200, np.uint8), height=50, width=50, how="letterbox")
    assert (framed[13:37] == 200).all()
    assert (framed[:12] == 127).all()
    assert (framed[-12:] == 127).all()


def test_stretch_shows_all_of_it_distorted() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, :100] = 200
    framed = frame(picture, height=50, width=50, how="stretch")
    assert (framed[:, :25] == 200).all()
    assert (framed[:, 25:] == 0).all()


def test_views_turn_counter_clockwise_in_the_documented_order() -> None:
    assert list(VIEWS) == ["original", "horizontal_flip", "vertical_flip", "rotate_90", "rotate_270"]
    square = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = [int(view[0, 0, 0]) for view in views(square, list(VIEWS))]
    assert found == [0, 3, 6, 3, 6]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"8BPS" + bytes(20), "unsupported_format"),
        (bytes(4) + b"ftypavis" + bytes(20), "unsupported_format"),
        (b"GIF89a" + bytes(20), "unreadable"),
        (bytes(4) + b"ftypheic" + bytes(20), "truncated"),
        (b"hello, I am a text", "not_an_image"),
        (b"\x89PNG", "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x10", "truncated"),
    ],
)
def test_what_is_no_picture_gets_its_code(data: bytes, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_header(data)
    assert caught.value.code == code


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("sixteenths", range(1, 16))
def test_a_truncated_file_is_refused_not_half_read(suffix: str, sixteenths: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (80, 80, 3), np.uint8)
    data = encoded(suffix, noise)
    with pytest.raises(ImageError) as caught:
        whole_or_raise(data[: len(data) * sixteenths // 16])
    assert caught.value.code in {"truncated", "unreadable"}


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    ihdr = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr + bytes(4)
    end = struct.pack(">I", 0) + b"IEND" + bytes(4)
    with pytest.raises(ImageError) as caught:
        check_bounds(read_header(bomb + end), Bounds())
    assert caught.value.code == "too_many_pixels"


def test_tags_that_nobody_asked_for_take_no_memory_and_long_texts_little() -> None:
    """Nine hundred tags of nearly a million values each took gigabytes before any bound was looked at."""
    data = png_with_heavy_exif(tags=900, values=900_000)
    tracemalloc.start()
    read_header(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(data) + 2**20


def test_of_a_size_that_a_tiff_gives_twice_the_first_counts_for_the_bound_and_for_the_decoder() -> None:
    data = tiff_with_two_sizes()
    assert read_header(data).upright == (64, 64)
    assert full_size(data).shape == (64, 64, 3)


@pytest.mark.parametrize(("scans", "refused"), [(50, False), (64, True)])
def test_the_scans_of_a_progressive_jpeg_have_a_bound(scans: int, *, refused: bool) -> None:
    """Each costs a pass over the whole picture, however few bytes it has."""
    data = jpeg_with_empty_scans(scans)
    with pytest.raises(ImageError, match="and more than 64 scans") if refused else nullcontext():
        assert read_header(data).width == 160


@pytest.mark.slow
def test_the_larger_a_progressive_jpeg_is_the_fewer_scans_it_may_have() -> None:
    """No fewer than encoders write; 64 of a hundred megapixels took a worker 25 s."""
    assert read_header(large_progressive(8_000, scans=4)).width == 8_000
    with pytest.raises(ImageError, match="of this size and more than 22 scans"):
        read_header(large_progressive(8_000, scans=30))


def test_a_png_writes_no_line_into_our_log(capfd: pytest.CaptureFixture[str]) -> None:
    """The decoder tells of each odd chunk, and of a profile that is too short by its own name."""
    whole = encoded(".png", gradient())
    name = b"\x1b[31mX\n12:00:00 ERROR the disk is gone"
    profiled = whole[:33] + chunk(b"iCCP", name + b"\0\0" + zlib.compress(bytes(100_000))) + whole[33:]
    odd = [b"\0\0\0\x03" + kind + bytes(7) for kind in (b"tEXt", b"gAMA", b"abCD", b"fdAT")]
    crowded = whole[:33] + b"".join(odd) * 9 + whole[33:]
    for each in (profiled, crowded):
        np.testing.assert_array_equal(full_size(each), full_size(whole))
    assert capfd.readouterr().err == ""


def test_what_a_png_needs_beside_its_data_is_kept() -> None:
    for transparency in (None, bytes(range(256))):
        indexed, extra = io.BytesIO(), {} if transparency is None else {"transparency": transparency}
        Image.fromarray(gradient()).quantize(200).save(indexed, "PNG", dpi=(72, 72), **extra)
        wanted = cv2.imdecode(np.frombuffer(indexed.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(full_size(indexed.getvalue())[:, :, ::-1], np.asarray(wanted))


@pytest.mark.slow
def test_a_png_s_texts_and_what_follows_its_last_row_have_a_bound() -> None:
    """Each text is inflated to 8 MB wanted or not, and so is all behind the picture: minutes of a worker."""
    assert full_size(png_with_texts(32)).shape == (120, 160, 3)
    with pytest.raises(ImageError, match="more than 32 texts"):
        read_header(png_with_texts(33))
    with pytest.raises(ImageError, match="more data than its picture has"):
        full_size(png_with_excess(1_000))


@pytest.mark.parametrize(("colours", "bits"), [(0, 1), (0, 16), (2, 8), (3, 4), (4, 8), (6, 16)])
def test_no_sound_png_has_more_data_than_its_picture(colours: int, bits: int) -> None:
    """Not the interlaced ones either, whose rows are more than the picture's."""
    widths = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours] * bits
    for width, height in ((1, 40_000), (900, 700)):
        sizes = [
            (-(-(width - left) // right), -(-(height - top) // down))
            for top, left, down, right in INTERLACING
        ]
        for parts in ([(width, height)], [size for size in sizes if min(size) > 0]):
            length = sum((1 + -(-across * widths // 8)) * down for across, down in parts)
            data = png_of(width, height, zlib.compress(os.urandom(length), 0), interlaced=len(parts) > 1)
            data = data[:24] + bytes([bits, colours]) + data[26:]
            assert len(inflated_once(data, room=2**24)) > length


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_that_is_stored_after_its_check_has_the_same_pixels(mode: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (700, 900, 4), np.uint8)
    picture = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(pixels[:, :, :2].copy().view(np.uint16)[:, :, 0])
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = file.getvalue()
    stored = inflated_once(data, room=2**24)
    assert len(stored) > len(picture.tobytes())
    wanted, found = (
        np.asarray(cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED))
        for each in (data, stored)
    )
    np.testing.assert_array_equal(found, wanted)
    for each, room in ((data[:-4_000], 2**24), (data, 2**19)):
        assert inflated_once(each, room=room) is each


@given(
    seed=st.integers(0, 9),
    level=st.integers(0, 9),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    length=st.floats(0.5, 1),
)
@settings(max_examples=60)
def test_the_faster_inflater_takes_what_zlib_takes_and_no_more(
    seed: int, level: int, changes: list[tuple[float, int]], length: float
) -> None:
    """What it alone refused would come to libpng unbounded; what it alone took, whole though it is not."""
    rows = b"".join(b"\0" + bytes(row) for row in np.random.default_rng(seed).integers(0, 99, (70, 3 * 30)))
    compressed = bytearray(zlib.compress(rows, level))
    for place, value in changes:
        compressed[int(place * len(compressed))] = value
    data = png_of(30, 70, bytes(compressed[: int(length * len(compressed))]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(excess, "UNCHECKED_BYTES", 0)
        found = [inflated_once(data, room=2**24)]
        patch.setattr(excess, "fastest", zlib)
        found.append(inflated_once(data, room=2**24))
    assert [bytes(each) for each in found] == [bytes(found[0])] * 2


def test_what_the_faster_inflater_refuses_is_checked_by_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    picky = ModuleType("picky")
    vars(picky).update(vars(zlib) | {"error": ArithmeticError, "decompressobj": lambda: 1 / 0})
    monkeypatch.setattr(excess, "fastest", picky)
    with pytest.raises(ImageError, match="more data than its picture has"):
        inflated_once(png_with_excess(1_000), room=2**24)


def test_of_a_png_nothing_behind_the_end_of_its_data_is_looked_at() -> None:
    """Kept by the inflater and copied at each further chunk, it took minutes, in which no thread went on."""
    rows = b"".join(b"\0" + os.urandom(1_200) for _ in range(400))
    whole = png_of(400, 400, zlib.compress(rows, 0))
    data = whole[:-12] + chunk(b"IDAT", bytes(3_200)) * 500 + whole[-12:]
    tracemalloc.start()
    assert inflated_once(data, room=0) is data
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert len(inflated_once(data, room=2**20)) < len(whole) + 4_000


def test_a_side_that_no_decoder_takes_is_said_before_one_is_asked(capfd: pytest.CaptureFixture[str]) -> None:
    longest, beyond = (png_of(1, side, zlib.compress(bytes(4 * side))) for side in (1_000_000, 1_000_001))
    assert full_size(longest).shape == (1_000_000, 1, 3)
    with pytest.raises(ImageError, match="1 x 1000001 pixels: decoders take 1,000,000 a side at most"):
        check_bounds(read_header(beyond), Bounds())
    assert capfd.readouterr().err == ""


def test_tiles_and_canvases_count_as_much_as_the_picture_in_them() -> None:
    """A decoder makes room for them whole: a gigabyte, for 64 x 64 pixels in a kilobyte."""
    for data in (tiff_with_a_tile(15_008), tiff_with_a_tile(15_008, 16), webp_with_a_canvas(7_000)):
        with pytest.raises(ImageError, match="cannot be decoded small"):
            check_bounds(read_header(data), Bounds())


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jpg"
    if kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert caught.value.code == "not_a_file"


def test_a_file_beyond_the_bounds_or_empty_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    for size, code in ((0, "empty"), (11, "too_large")):
        path.write_bytes(bytes(size))
        with open_image(path) as file, pytest.raises(ImageError) as caught:
            file.read(Bounds(max_bytes=10))
        assert caught.value.code == code


@pytest.mark.parametrize("sides", [(236, 236), (420, 420), (332, 449), (246, 315), (224, 448), (300, 700)])
@pytest.mark.parametrize("photo", ["coffee.jpg", "koala.jpg"])
def test_shrinking_is_by_area_to_within_a_grey_level(photo: str, sides: tuple[int, int]) -> None:
    picture = cv2.imread(str(SAMPLES / photo))
    assert picture is not None
    pixels = cv2.resize(picture, sides, interpolation=cv2.INTER_AREA).astype(np.uint8)
    by_area = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA)
    difference = np.abs(resize(pixels, height=224, width=224).astype(int) - by_area)
    assert difference.mean() < 0.75
    assert np.mean(difference > 8) < 0.002


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_jpegs_decode_alike_with_and_without_a_decoder_that_gives_rgb(
    monkeypatch: pytest.MonkeyPatch, reduction: int
) -> None:
    """OpenCV before 4.11 gives BGR only."""
    data = (SAMPLES / "coffee.jpg").read_bytes()
    header = read_header(data)
    height, width = header.height // reduction, header.width // reduction
    direct = decode(data, header, at_least=(height, width), how="stretch")
    monkeypatch.setattr(decoding, "_AS_RGB", 0)
    assert np.array_equal(decode(data, header, at_least=(height, width), how="stretch"), direct)
    assert height <= direct.shape[0] <= height + 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_thermal_picture_keeps_its_range_where_the_config_asks(suffix: str) -> None:
    """Of 16 bits a thermal camera uses a few hundred levels around the temperature of the room."""
    seen = gradient()[:, :, 0]
    data = encoded(suffix, (7_800 + seen.astype(np.uint16) * 2).astype(np.uint16))
    header = read_header(data)
    assert header.deep
    assert np.ptp(full_size(data)) <= 3
    stretched = decode(data, header, at_least=(40, 60), how="stretch", depth="percentile")
    assert stretched.shape == (40, 60, 3)
    assert np.abs(stretched[:, :, 0].astype(int) - seen).mean() < 8
    flat = encoded(suffix, np.full((40, 60), 7_800, np.uint16))
    assert np.ptp(decode(flat, read_header(flat), at_least=(40, 60), how="stretch", depth="percentile")) == 0
