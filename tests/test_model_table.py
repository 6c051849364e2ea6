"""The table of model shapes in docs/models.md is what happens: what is found, and how near the answers are.

    PYTHONPATH=daemon:tests:scripts python tests/test_model_table.py

prints it anew.
"""

import contextlib
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from daemons import PHOTOS, ROOT
from dropsight import ImageInferenceRuntime
from dropsight.errors import ModelError
from dropsight.images.framing import Pixels, frame
from dropsight.models.backends import open_model
from dropsight.models.guesses import guess_of
from dropsight.models.spec import ModelSpec
from dropsight.records import Normalization
from known_shapes import Refused, Shape, refused, shapes
from test_model_shapes import decoded

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Keras and TensorFlow warn of each other
]

HEAD = """\
| model | file, its input | (mean) (deviation) | part seen | answer; labels | guessed | difference |
| --- | --- | --- | --- | --- | --- | --- |"""
REFUSED = """\
| model | refused as |
| --- | --- |"""
CLASSES = 1001


@dataclass(frozen=True, slots=True)
class Row:
    """Differences from the framework's own answer: by what is found `alone`, and by what it was `told`.

    `halved` is how much the framework's answer changes where pixels are half of what they should be.
    """

    name: str
    facts: str
    guess: str | None
    alone: float
    told: float
    halved: float
    most: float
    way_out: str

    def __str__(self) -> str:
        bound = "1 step" if self.most != 1e-4 else f"{10.0 ** math.ceil(math.log10(self.told * 1.5)):.0e}"
        return f"{self.facts} {bound}{self.way_out} |"


def row(shape: Shape) -> Row:
    runtime = ImageInferenceRuntime(shape.path, top_k=CLASSES)
    spec, guess = runtime.spec, guess_of(runtime.spec)
    told = alone = difference(runtime, shape)
    way_out = ""
    if shape.told and shape.told != spec.normalization:
        runtime = ImageInferenceRuntime(shape.path, top_k=CLASSES, normalization=shape.told)
        told, way_out = difference(runtime, shape), f" once told {scaled(shape.told)}"
    pictures = [framed(decoded(photo), spec, shape) for photo in PHOTOS[:3]]
    halved = max(float(np.abs(shape.own(each) - shape.own(each // 2)).max()) for each in pictures)
    most = spec.output.scale + 1e-6 if spec.output.quantized else 1e-4
    facts = f"| {' | '.join([shape.name, *found(spec), guessed(guess)])} |"
    return Row(shape.name, facts, guess, alone, told, halved, most, way_out)


def difference(runtime: ImageInferenceRuntime, shape: Shape) -> float:
    """Return the largest one of all classes, on pictures decoded whole."""
    worst = 0.0
    for photo in PHOTOS[:3]:
        pixels = decoded(photo)
        wanted = shape.own(framed(pixels, runtime.spec, shape))
        ours = np.zeros(wanted.shape)
        for each in runtime.predict(pixels).predictions:
            ours[each.class_index] = each.confidence
        worst = max(worst, float(np.abs(ours - wanted).max()))
    return worst


def framed(pixels: Pixels, spec: ModelSpec, shape: Shape) -> Pixels:
    return frame(pixels, height=spec.height, width=spec.width, how="crop", crop_fraction=shape.central)


def found(spec: ModelSpec) -> list[str]:
    sizes = " x ".join(str(size) for size in spec.taken[1:])
    activation = {"none": "logits", "logistic": "sigmoid"}.get(spec.activation, spec.activation)
    answer = "several at once" if spec.multi_label else activation
    return [
        f"{spec.format}, {spec.quantization}, {sizes}",
        f"{scaled(spec.normalization)}, {source(spec.normalization_from)}",
        f"central {spec.framing.central:g}, {source(spec.framing_from)}",
        f"{answer}; {len(spec.labels)}, {source(spec.labels_from)}",
    ]


def source(said: str) -> str:
    return Path(said).name


def scaled(wanted: Normalization) -> str:
    each = (
        " ".join(dict.fromkeys(f"{value:.4g}" for value in values)) for values in (wanted.mean, wanted.std)
    )
    return " ".join(f"({values})" for values in each)


def guessed(guess: str | None) -> str:
    if guess is None:
        return "-"
    first, _, others = guess.partition(":")[0].partition(" is a guess")
    return first + others.replace(", as are ", ", ").replace(", as is ", ", ").replace(" and ", ", ")


def refusal(each: Refused, folder: Path) -> str:
    path = folder / "m.tflite"
    path.write_bytes(each.content)
    with pytest.raises(ModelError) as caught:
        open_model(path)
    return str(caught.value)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return [row(shape) for shape in shapes(tmp_path_factory.mktemp("shapes"))]


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    """Return the table rows of the page by their first cells."""
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


def test_no_shape_is_answered_wrongly_without_a_word(rows: list[Row]) -> None:
    """What is not the framework's own answer is said to be a guess."""
    silent = [
        each.name for each in rows if each.alone > each.most and "normalization" not in (each.guess or "")
    ]
    assert not silent


def test_once_told_the_normalization_every_answer_is_the_framework_s_own(rows: list[Row]) -> None:
    assert not [(each.name, each.told) for each in rows if each.told > each.most]


def test_every_shape_would_show_a_wrong_input(rows: list[Row]) -> None:
    """A model whose answer is always the same proves nothing."""
    assert not [
        (each.name, each.halved)
        for each in rows
        if each.halved < (2 if "1 step" in str(each) else 10) * each.most
    ]


def test_the_page_says_of_every_shape_what_is_found_and_how_near_it_is(
    rows: list[Row], page: dict[str, str]
) -> None:
    """The docstring of this file has the command that prints the table anew."""
    assert len(rows) >= 30
    for each in rows:
        line = page[each.name]
        assert line.startswith(each.facts), f"{line}\nis now\n{each}"
        bound = line.removeprefix(each.facts).removesuffix("|").strip()
        assert bound.endswith(each.way_out.strip())
        assert each.told <= (
            each.most if bound.startswith("1 step") else min(10 * float(bound.split()[0]), 1e-4)
        )


def test_the_page_says_of_every_refused_shape_as_what(page: dict[str, str], tmp_path: Path) -> None:
    for each in refused():
        assert page[each.name] == f"| {each.name} | {each.said} |"
        assert each.said in refusal(each, tmp_path)


def table(folder: Path) -> Iterator[str]:
    yield HEAD
    with contextlib.redirect_stdout(sys.stderr):  # where Keras tells what it writes
        made = [row(shape) for shape in shapes(folder)]
    yield from map(str, made)
    yield f"\n{REFUSED}"
    yield from (f"| {each.name} | {each.said} |" for each in refused())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        print(*table(Path(temporary)), sep="\n")
