"""Whether a file is a clip, by its first bytes, never by its name."""

from dropsight.config import Video

HEAD_BYTES = 1024
CLIP_PATTERNS = Video().patterns
"""Which files in a folder are clips; what is in them is judged by their first bytes."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# Files of the same family that hold pictures: HEIF and AVIF.
_STILL_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"jxl "}
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}


def is_clip(head: bytes) -> bool:
    """Whether these, up to HEAD_BYTES, begin a container or raw H.264 or H.265."""
    return (
        _is_mp4(head)
        or head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", _ASF, b"\0\0\1\xba", b"\0\0\1\xb3"))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or _is_transport_stream(head)
        or _is_raw(head)
    )


def media_type(head: bytes) -> str:
    """Return what a browser is to take such a clip for."""
    if _is_mp4(head):
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/matroska"
    if _is_transport_stream(head):
        return "video/mp2t"
    starts = {b"RIFF": "video/vnd.avi", b"FLV\x01": "video/x-flv", _ASF[:4]: "video/x-ms-asf"}
    return starts.get(head[:4], "video/mpeg" if head[3:4] in {b"\xba", b"\xb3"} else "video/h264")


def _is_mp4(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL_BRANDS
    return head[4:8] in _BOXES


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a time before each."""
    return any(
        len(head) > start + 2 * size and all(head[start + n * size] == 0x47 for n in range(3))
        for start, size in ((0, 188), (4, 192))
    )


def _is_raw(head: bytes) -> bool:
    """A start code, then a parameter set, a delimiter, a note (SEI) or a picture of H.264 or H.265.

    FFmpeg begins with a note what it copies out of an MP4.
    """
    start = 4 if head.startswith(b"\0\0\0\1") else 3 if head.startswith(b"\0\0\1") else None
    if start is None or len(head) <= start:
        return False
    unit = head[start]
    return unit & 0x80 == 0 and (unit & 0x1F in {6, 7, 9} or unit >> 1 & 0x3F in {32, 33, 34, 35, 39})
