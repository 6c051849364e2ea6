"""The detectors of the formats that come along: by the first bytes, never by the name."""

from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
DIRECTORY_BYTES = 2**16


def is_tflite(_: Path, head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def is_keras(path: Path, head: bytes) -> bool:
    """Whether it is a legacy .h5 file, or the archive that a .keras file is."""
    return head.startswith(_HDF5) or (head.startswith(b"PK") and _is_keras_archive(path))


def is_saved_model(path: Path, head: bytes) -> bool:
    return not head and (path / "saved_model.pb").is_file()


def _is_keras_archive(path: Path) -> bool:
    """By the directory at its end, which is not read: a damaged one is for the trial's process to fail on."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - DIRECTORY_BYTES, 0))
            return b"config.json" in file.read(DIRECTORY_BYTES)
    except OSError:
        return False
