"""The detectors of the formats that come along: by the first bytes, never by the name."""

import zipfile
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_tflite(_: Path, head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def is_keras(path: Path, head: bytes) -> bool:
    """Whether it is a legacy .h5 file, or the archive that a .keras file is."""
    return head.startswith(_HDF5) or (head.startswith(b"PK") and _is_keras_archive(path))


def is_saved_model(path: Path, head: bytes) -> bool:
    return not head and (path / "saved_model.pb").is_file()


def _is_keras_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False
