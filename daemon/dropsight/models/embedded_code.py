"""Keras files and SavedModels that are more than numbers: code, other files, or far more than their size.

What Keras itself refuses depends on its version, and its words on how deep it lies.
"""

import json
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.operators import outside_of_graph, reaches_out

# What an archive may unpack to: Keras does not compress, and people who do get little from weights.
_MOST_TIMES, _MOST_MORE, _MOST_ENTRIES = 8, 2**24, 10_000
_DESCRIPTION_BYTES = 2**26
_DAMAGE = (
    *(OSError, KeyError, ValueError, RuntimeError, EOFError, TypeError, RecursionError),
    *(NotImplementedError, zipfile.BadZipFile, zlib.error),
)
_CODE = {
    "Lambda": "Lambda layer is code",
    "__lambda__": "lambda function is code",
    "TorchModuleWrapper": "TorchModuleWrapper is code",
    "JaxLayer": "JaxLayer is code",
    "FlaxLayer": "FlaxLayer is code",
    "TFSMLayer": "TFSMLayer is a model in another file",
}
_KERAS = {"keras", "keras_hub", "keras_cv", "keras_nlp", "tf_keras", "tensorflow", "builtins"}
_CHECKPOINT = {"SaveV2", "MergeV2Checkpoints"}
"""What writes, moves and deletes files where a SavedModel is saved: nothing else may come to it."""


def refuse_layers(path: Path) -> None:
    """Raise ModelError for layers of a Keras file that carry code, whatever Keras would do with them."""
    try:
        layers = list(_classes(_descriptions(path)))
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: Keras cannot load it: the file is damaged: {reason[:200]}") from error
    for layer in layers:
        name, module = str(layer["class_name"]), str(layer.get("module") or "keras")
        if name in _CODE:
            raise ModelError(
                f"{path}: its {_CODE[name]}, which is not loaded from a model's file: "
                "make it of layers that Keras has, or convert the model to TFLite"
            )
        if module.partition(".")[0] not in _KERAS and not _is_registered(layer.get("registered_name")):
            raise ModelError(
                f"{path}: its {name} is code of the module {module}, which is not loaded "
                "from a model's file: convert the model to TFLite"
            )


def refuse_operators(path: Path) -> None:
    """Raise ModelError for a SavedModel that writes or reads files, or calls what is not in its graph."""
    schema = import_module("tensorflow.core.protobuf.saved_model_pb2")
    model = schema.SavedModel()
    try:
        model.ParseFromString(read_bounded(path / "saved_model.pb", MODEL_BYTES))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except import_module("google.protobuf.message").DecodeError as error:
        raise ModelError(f"{path}: TensorFlow cannot load it: saved_model.pb is damaged") from error
    found = {each for graph in model.meta_graphs for each in _outside(graph)}
    if found:
        raise ModelError(reaches_out(path, sorted(found)))


def _outside(meta_graph: Any) -> set[str]:  # noqa: ANN401 - of protobuf
    """Return the operators that reach out of it, those of its checkpoint only where more than saving does."""
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    functions = {each.signature.name: each.node_def for each in graph.library.function}
    nodes = [*graph.node, *(node for each in functions.values() for node in each)]
    saving = {saver.save_tensor_name.partition(":")[0], saver.restore_op_name}
    called = [name for node in graph.node if node.name not in saving for name in _called(node)]
    called += meta_graph.object_graph_def.concrete_functions
    reached: set[str] = set()
    while called:
        name = called.pop()
        if name in functions and name not in reached:
            reached.add(name)
            called += [each for node in functions[name] for each in _called(node)]
    writing = {node.op for name in reached for node in functions[name]} & _CHECKPOINT
    return writing | set(outside_of_graph(node.op for node in nodes))


def _called(node: Any) -> Iterator[str]:  # noqa: ANN401 - of protobuf
    """Yield the functions that an operator names."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (each.name for each in value.list.func)


def _descriptions(path: Path) -> list[object]:
    """Return what Keras may read of it: a file can be both an archive and HDF5."""
    found = [_of_archive(path)] if zipfile.is_zipfile(path) else []
    if import_module("h5py").is_hdf5(path):
        found.append(_of_hdf5(path))
    if not found:
        raise ValueError("it is neither an archive nor HDF5")
    return found


def _of_archive(path: Path) -> object:
    """Raises ValueError for one that unpacks to far more than it is."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size, most = sum(each.file_size for each in entries), _MOST_TIMES * path.stat().st_size + _MOST_MORE
        if len(entries) > _MOST_ENTRIES or size > most:
            raise ValueError(f"it unpacks to {len(entries):,} files of {size:,} bytes")
        if archive.getinfo("config.json").file_size > _DESCRIPTION_BYTES:
            raise ValueError("its config.json is too large")
        return json.loads(archive.read("config.json"))


def _of_hdf5(path: Path) -> object:
    with import_module("h5py").File(path, "r") as archive:
        text = archive.attrs.get("model_config", "{}")
    return json.loads(text)


def _classes(description: object) -> Iterator[Mapping[str, Any]]:
    """Yield whatever is described by a class, at any depth, the outer first."""
    within = deque([description])
    while within:
        each = within.popleft()
        if isinstance(each, dict):
            if isinstance(each.get("class_name"), str):
                yield each
            within.extend(each.values())
        elif isinstance(each, list):
            within.extend(each)


def _is_registered(name: object) -> bool:
    """Whether who uses dropsight as a library has told Keras of it."""
    return isinstance(name, str) and bool(import_module("keras").saving.get_registered_object(name))
