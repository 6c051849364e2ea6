"""Models that Keras 2 saved as .h5, in which Teachable Machine exports: mended to what Keras 3 reads.

Only the description of the layers is changed, as data; weights are read from the file as it is.
"""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

_HDF5 = b"\x89HDF\r\n\x1a\n"
Config = dict[str, Any]  # of JSON
# What was written of layers that have none.
_ONE_GROUP = {"DepthwiseConv2D", "DepthwiseConv1D", "Conv2DTranspose", "Conv1DTranspose", "SeparableConv2D"}
# TensorFlow's functions with a constant, which had a layer each: scale and offset of a Rescaling.
_ARITHMETIC: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "math.truediv": lambda constant: (_each(constant, lambda value: 1 / value), 0.0),
    "math.multiply": lambda constant: (constant, 0.0),
    "math.subtract": lambda constant: (1.0, _each(constant, lambda value: -value)),
    "math.add": lambda constant: (1.0, constant),
    "__operators__.add": lambda constant: (1.0, constant),
}


def load_legacy(path: Path) -> Any | None:  # noqa: ANN401 - Keras ships no types
    """Load a model of Keras 2 after `refuse_layers`; None for any other file. Raises what Keras raises."""
    config = _config(path)
    if config is None:
        return None
    mend(config)
    keras = import_module("keras")
    kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    model = kind.from_config(config["config"])
    model.load_weights(path)
    return model


def _config(path: Path) -> Config | None:
    """Return the description of the layers, of a whole model that Keras 2 wrote."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            return None
    with import_module("h5py").File(path, "r") as archive:
        text = archive.attrs.get("model_config")
        version = _text(archive.attrs.get("keras_version", ""))
    if text is None or not version.startswith(("1.", "2.")):
        return None
    config = json.loads(_text(text))
    known = isinstance(config, dict) and config.get("class_name") in {"Sequential", "Functional", "Model"}
    return config if known else None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _layers(config: Any) -> Iterator[Config]:  # noqa: ANN401 - any of JSON
    """Yield whatever is described by a class and its settings, the outer first."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = config.values()
    elif not isinstance(config, list):
        return
    for each in config:
        yield from _layers(each)


def mend(config: Config) -> None:
    """Change what Keras 2 wrote, and Keras 3 does not read."""
    names: dict[str, str] = {}
    for layer in _layers(config):
        if layer["class_name"] == "Sequential" and isinstance(layer["config"], list):
            layer["config"] = {"name": "sequential", "layers": layer["config"]}
        settings = layer.get("config")
        if isinstance(settings, dict):
            _mend_layer(layer, settings)
            name = settings.get("name")
            if isinstance(name, str) and "/" in name:
                names[name] = name.replace("/", "_")
    if names:
        _rename(config, names)


def _mend_layer(layer: Config, settings: Config) -> None:
    _mend_kind(layer, settings)
    if layer["class_name"] != "InputLayer":
        settings.pop("batch_input_shape", None)
    for ends in ("input_layers", "output_layers"):
        # One alone in a list means a list of one.
        if isinstance(settings.get(ends), list) and len(settings[ends]) == 1:
            settings[ends] = settings[ends][0]
    for name, value in settings.items():
        if name.endswith("_initializer") and isinstance(value, dict) and isinstance(value["config"], dict):
            value["config"].pop("dtype", None)


def _mend_kind(layer: Config, settings: Config) -> None:
    kind = layer["class_name"]
    if kind == "Model":
        layer["class_name"] = "Functional"
    elif kind == "Sequential":
        _begin_with_input(settings)
    elif kind == "LeakyReLU" and "alpha" in settings:
        settings["negative_slope"] = settings.pop("alpha")
    elif kind == "TFOpLambda":
        _mend_arithmetic(layer, settings)
    elif kind in _ONE_GROUP and settings.get("groups") == 1:
        del settings["groups"]


def _begin_with_input(settings: Config) -> None:
    """Give the first layer's shape a layer of its own, which Keras 3 wants."""
    first = settings["layers"][0]
    shape = settings.get("batch_input_shape")
    if isinstance(first["config"], dict):
        shape = first["config"].get("batch_input_shape", shape)
    if first["class_name"] != "InputLayer" and shape:
        name = f"{settings['layers'][0]['config'].get('name', 'first')}_input"
        entry = {"class_name": "InputLayer", "config": {"batch_input_shape": shape, "name": name}}
        settings["layers"].insert(0, entry)


def _mend_arithmetic(layer: Config, settings: Config) -> None:
    """Make arithmetic with a constant a layer that Keras 3 has; leave any other to be refused."""
    nodes = layer.get("inbound_nodes") or []
    rescaling = _ARITHMETIC.get(settings.get("function", ""))
    if rescaling is None or len(nodes) != 1 or len(nodes[0]) != 4:
        return
    *source, given = nodes[0]
    if not isinstance(given, dict) or not _is_constant(given.get("y")):
        return
    scale, offset = rescaling(given["y"])
    layer["class_name"] = "Rescaling"
    layer["config"] = {"name": settings["name"], "scale": scale, "offset": offset}
    layer["inbound_nodes"] = [[[*source, {}]]]


def _is_constant(value: Any) -> bool:  # noqa: ANN401 - any of JSON
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, int | float) for each in values)


def _each(constant: Any, change: Callable[[float], float]) -> Any:  # noqa: ANN401 - a number or several
    return [change(value) for value in constant] if isinstance(constant, list) else change(constant)


def _rename(config: Any, names: dict[str, str]) -> None:  # noqa: ANN401 - any of JSON
    """Slashes no longer belong into names; they are referred to in lists."""
    places = config.items() if isinstance(config, dict) else enumerate(config)
    for place, value in list(places):
        if isinstance(value, str):
            config[place] = names.get(value, value)
        elif isinstance(value, dict | list):
            _rename(value, names)
