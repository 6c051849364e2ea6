"""What phones and browsers write beside JPEG and PNG: HEIC, AVIF, GIF and JPEG 2000."""

import io
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from daemons import PHOTOS, House, dropsight
from dropsight.errors import ImageError
from dropsight.images.apart import decode_apart
from dropsight.images.decoding import decode, is_large
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail

KINDS = {"heic": "HEIF", "avif": "AVIF", "gif": "GIF", "jp2": "JPEG2000"}
# Codecs are lossless here, or as good as that, but for the palette of GIF, which both decoders read.
APART = {"heic": 2.5, "avif": 2.5, "gif": 0.01, "jp2": 0.01}
pillow_heif.register_heif_opener()


def encoded(kind: str, image: Image.Image, **how: object) -> bytes:
    """Write it with Pillow."""
    file = io.BytesIO()
    if kind in {"heic", "avif"}:
        how.setdefault("quality", 100)
    image.save(file, KINDS[kind], **how)
    return file.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def by_us(data: bytes) -> NDArray[np.uint8]:
    return decode(data, read_header(data), at_least=(96, 96), how="stretch")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(PHOTOS[0]) as image:
        return image.convert("RGB").resize((96, 64))


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_pixels_are_those_that_pillow_finds(kind: str, photo: Image.Image) -> None:
    data = encoded(kind, photo)
    header = read_header(data)
    assert (header.format, header.width, header.height) == (kind, 96, 64)
    found, expected = by_us(data), by_pillow(data)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < APART[kind]


@pytest.mark.parametrize("kind", ["heic", "jp2"])
def test_what_a_process_of_its_own_decodes_comes_as_small_as_it_is_wanted(
    kind: str, photo: Image.Image
) -> None:
    data = encoded(kind, photo)
    found = decode(data, read_header(data), at_least=(16, 16), how="stretch")
    assert found.shape == (16, 24, 3)
    expected = by_pillow(data).reshape(16, 4, 24, 4, 3).mean(axis=(1, 3))
    assert np.abs(found - expected).max() <= 1


def test_a_phone_s_48_megapixels_are_within_the_usual_bounds(photo: Image.Image) -> None:
    """As a HEIC: measured, its decoder's process takes 280 MB, the daemon 5."""
    data = encoded("heic", photo)
    large = data.replace(struct.pack(">II", 96, 64), struct.pack(">II", 8064, 6048))
    header = read_header(large)
    assert (header.width, header.height) == (8064, 6048)
    check_bounds(header, Bounds())


@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_was_taken_sideways_is_upright(
    kind: str, orientation: int, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind, photo, exif=exif.tobytes())
    header, expected = read_header(data), by_pillow(data)
    assert header.upright == (expected.shape[1], expected.shape[0])
    assert np.abs(by_us(data).astype(int) - expected).mean() < APART[kind]


def test_the_time_of_a_heic_is_its_cameras(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2026:07:01 12:30:00"
    assert read_header(encoded("heic", photo, exif=exif.tobytes())).captured == "2026-07-01T12:30:00Z"


def test_the_first_frame_of_a_gif_is_what_it_shows(photo: Image.Image) -> None:
    frames = [photo, *(Image.new("RGB", photo.size, (number % 256, 0, 0)) for number in range(300))]
    data = encoded("gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.abs(by_us(data).astype(int) - by_pillow(data)).mean() < APART["gif"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_anywhere_is_told_and_decodes_to_nothing_else(kind: str, photo: Image.Image) -> None:
    data = encoded(kind, photo)
    for part in range(1, 16):
        with pytest.raises(ImageError) as found:
            by_us(data[: len(data) * part // 16])
        assert found.value.code in {"truncated", "unreadable"}


def test_sizes_are_bounded_before_anything_is_decoded(photo: Image.Image) -> None:
    gif = bytearray(encoded("gif", photo))
    struct.pack_into("<HH", gif, 6, 60_000, 60_000)
    jp2 = bytearray(encoded("jp2", photo))
    place = jp2.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">6I", jp2, place, 60_000, 60_000, 0, 0, 60_000, 60_000)
    many = bytearray(encoded("jp2", photo))
    struct.pack_into(">H", many, place + 32, 16_384)
    boxes = {}
    for kind in ("heic", "avif"):
        boxes[kind] = bytearray(encoded(kind, photo))
        struct.pack_into(">II", boxes[kind], boxes[kind].index(b"ispe") + 8, 60_000, 60_000)
    for data in (gif, jp2, boxes["heic"], boxes["avif"]):
        with pytest.raises(ImageError, match="60000 x 60000 pixels, more than the limit"):
            check_bounds(read_header(bytes(data)), Bounds())
    with pytest.raises(ImageError) as found:
        check_bounds(read_header(bytes(many)), Bounds(max_pixels=10_000_000))
    assert found.value.code == "too_many_pixels"


@pytest.mark.slow
def test_a_heic_that_is_larger_than_it_says_ends_its_own_process_at_most(photo: Image.Image) -> None:
    data = bytearray(encoded("heic", photo.resize((1024, 1024))))
    while (place := data.find(struct.pack(">II", 1024, 1024))) >= 0:
        struct.pack_into(">II", data, place, 8, 8)
    with pytest.raises(ImageError) as found:
        by_us(bytes(data))
    assert found.value.code in {"unreadable", "too_many_pixels"}


def test_one_heic_at_a_time_is_decoded_as_each_has_a_process(photo: Image.Image) -> None:
    assert is_large(read_header(encoded("heic", photo)), 1)
    assert not is_large(read_header(encoded("avif", photo)), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_thumbnails_of_them_are_made(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    (path := tmp_path / f"a.{kind}").write_bytes(encoded(kind, photo))
    with Image.open(io.BytesIO(thumbnail(str(path), Bounds(), longest=48))) as small:
        assert small.size == (48, 32)


@pytest.mark.slow
def test_the_daemon_takes_them_by_default_also_jpegs_under_other_names(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with Image.open(PHOTOS[0]) as image:
        for kind in KINDS:
            (house.inbox / f"photo.{kind}").write_bytes(encoded(kind, image.convert("RGB")))
    for suffix in ("jfif", "jpe", "mpo"):
        shutil.copy(PHOTOS[0], house.inbox / f"photo.{suffix}")
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    records = house.records()
    assert sorted(each["image"]["format"] for each in records) == sorted([*KINDS, "jpeg", "jpeg", "jpeg"])
    assert len({each["label"] for each in records}) == 1


def test_a_heic_without_pillow_heif_says_how_to_install_it(photo: Image.Image, tmp_path: Path) -> None:
    (path := tmp_path / "a.heic").write_bytes(encoded("heic", photo))
    program = (
        "import sys; sys.modules['pillow_heif'] = None; sys.argv[0] = 'dropsight';"
        "from dropsight.entry import main; main()"
    )
    command = [sys.executable, "-c", program, "classify", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HEIC needs pillow-heif" in done.stderr
    assert "install" in done.stderr


def test_batch_takes_a_folder_of_them(photo: Image.Image, tmp_path: Path) -> None:
    (folder := tmp_path / "photos").mkdir()
    for kind in KINDS:
        (folder / f"a.{kind}").write_bytes(encoded(kind, photo))
    assert dropsight("batch", str(folder), "-o", str(tmp_path / "results.json")).returncode == 0
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert len(results) == len(KINDS)
    assert all("label" in each for each in results)


def in_one_piece(data: bytes, more: int) -> bytes:
    """The same HEIC whose only piece is longer by so many bytes, which mean nothing (cabac_zero_words)."""
    place = data.index(b"mdat") + 4
    length, made = len(data) - place, bytearray(data)
    unit = place
    while (after := unit + 4 + struct.unpack_from(">I", data, unit)[0]) < len(data):
        unit = after
    for found in (data.index(struct.pack(">I", length)), place - 8, unit):
        struct.pack_into(">I", made, found, struct.unpack_from(">I", data, found)[0] + more)
    return bytes(made) + b"\0\0\3" * (more // 3)


def test_a_heic_in_one_piece_that_is_too_long_for_its_decoder_is_not_called_damaged(
    photo: Image.Image,
) -> None:
    """One of 48 megapixels and 19 MB was: libde265 throws such units away, and says nothing."""
    data = encoded("heic", photo)
    header = read_header(data)
    fits = decode_apart(in_one_piece(data, 3 * 2**20), "heic", pixels=header.width * header.height)
    assert fits.shape[:2] == (header.height, header.width)
    with pytest.raises(ImageError, match=r"in one piece of 18\.. MiB: its decoder takes 16 MiB") as refused:
        decode_apart(in_one_piece(data, 18 * 2**20), "heic", pixels=header.width * header.height)
    assert refused.value.code == "too_large"
