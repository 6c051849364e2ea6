"""The class of an error says who has to act on it.

DropsightError
├── ImageError     this image's fault for ever: it is filed under failed/
│   └── ClosedError    we may not read it: the daemon waits until it may
├── MachineError   the machine lacks something for now: keep the image, wait, try again
│   ├── MemoryShortError   the same, and nothing else is to be in hand then
│   └── ProcessorShortError   the same, and ever longer, for trying takes a minute
│       └── StillDecodingError   the same, and not longer: its decoder goes on meanwhile
├── StoreError     the disk's or the journal's: keep the image, wait, try again
│   ├── InUseError     another dropsight has it: wait for that one to end
│   │   └── OwnersLockError   or an uploader, who would hold up the others: that inbox alone waits
│   └── DamagedError   the journal can no longer be trusted: end, rescue it at the next start
├── SinkError      the log's or the broker's: the same
│   └── UnsyncedError   and nobody knows which of the log's last lines are on its disk
├── ModelError     the operator's: one clear line, exit code 1
│   ├── NoSuchModelError   its name is wrong: exit code 2
│   └── UntriedError   the machine had no room to test it: the daemon tries again
└── ConfigError    the operator's, wrong usage as well: one line per fault, exit code 2
"""

import errno
from collections.abc import Sequence
from typing import Literal, TypeAlias

from dropsight.names import as_shown

LONGEST_LINE = 2000
"""Of an error about a model."""

ErrorCode: TypeAlias = Literal[
    "not_an_image",
    "truncated",
    "unsupported_format",
    "too_large",
    "too_many_pixels",
    "empty",
    "unreadable",
    "not_a_file",
    "model_error",
    "internal_error",
]


class DropsightError(Exception):
    """Base of all errors raised on purpose; its text is meant for users."""

    exit_code = 1


class ImageError(DropsightError):
    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code


class ClosedError(ImageError):
    """Perhaps for now only: some uploaders set a file's permissions last."""


class MachineError(DropsightError):
    pass


class MemoryShortError(MachineError):
    pass


class ProcessorShortError(MachineError):
    pass


class StillDecodingError(ProcessorShortError):
    pass


class StoreError(DropsightError):
    pass


class InUseError(StoreError):
    pass


class OwnersLockError(InUseError):
    pass


class DamagedError(StoreError):
    pass


class SinkError(DropsightError):
    pass


class UnsyncedError(SinkError):
    pass


class ModelError(DropsightError):
    """Its text quotes what strangers wrote into models: none of it acts on a terminal, no line is long."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(_cut(as_shown(line)) for line in lines))


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 4]} ..."


class NoSuchModelError(ModelError):
    exit_code = 2


class UntriedError(ModelError):
    pass


class ConfigError(DropsightError):
    exit_code = 2

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


# A disk that is full, gone or write-protected may be in order again tomorrow, without anybody's doing here.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE),
    *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
}


def reason(error: OSError) -> str:
    """Say what the system says; where it says too little of a folder that cannot be made, what it means."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "there is a file where a folder has to be; move it away, or name another place"
    return error.strerror or str(error)


_OPENCV_NO_MEMORY = -4  # the code of a cv2.error: cv::Error::StsNoMem
# Descriptors, memory or a disk that does not answer: no fault of the file that was to be opened or read.
_OF_THE_MACHINE = _PASSING - {errno.ENXIO} | {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS),
    errno.EINTR,
}


# What a path leads to can be no image, now or later: a link, a socket, a device.
_OF_THE_FILE = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}


def refusal(error: OSError, verb: str) -> ImageError | MachineError:
    """Return what it means that a file cannot be opened or read: its fault only if the error says so."""
    text = f"cannot be {verb}: {error.strerror}"
    if error.errno in _OF_THE_FILE:
        return ImageError("unreadable", text)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ClosedError("unreadable", text)
    return machine_error(error) or MachineError(f"images wait: {error.strerror}")


def machine_error(error: BaseException) -> MachineError | None:
    """Return what to tell of an error that is the machine's trouble; None for any other."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, MemoryError) or getattr(error, "code", None) == _OPENCV_NO_MEMORY:
        return MemoryShortError("not enough memory: images wait")
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return MachineError(f"images wait: {error.strerror}")
    return None


def is_passing(error: BaseException | None) -> bool:
    """Whether it is worth waiting for this error to go away."""
    return isinstance(error, OSError) and error.errno in _PASSING
