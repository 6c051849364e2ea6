"""The detectors of the formats that come along: by the first bytes, never by the name."""

from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
# onnx.proto's version is 13 by now; after it come texts, a number, the graph, the operators' version.
_NEWEST_ONNX = b"\x20"
_AFTER_ONNX_VERSION = {b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42"}
DIRECTORY_BYTES = 2**16


def is_tflite(_: Path, head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def is_keras(path: Path, head: bytes) -> bool:
    """Whether it is a legacy .h5 file, or the archive that a .keras file is."""
    return head.startswith(_HDF5) or (head.startswith(b"PK") and _is_keras_archive(path))


def is_onnx(_: Path, head: bytes) -> bool:
    """A protocol buffer: the version of its format first, then who made it, or what else may follow."""
    version = head[1:2]
    return head[:1] == b"\x08" and b"\0" < version < _NEWEST_ONNX and head[2:3] in _AFTER_ONNX_VERSION


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
