"""Weights of an .onnx file that lie beside it, as PyTorch writes them: put into it before it is computed.

ONNX Runtime would open whatever a model names; here a name leads to a file of the model's folder, or nowhere.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dropsight.bounded import MODEL_BYTES
from dropsight.errors import ModelError, reason
from dropsight.models.protobuf import ProtoMessage, field_of_bytes, fields

# Fields of onnx.proto3.
_GRAPH, _INITIALIZER = 7, 5
_RAW, _EXTERNAL, _LOCATION = 9, 13, 14
_KEY, _VALUE = 1, 2
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
ENDINGS = (".data", "_data", ".bin", ".weights")
"""Of the files that weights are read from: they are looked at before each model is opened again."""
INTO_ONE = 'write both into one: onnx.save(onnx.load("MODEL"), "whole.onnx")'


def with_its_weights(path: Path, content: bytes) -> bytes:
    """Return the file with the weights beside it in it; as it is where there are none.

    Raises ModelError for those that are not to be had, ValueError for damaged data.
    """
    beside = _Beside(path, MODEL_BYTES - len(content))
    whole = [
        field_of_bytes(_GRAPH, b"".join(beside.graph(value)))
        if number == _GRAPH and isinstance(value, memoryview) and _names_files(value)
        else written
        for number, value, written in fields(memoryview(content))
    ]
    return b"".join(whole) if beside.read else content


def _names_files(graph: memoryview) -> bool:
    return any(map(_is_elsewhere, ProtoMessage(graph).messages(_INITIALIZER)))


def _is_elsewhere(tensor: ProtoMessage) -> bool:
    return tensor.number(_LOCATION) != 0


class _Beside:
    """The folder of a model, of whose files so many bytes may be read in all; `read` says whether any was."""

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._left, self.read = path, most, False
        self._folder = path.resolve().parent

    def graph(self, graph: memoryview) -> Iterator[bytes | memoryview]:
        """Yield its fields, in which each tensor has its values."""
        for number, value, written in fields(graph):
            if number == _INITIALIZER and isinstance(value, memoryview):
                tensor = ProtoMessage(value)
                if _is_elsewhere(tensor):
                    yield field_of_bytes(_INITIALIZER, self._whole(value, tensor))
                    continue
            yield written

    def _whole(self, written: memoryview, tensor: ProtoMessage) -> bytes:
        kept = [each for number, _, each in fields(written) if number not in {_RAW, _EXTERNAL, _LOCATION}]
        said = {each.text(_KEY): each.text(_VALUE) for each in tensor.messages(_EXTERNAL)}
        return b"".join([*kept, field_of_bytes(_RAW, self._values(said))])

    def _values(self, said: dict[str, str]) -> bytes:
        name = said.get("location", "")
        if "/" in name or "\0" in name or not name.endswith(ENDINGS):
            known = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
            raise self._refusal(f"its weights are in {name}, and only files beside it on {known} are read")
        with self._opened(name) as file:
            size = os.fstat(file.fileno()).st_size
            offset = _number(said.get("offset") or "0")
            length = _number(said.get("length") or str(max(size - offset, 0)))
            if offset + length > size:
                fault = "is cut off, or another model's"
                raise ModelError(f"{self._path}: {name}, the file with its weights, {fault}: copy both again")
            self._left -= length
            if self._left < 0:
                raise ModelError(f"{self._path}: with its weights it has more than {MODEL_BYTES:,} bytes")
            file.seek(offset)
            self.read = True
            return file.read(length)

    def _opened(self, name: str) -> BinaryIO:
        try:
            descriptor = os.open(self._folder / name, _READ)
        except FileNotFoundError as error:
            way_out = "put that file beside it, too"
            raise ModelError(f"{self._path}: its weights are in {name}: {way_out}") from error
        except OSError as error:
            raise self._refusal(f"its weights, {name}, cannot be read: {reason(error)}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._refusal(f"its weights, {name}, are no file")
        return os.fdopen(descriptor, "rb")

    def _refusal(self, fault: str) -> ModelError:
        return ModelError(f"{self._path}: {fault}; {INTO_ONE}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"an offset of weights is not a number: {text[:20]}")
    return int(text)
