"""Photos within a zip or a tar file of an archive: its list is read once, and to a bound."""

import io
import resource
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

from daemons import PHOTOS
from dropsight import children
from dropsight.archive.containers import opened
from dropsight.archive.fetching import contents, fetched
from dropsight.archive.listing import files_of
from dropsight.archive.manifest import Named
from dropsight.errors import ConfigError, ImageError
from dropsight.images.opening import Bounds

NAMES = ("a.jpg", "b/c#d.jpg")


@pytest.fixture(params=["tar", "zip"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    for number, file in enumerate(("cards", "others")):
        _write(tmp_path / f"{file}.{request.param}", PHOTOS[number].read_bytes())
    return f"{request.param}://::{tmp_path}/cards.{request.param}"


def _write(to: Path, photo: bytes) -> None:
    if to.suffix == ".zip":
        with zipfile.ZipFile(to, "w") as packed:
            for name in NAMES:
                packed.writestr(name, photo)
        return
    with tarfile.open(to, "w") as made:
        for name in NAMES:
            member = tarfile.TarInfo(name)
            member.size = len(photo)
            made.addfile(member, io.BytesIO(photo))


def content(url: str) -> bytes | None:
    return contents(Named(url, url, None, None), bounds=Bounds(), is_wanted=lambda _: True)


def test_the_list_of_a_file_is_read_once_for_all_that_is_in_it(source: str) -> None:
    """Of 20,000 photos in a tar file it was read 20,000 times: of each second, one photo was classified."""
    first, second = (each.path.decode() for each in files_of(source))
    system, path = opened(first)
    assert opened(first) == (system, path)
    assert opened(second)[0] is system
    for url in (first, second):
        assert opened(url)[1] == fsspec.core.url_to_fs(url)[1]
        assert content(url) == PHOTOS[0].read_bytes()
    other = first.replace("cards", "others")
    assert content(other) == PHOTOS[1].read_bytes()
    assert content(second) == PHOTOS[0].read_bytes()


def test_a_cache_before_a_url_is_no_file_that_others_lie_in(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0].read_bytes())
    assert content(f"simplecache::file://{tmp_path}/photo.jpg") == PHOTOS[0].read_bytes()


def test_a_file_that_is_refused_is_opened_anew_by_the_next(source: str) -> None:
    url = next(each.path.decode() for each in files_of(source))
    with pytest.raises(ImageError):
        content(url.replace("a.jpg", "none.jpg"))
    assert content(url) == PHOTOS[0].read_bytes()


def _bomb(to: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 2**30
    with to.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**30 + 2**20)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_list_that_takes_more_memory_than_each_worker_has_is_refused(
    tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before a file in a tar file, of any size: each worker would read it, too, for each file."""
    monkeypatch.setattr(children, "half_of_memory", lambda: 0)
    _bomb(tmp_path / "cards.tar", kind)
    with pytest.raises(ConfigError, match="takes more than 256 MiB of memory: unpack it"):
        list(files_of(f"tar://::{tmp_path}/cards.tar"))


def test_what_a_line_of_a_list_says_is_a_tar_file_takes_no_more_memory_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named as a photo it was not looked into by who lists, and took half of the machine for each worker."""
    monkeypatch.setattr(children, "half_of_memory", lambda: 0)
    _bomb(tmp_path / "cards.jpg", tarfile.GNUTYPE_LONGNAME)
    (tmp_path / "list.txt").write_text(f"tar://a.jpg::{tmp_path}/cards.jpg\n")
    (url,) = (each.path.decode() for each in files_of(str(tmp_path / "list.txt")))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ImageError, match="takes more than 256 MiB of memory: unpack it"):
        content(url)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_of_a_file_that_was_exchanged_since_it_was_listed_no_more_is_read_than_an_image_may_have(
    tmp_path: Path,
) -> None:
    """Its size was believed as it was listed: a web server sends one zip to who lists, another to workers."""
    with zipfile.ZipFile(tmp_path / "cards.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", bytes(2**25))
    url, sizes = f"zip://a.jpg::{tmp_path}/cards.zip", []

    def is_wanted(head: bytes) -> bool:
        sizes.append(len(head))
        return True

    with pytest.raises(ImageError, match="more than the limit of 1048576 bytes"):
        contents(Named(url, url, 1000, None), bounds=Bounds(max_bytes=2**20), is_wanted=is_wanted)
    with (
        pytest.raises(ImageError, match="more than the limit of 1048576 bytes"),
        fetched(Named(url, url, 1000, None), most_bytes=2**20),
    ):
        pass
    assert max(sizes) <= 1024


@pytest.mark.parametrize("protocol", ["tar", "zip"])
def test_what_is_no_zip_or_tar_file_costs_its_own_line_alone(tmp_path: Path, protocol: str) -> None:
    """One such line of a list ended the job, and every further one that was to go on with it."""
    (tmp_path / "cards.jpg").write_bytes(b"none" * 500)
    with pytest.raises(ImageError, match="cannot be read"):
        content(f"{protocol}://a.jpg::{tmp_path}/cards.jpg")


def test_what_is_damaged_within_a_zip_file_packed_by_bzip2_costs_itself_alone(tmp_path: Path) -> None:
    """The word for that is one of disks and connections, so that the job ended, again and again."""
    packed = tmp_path / "cards.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_BZIP2) as made:
        made.writestr("a.jpg", PHOTOS[0].read_bytes())
    damaged = bytearray(packed.read_bytes())
    damaged[100:140] = b"\xff" * 40
    packed.write_bytes(damaged)
    with pytest.raises(ImageError, match="cannot be read: Invalid data stream"):
        content(f"zip://a.jpg::{packed}")
