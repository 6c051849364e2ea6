"""Whether a clip is all there, where its container tells: transport streams and raw video end anywhere."""

import os
from collections.abc import Iterator

from dropsight.images.opening import ImageFile

# A file that has more of them at its top does not tell.
_MOST_PARTS = 64
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def is_whole(file: ImageFile) -> bool:
    """Whether its parts end where the file does; False where that is not so, or nobody can tell."""
    size = os.fstat(file.fd).st_size
    head = file.head(12)
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}:
        return _whole_mp4(file.fd, size)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _whole_avi(file.fd, size)
    if int.from_bytes(head[:4], "big") == _EBML:
        return _whole_matroska(file.fd, size)
    return False


def _whole_mp4(fd: int, size: int) -> bool:
    """Of one that is written in fragments, another may follow."""
    kinds, at = set(), 0
    for kind, end in _boxes(fd):
        kinds.add(kind)
        at = end
        if kind == b"moof" or end >= size:
            break
    return at == size and {b"moov", b"mdat"} <= kinds and b"moof" not in kinds


def _boxes(fd: int) -> Iterator[tuple[bytes, int]]:
    """Yield each kind, and where it ends."""
    at = 0
    for _ in range(_MOST_PARTS):
        start = os.pread(fd, 16, at)
        length, kind = int.from_bytes(start[:4], "big"), start[4:8]
        if length == 1:
            length = int.from_bytes(start[8:16], "big")
        if length < 8 or len(kind) < 4:
            return
        at += length
        yield kind, at


def _whole_avi(fd: int, size: int) -> bool:
    """A large one has further RIFF chunks behind the first."""
    at = 0
    for _ in range(_MOST_PARTS):
        start = os.pread(fd, 8, at)
        length = int.from_bytes(start[4:8], "little")
        if start[:4] != b"RIFF" or not length:
            return False
        at += 8 + length + length % 2
        if at >= size:
            return at - size in {0, 1}
    return False


def _whole_matroska(fd: int, size: int) -> bool:
    at = 0
    for _ in range(_MOST_PARTS):
        start = os.pread(fd, 12, at)
        if len(start) < 12:
            return False
        name = int.from_bytes(start[:4], "big")
        width = 9 - start[4].bit_length()  # of the length, whose leading zeros say it
        length = int.from_bytes(start[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if name not in {_EBML, _SEGMENT} or width > 8 or length == (1 << 7 * width) - 1:
            return False
        at += 4 + width + length
        if name == _SEGMENT:
            return at == size
    return False
