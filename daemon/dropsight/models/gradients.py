"""Gradients of a Keras classifier, at its input and at any layer inside; needs TensorFlow."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ModelError
from dropsight.models.tf_graph import tensorflow

Floats: TypeAlias = NDArray[np.float32]
_BELONGING = {"BatchNormalization", "ReLU", "Activation", "LeakyReLU", "PReLU", "ELU"}
_ENDINGS = {"softmax", "sigmoid"}


class KerasGradients:
    """A Keras model of any kind: functional, sequential, subclassed, with models inside models.

    What is needed of inner layers is read off them while the model runs, so it does not matter how the
    layers are wired. Scores are those before a final softmax or sigmoid. One thread at a time.
    """

    def __init__(self, model: Any, *, name: str = "the model") -> None:  # noqa: ANN401 - Keras ships no types
        self._tf = tensorflow(Path(name))
        self._keras = import_module("keras")
        self._model, self._name = model, name

    @classmethod
    def open(cls, path: Path) -> "KerasGradients":
        tensorflow(path)
        return cls(import_module("keras").models.load_model(path, compile=False), name=str(path))

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        inputs = getattr(self._model, "inputs", None)
        shape = inputs[0].shape if inputs else (self._model.get_build_config() or {}).get("input_shape")
        if shape is None or len(shape) != 4 or None in shape[1:]:
            raise ModelError(f"{self._name}: no image classifier of a fixed input size")
        return int(shape[1]), int(shape[2]), int(shape[3])

    def scores(self, batch: Floats) -> Floats:
        """Return (n, classes), before any final activation."""
        with self._linear_ending():
            return self._as_classes(self._run(batch)).numpy()  # type: ignore[no-any-return]

    def at_input(self, batch: Floats, class_index: int) -> Floats:
        """Return d score / d input, of the batch's shape (n, height, width, channels)."""
        tensor = self._tf.constant(batch)
        with self._linear_ending(), self._tf.GradientTape() as tape:
            tape.watch(tensor)
            score = self._of_class(self._run(tensor), class_index)
        return tape.gradient(score, tensor).numpy()  # type: ignore[no-any-return]

    def at_layer(self, batch: Floats, class_index: int, layer_name: str | None) -> tuple[Floats, Floats]:
        """Return activations and d score / d activations of a layer, each (n, h, w, k).

        Without a name, of the last convolution. Raises ModelError where there is no such layer.
        """
        layer = self._layer(layer_name)
        seen: list[Any] = []
        with self._linear_ending(), self._tf.GradientTape() as tape:

            def note(output: Any) -> Any:  # noqa: ANN401
                tape.watch(output)
                seen.append(output)
                return output

            with _each_output(layer, note):
                score = self._of_class(self._run(batch), class_index)
        gradient = tape.gradient(score, seen[-1]) if seen else None
        if gradient is None or len(gradient.shape) != 4:
            raise ModelError(f"{self._name}: layer {layer.name} has no map that the answer depends on")
        return seen[-1].numpy(), gradient.numpy()

    def layers(self) -> Iterator[Any]:
        """Every layer in the order of the model, those of models inside it in their place."""
        yield from _flat(self._model)

    def shuffle_weights(self, seed: int) -> None:
        """Put every weight at a random place of its tensor: what remains is the architecture."""
        chance = np.random.default_rng(seed)
        self._model.set_weights(
            [chance.permuted(weight.ravel()).reshape(weight.shape) for weight in self._model.get_weights()]
        )

    def _run(self, batch: Any) -> Any:  # noqa: ANN401
        return self._model(batch, training=False)

    def _as_classes(self, output: Any) -> Any:  # noqa: ANN401
        flat = self._tf.reshape(output, (output.shape[0], -1))
        return self._tf.concat([-flat, flat], axis=1) if flat.shape[1] == 1 else flat

    def _of_class(self, output: Any, class_index: int) -> Any:  # noqa: ANN401
        scores = self._as_classes(output)
        if not 0 <= class_index < scores.shape[1]:
            raise ModelError(f"{self._name}: class {class_index} is out of range: 0 to {scores.shape[1] - 1}")
        return scores[:, class_index]

    def _layer(self, name: str | None) -> Any:  # noqa: ANN401
        layers = list(self.layers())
        if name is not None:
            found = [layer for layer in layers if layer.name == name]
            if not found:
                names = ", ".join(layer.name for layer in layers)
                raise ModelError(f"{self._name}: no layer {name}; there are {names}")
            return found[-1]
        convolutions = [layer for layer in layers if "Conv" in type(layer).__name__]
        if not convolutions:
            raise ModelError(f"{self._name}: no convolution to look at; try the method saliency")
        # Its rectified maps are meant: what normalises and activates it belongs to it.
        place = layers.index(convolutions[-1])
        for layer in layers[place + 1 :]:
            if type(layer).__name__ not in _BELONGING:
                break
            place += 1
        return layers[place]

    @contextmanager
    def _linear_ending(self) -> Iterator[None]:
        """Take the final softmax or sigmoid off for a while: its gradient vanishes where it is sure."""
        last = list(self.layers())[-1]
        with ExitStack() as stack:
            if type(last).__name__ == "Softmax":
                stack.enter_context(_each_output(last, lambda output: output, instead=True))
            elif getattr(getattr(last, "activation", None), "__name__", "") in _ENDINGS:
                former, last.activation = last.activation, self._keras.activations.linear
                stack.callback(setattr, last, "activation", former)
            yield


def _flat(layer: Any) -> Iterator[Any]:  # noqa: ANN401
    inner = getattr(layer, "layers", None)
    if inner is None:
        yield layer
        return
    for each in inner:
        yield from _flat(each)


@contextmanager
def _each_output(layer: Any, change: Callable[[Any], Any], *, instead: bool = False) -> Iterator[None]:  # noqa: ANN401
    """Have every call of the layer pass its output through `change`, or, `instead`, its input."""
    original = layer.call

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return change(inputs if instead else original(inputs, *args, **kwargs))

    # Past Keras' own bookkeeping, which is for weights.
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
