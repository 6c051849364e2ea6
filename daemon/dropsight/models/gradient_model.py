"""Gradients of a Keras classifier, at its input and at any layer inside; needs TensorFlow."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ModelError
from dropsight.models.embedded_code import refuse_layers
from dropsight.models.legacy_keras import load_legacy
from dropsight.models.tf_graph import tensorflow

Floats: TypeAlias = NDArray[np.float32]
_ENDINGS = {"softmax", "sigmoid"}
_LEAST = 1e-30


class _Call(msgspec.Struct, frozen=True):
    """One call of a layer that has none inside it."""

    layer: Any
    inputs: tuple[Any, ...]
    output: Any


class _FirstRun(msgspec.Struct, frozen=True):
    """What a model's first run told: its last layer, the last convolution's, and its answer's kind."""

    ending: Any
    maps: Any
    certain: bool


class KerasGradients:
    """A Keras model of any kind: functional, sequential, subclassed, with models and layers inside others.

    What is needed of inner layers is read off them while the model runs, so it does not matter how the
    layers are wired. Scores are those before a final softmax or sigmoid; where that is no layer to be
    taken off, the logarithm of the probabilities, which differs from them by a constant. One thread at a
    time.
    """

    def __init__(self, model: Any, *, name: str = "the model") -> None:  # noqa: ANN401 - Keras ships no types
        self._tf = tensorflow(Path(name))
        self._keras = import_module("keras")
        if (backend := self._keras.backend.backend()) != "tensorflow":
            raise ModelError(f"{name}: gradients need TensorFlow, and Keras runs on {backend} here")
        self._model, self._name = model, name
        self._known_way: _FirstRun | None = None

    @classmethod
    def open(cls, path: Path) -> "KerasGradients":
        tensorflow(path)
        refuse_layers(path)
        model = load_legacy(path) or import_module("keras").models.load_model(path, compile=False)
        return cls(model, name=str(path))

    @property
    def input_size(self) -> tuple[int | None, int | None, int | None]:
        """Height, width, channels; None is what the model leaves open."""
        inputs = getattr(self._model, "inputs", None)
        built: dict[str, Any] = getattr(self._model, "get_build_config", dict)() or {}
        shape = inputs[0].shape if inputs else built.get("input_shape", (None,) * 4)
        if len(shape) != 4:
            raise ModelError(f"{self._name}: not an image classifier: its input is {tuple(shape)}")
        if shape[1] in {1, 3} and shape[3] not in {1, 3, None}:
            raise ModelError(
                f"{self._name}: its input is {tuple(shape)}, channels first: gradient maps need "
                "channels last; `dropsight explain --method rise` explains it"
            )
        return shape[1], shape[2], shape[3]

    @property
    def most_at_once(self) -> int:
        """How many images are worth one run: of a model made for a batch of its own size, one."""
        inputs = getattr(self._model, "inputs", None)
        return 8 if not inputs or inputs[0].shape[0] is None else 1

    def scores(self, batch: Floats) -> Floats:
        """Return (n, classes), before any final activation."""
        with self._linear_ending(batch):
            return self._as_classes(self._run(batch), batch).numpy()  # type: ignore[no-any-return]

    def at_input(self, batch: Floats, class_index: int) -> Floats:
        """Return d score / d input, of the batch's shape (n, height, width, channels)."""
        tensor = self._tf.constant(batch)
        with self._linear_ending(batch), self._tf.GradientTape() as tape:
            tape.watch(tensor)
            score = self._of_class(self._run(tensor), batch, class_index)
        return tape.gradient(score, tensor).numpy()  # type: ignore[no-any-return]

    def at_layer(self, batch: Floats, class_index: int, layer_name: str | None) -> tuple[Floats, Floats]:
        """Return activations and d score / d activations of a layer, each (n, h, w, k).

        Without a name, of the last convolution; of a layer that is called several times, at its last call.
        Raises ModelError where there is no such layer.
        """
        layer = self._maps(batch) if layer_name is None else self._named(layer_name, batch)
        seen: list[Any] = []
        with self._linear_ending(batch), self._tf.GradientTape() as tape:

            def note(_: Any, output: Any) -> Any:  # noqa: ANN401
                if hasattr(output, "shape"):
                    tape.watch(output)
                    seen.append(output)
                return output

            with _each_call(layer, note):
                score = self._of_class(self._run(batch), batch, class_index)
        gradient = tape.gradient(score, seen[-1]) if seen else None
        if gradient is None or len(gradient.shape) != 4:
            raise ModelError(f"{self._name}: layer {layer.name} has no map that the answer depends on")
        return seen[-1].numpy().astype(np.float32), gradient.numpy().astype(np.float32)

    def layers(self) -> list[Any]:
        """Every layer, also those inside models and inside layers."""
        # Keras has no public way to those in a layer of one's own, where many a backbone keeps its blocks.
        return list(self._model._flatten_layers(include_self=False))  # noqa: SLF001

    def shuffle_weights(self, seed: int) -> None:
        """Put every weight at a random place of its tensor: what remains is the architecture."""
        chance = np.random.default_rng(seed)
        self._model.set_weights(
            [chance.permuted(weight.ravel()).reshape(weight.shape) for weight in self._model.get_weights()]
        )

    def _run(self, batch: Any) -> Any:  # noqa: ANN401
        return self._model(batch, training=False)

    def _as_classes(self, output: Any, batch: Floats) -> Any:  # noqa: ANN401
        flat = self._tf.cast(self._tf.reshape(output, (output.shape[0], -1)), self._tf.float32)
        if flat.shape[1] == 1:
            return self._tf.concat([-flat, flat], axis=1)
        return self._tf.math.log(flat + _LEAST) if self._way(batch).certain else flat

    def _of_class(self, output: Any, batch: Floats, class_index: int) -> Any:  # noqa: ANN401
        scores = self._as_classes(output, batch)
        if not 0 <= class_index < scores.shape[1]:
            raise ModelError(f"{self._name}: class {class_index} is out of range: 0 to {scores.shape[1] - 1}")
        return scores[:, class_index]

    def _named(self, name: str, batch: Floats) -> Any:  # noqa: ANN401
        self._way(batch)  # a subclassed model may have its layers only after it ran once
        layers = self.layers()
        found = [layer for layer in layers if layer.name == name]
        if not found:
            names = ", ".join(dict.fromkeys(layer.name for layer in layers))
            raise ModelError(f"{self._name}: no layer {name}; there are {names}")
        return found[-1]

    def _maps(self, batch: Floats) -> Any:  # noqa: ANN401
        found = self._way(batch).maps
        if found is None:
            raise ModelError(f"{self._name}: no convolution layer; name a layer, or try saliency")
        return found

    def _way(self, batch: Floats) -> _FirstRun:
        """Find the ends by running the model once; the order of its calls is the only one to be trusted."""
        if self._known_way is None:
            calls = self._calls(batch[:1])
            ending = calls[-1].layer if calls else None
            with _without_activation(ending, self._keras):
                answer = np.asarray(self._run(batch[:1]), np.float64)
            certain = answer.size > 1 and bool(answer.min() >= 0) and abs(float(answer.sum()) - 1) < 1e-2
            self._known_way = _FirstRun(ending, _last_maps(calls), certain)
        return self._known_way

    def _calls(self, batch: Floats) -> list[_Call]:
        """Return the calls of the innermost layers, in their order."""
        output = self._run(batch)
        if not hasattr(output, "shape"):
            raise ModelError(f"{self._name}: not an image classifier: it has several outputs")
        calls: list[_Call] = []

        def note(layer: Any, inputs: Any, output: Any) -> Any:  # noqa: ANN401
            calls.append(_Call(layer, inputs, output))
            return output

        with ExitStack() as stack:
            for layer in self.layers():
                if not layer._layers:  # noqa: SLF001 - as above
                    stack.enter_context(_each_call(layer, partial(note, layer)))
            self._run(batch)
        return calls

    @contextmanager
    def _linear_ending(self, batch: Floats) -> Iterator[None]:
        """Take the final softmax or sigmoid off for a while: its gradient vanishes where it is sure."""
        with _without_activation(self._way(batch).ending, self._keras):
            yield


def _last_maps(calls: list[_Call]) -> Any:  # noqa: ANN401
    """Find the last convolution with a map to speak of: a head's may work on a single place.

    What is made of its map at the same size belongs to it: normalised, rectified, added to what went past it.
    """
    found = None
    for call in calls:
        if _is_map(call.output) and (_is_convolution(call.layer) or _continues(call, found)):
            found = call
    return found.layer if found else None


def _continues(call: _Call, former: _Call | None) -> bool:
    if former is None or call.output.shape[1:3] != former.output.shape[1:3]:
        return False
    merged = (each if isinstance(each, list | tuple) else [each] for each in call.inputs)
    return any(one is former.output for several in merged for one in several)


def _is_convolution(layer: Any) -> bool:  # noqa: ANN401
    return any("Conv" in kind.__name__ for kind in type(layer).__mro__)


def _is_map(output: Any) -> bool:  # noqa: ANN401
    shape: tuple[int, ...] = getattr(output, "shape", ())
    return len(shape) == 4 and shape[1] * shape[2] > 1


@contextmanager
def _without_activation(layer: Any, keras: Any) -> Iterator[None]:  # noqa: ANN401
    with ExitStack() as stack:
        if type(layer).__name__ == "Softmax":
            stack.enter_context(_each_call(layer, lambda inputs, _: inputs[0]))
        elif getattr(getattr(layer, "activation", None), "__name__", "") in _ENDINGS:
            stack.callback(setattr, layer, "activation", layer.activation)
            layer.activation = keras.activations.linear
        yield


@contextmanager
def _each_call(layer: Any, change: Callable[[tuple[Any, ...], Any], Any]) -> Iterator[None]:  # noqa: ANN401
    """Have every call of the layer return what `change` makes of its inputs and output."""
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return change(args, original(*args, **kwargs))

    # Past Keras' own bookkeeping, which is for weights.
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
