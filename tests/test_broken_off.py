"""Images whose uploads broke off: waited for, whatever pictures within them are whole already."""

import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import hostile
from brokers import wait_until
from daemons import SAMPLES, running
from dropsight.errors import ImageError
from dropsight.images import jpeg
from dropsight.images.decoding import decode_and_judge
from dropsight.images.framing import Pixels
from dropsight.images.header import read_header
from dropsight.images.jpeg import MOST_MISSING

pillow_heif.register_heif_opener()

JPEGS = (
    *("plain", "thumbnail", "photoshop"),
    *("progressive", "progressive with a thumbnail", "progressive inks", "progressive gray"),
)
NAMES = (
    *JPEGS,
    *(
        "restarting",
        "several pictures",
        "inks",
        "gray",
        "png",
        "animated png",
        "webp",
        "lossless webp",
        "gif",
    ),
    *("bmp", "tiff", "tiff of jpeg", "palette tiff", "deflated tiff", "jp2", "avif", "heic"),
)


def tiff_block(thumbnail: bytes) -> bytes:
    """As cameras write it: a directory of the picture's, and one of the thumbnail's."""
    main = struct.pack("<HHHIII", 1, 0x112, 3, 1, 1, 26)
    place = 26 + 2 + 2 * 12 + 4
    own = struct.pack("<HHHIIHHIII", 2, 0x201, 4, 1, place, 0x202, 4, 1, len(thumbnail), 0)
    return b"II*\0" + struct.pack("<I", 8) + main + own + thumbnail


def with_segment(data: bytes, number: int, content: bytes) -> bytes:
    """Put it behind the start of a JPEG."""
    return data[:2] + struct.pack(">BBH", 0xFF, number, len(content) + 2) + content + data[2:]


def exif_of(picture: Image.Image) -> bytes:
    return b"Exif\0\0" + tiff_block(hostile.saved(picture.resize((160, 120)), "JPEG", quality=60))


def photoshop_of(picture: Image.Image) -> bytes:
    """Adobe's image resource 1036, a JPEG behind 28 bytes of sizes."""
    content = bytes(28) + hostile.saved(picture.resize((160, 120)), "JPEG", quality=60)
    return b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 1036, 0, len(content)) + content


@lru_cache
def samples() -> Mapping[str, bytes]:
    """Each format as its encoders write it, small, since it is cut in hundreds of places."""
    with Image.open(SAMPLES / "china.jpg") as opened:
        photo = opened.convert("RGB").resize((320, 240))
    other, inks, gray = photo.rotate(180), photo.convert("CMYK"), photo.convert("L")
    exif = exif_of(photo)
    plain = hostile.saved(photo, "JPEG")
    progressive = hostile.saved(photo, "JPEG", progressive=True)
    two = {"save_all": True, "append_images": [other]}
    return {
        "plain": plain,
        "progressive": progressive,
        "restarting": hostile.saved(photo, "JPEG", restart_marker_rows=1),
        "thumbnail": with_segment(plain, 0xE1, exif),
        "photoshop": with_segment(plain, 0xED, photoshop_of(photo)),
        "progressive with a thumbnail": with_segment(progressive, 0xE1, exif),
        "several pictures": hostile.saved(photo, "MPO", **two),
        "inks": hostile.saved(inks, "JPEG"),
        "progressive inks": hostile.saved(inks, "JPEG", progressive=True),
        "gray": hostile.saved(gray, "JPEG"),
        "progressive gray": hostile.saved(gray, "JPEG", progressive=True),
        "png": hostile.saved(photo, "PNG", exif=exif),
        "animated png": hostile.saved(photo, "PNG", **two),
        "webp": hostile.saved(photo, "WEBP", exif=exif),
        "lossless webp": hostile.saved(photo, "WEBP", lossless=True),
        "gif": hostile.saved(photo, "GIF", **two),
        "bmp": hostile.saved(photo, "BMP"),
        "tiff": hostile.saved(photo, "TIFF"),
        "tiff of jpeg": hostile.saved(photo, "TIFF", compression="jpeg"),
        "palette tiff": hostile.saved(photo.quantize(), "TIFF"),
        "deflated tiff": hostile.saved(photo, "TIFF", compression="tiff_adobe_deflate"),
        "jp2": hostile.saved(photo, "JPEG2000", irreversible=True),
        "avif": hostile.saved(photo, "AVIF", exif=exif),
        "heic": hostile.saved(photo, "HEIF", exif=exif),
    }


def pixels_or_raise(data: bytes) -> Pixels:
    pixels, damage = decode_and_judge(data, read_header(data), scale=1)
    if damage and damage.missing > MOST_MISSING:
        raise damage.error()
    return pixels


@lru_cache
def whole(name: str) -> Pixels:
    return pixels_or_raise(samples()[name])


def check_cut(name: str, data: bytes) -> None:
    """It is to be called truncated, which is waited for, or to show what the whole file shows."""
    try:
        pixels = pixels_or_raise(data)
    except ImageError as error:
        if error.code != "truncated":
            raise
    else:
        changed = np.any(np.abs(pixels.astype(int) - whole(name)) > 2, axis=2)
        assert changed.mean() <= 2 * MOST_MISSING  # colours reach into the blocks beside theirs


@given(
    name=st.sampled_from(NAMES), share=st.floats(0, 1, exclude_max=True), within=st.sampled_from([64, 2**30])
)
@settings(max_examples=400)
def test_a_file_that_is_cut_anywhere_is_truncated_or_shows_its_picture_whole(
    name: str, share: float, within: int
) -> None:
    """Whatever it holds beside its picture: thumbnails and second pictures have ends of their own."""
    data = samples()[name]
    check_cut(name, data[: 1 + int(share * min(len(data) - 1, within))])


@given(st.sampled_from(JPEGS), st.floats(0, 1, exclude_max=True))
def test_a_jpeg_whose_rest_is_zeros_yet_is_truncated_or_shows_its_picture_whole(
    name: str, share: float
) -> None:
    """As of an uploader that makes the file as long as it is to become."""
    data = samples()[name]
    end = 3 + int(share * (len(data) - 3))
    check_cut(name, data[:end] + bytes(len(data) - end))


@given(st.sampled_from(["plain", "thumbnail", "inks"]), st.floats(0.1, 0.9))
def test_where_the_decoder_tells_of_no_damage_the_missing_part_of_a_jpeg_is_seen(
    name: str, share: float
) -> None:
    """As on 32-bit systems."""
    data = samples()[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "simplejpeg", None)
        check_cut(name, data[: int(share * len(data))])


@pytest.mark.parametrize("more", [b"", bytes(500)], ids=["nothing", "zeros"])
@pytest.mark.parametrize("name", [*JPEGS, "inks"])
def test_a_jpeg_that_lacks_only_its_end_is_a_picture_whatever_else_has_an_end(name: str, more: bytes) -> None:
    data = samples()[name][:-2] + more
    assert read_header(data).warnings == ("no end-of-image marker",)
    assert np.array_equal(pixels_or_raise(data), whole(name))


@pytest.mark.parametrize("trailer", [bytes(500), b"SEFH trailer", samples()["thumbnail"]])
@pytest.mark.parametrize("name", ["plain", "thumbnail", "progressive with a thumbnail"])
def test_what_follows_the_end_of_a_jpeg_is_no_part_of_it(name: str, trailer: bytes) -> None:
    data = samples()[name] + trailer
    assert read_header(data).warnings == ()
    assert np.array_equal(pixels_or_raise(data), whole(name))


def test_uploads_of_jpegs_that_broke_off_are_gone_on_with_and_recorded_once(tmp_path: Path) -> None:
    names = [*JPEGS, "inks", "webp"]
    watch = {"path": "inbox", "settle_seconds": 0.1, "patience_seconds": 1000}
    with running(tmp_path, watch=[watch]) as house:
        for name in names:
            half = samples()[name][: len(samples()[name]) * 2 // 3]
            (house.inbox / f"{name}.jpg").write_bytes(half)
        wait_until(lambda: house.counters()["postponed"] == len(names))
        assert not house.records()
        for name in names:
            with (house.inbox / f"{name}.jpg").open("ab") as file:
                file.write(samples()[name][len(samples()[name]) * 2 // 3 :])
        wait_until(lambda: house.finished() == len(names))
        assert house.stop() == 0
    found = [(record["image_path"], record["status"], record.get("warnings")) for record in house.records()]
    assert sorted(found) == sorted((f"{name}.jpg", "ok", None) for name in names)


def test_a_progressive_jpeg_that_broke_off_for_good_fails_as_truncated_or_has_warnings(
    tmp_path: Path,
) -> None:
    data = samples()["progressive"][: len(samples()["progressive"]) // 2]
    for damaged in ("fail", "accept"):
        place = tmp_path / damaged
        place.mkdir()
        watch = {"path": "inbox", "settle_seconds": 0.1, "patience_seconds": 0.5}
        with running(place, watch=[watch], limits={"damaged": damaged}) as house:
            (house.inbox / "half.jpg").write_bytes(data)
            wait_until(lambda: house.finished() == 1)
            (record,) = house.records()
        if damaged == "fail":
            assert record["error"]["code"] == "truncated"
        else:
            assert record["warnings"] == ["no end-of-image marker", "not all of its scans are there"]
