"""Files that people name in a config, read to a bound: a wrong name may lead to a disk or to /dev/zero."""

import errno
import os
from pathlib import Path

CONFIG_BYTES = 2**20
SECRET_BYTES = 2**16
LABELS_BYTES = 2**24
SIDECAR_BYTES = 2**16
# Of what the daemon itself has noted: a state folder may be brought from elsewhere, as any backup.
STATE_BYTES = 2**26
# The offsets of a flatbuffer reach no further.
MODEL_BYTES = 2**31
_PIECE_BYTES = 2**20


def read_bounded(path: Path, most: int) -> bytes:
    """Read it whole; raises OSError, for more bytes than `most` as well."""
    with open(path, "rb", opener=_not_waiting) as file:
        # What says its size is not read in vain; what does not, as a pipe, is read to see.
        size = file.seek(0, 2) if file.seekable() else 0
        if size > most:
            raise _too_large(path, most)
        if file.seekable():
            file.seek(0)
        # As much is set aside as is asked for: where memory is bounded, `most` would not be there.
        pieces = [file.read(size + 1)]
        length = len(pieces[0])
        while length <= most and (piece := file.read(min(_PIECE_BYTES, most + 1 - length))):
            pieces.append(piece)
            length += len(piece)
    if length > most:
        raise _too_large(path, most)
    return b"".join(pieces)


def _not_waiting(name: str, flags: int) -> int:
    """Open it; of a pipe that nobody writes to there is nothing, and whoever does is listened to."""
    descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    return descriptor


def _too_large(path: Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"more than {most:,} bytes", str(path))
