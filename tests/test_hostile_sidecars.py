"""What strangers may write beside a model, or into it: a short line each, and no file elsewhere is read."""

import os
from pathlib import Path

import pytest

from dropsight.classify.engine import open_engine
from dropsight.config import Config, ModelSettings
from dropsight.errors import LONGEST_LINE, ModelError
from dropsight.models import tflite_file
from dropsight.models.backends import open_model, signatures
from dropsight.models.groups import MOST_LOOKS
from dropsight.models.labels import LONGEST_LABEL, MOST_CLASSES, read_labels
from dropsight.models.sidecar import MOST_GOLDEN
from dropsight.names import as_shown
from tiny_tflite import tiny

CLASSES = 50
ALIASES = "groups:\n  g: &all [" + ",".join(['"*"'] * 300) + "]\n"
SIDECARS = {
    "aliases": (
        ALIASES + "".join(f"  g{n}: *all\n" for n in range(3000)),
        f"more than {MOST_LOOKS:,} classes",
    ),
    "a long number": ("groups: {g: '" + "9" * 60_000 + "'}", "the model has no class 9999"),
    "a long pattern": ("groups: {g: '" + "*a" * 30_000 + "b'}", "the model has no class *a*a"),
    "an escape in a threshold": ('thresholds: {"\\e[31mz": 0.3}', r"the model has no class \x1b[31mz"),
    "an escape in a key": ('"\\e]0;x\\a": 1', r"unknown field `\x1b]0;x\x07`"),
    "a line in an output": ('output: "x\\n\\n"', "it has no output"),
    "labels above": ("labels: ../labels.txt", "a sidecar names files of its own folder only"),
    "labels elsewhere": ("labels: /etc/passwd", "a sidecar names files of its own folder only"),
    "labels of a head elsewhere": ("heads: {a: {output: 0, labels: /etc/passwd}}", "of its own folder only"),
    "labels of NUL": ('labels: "a\\0"', "a sidecar names files of its own folder only"),
    "labels from a pipe": ("labels: pipe", "0 names for a model of"),
    "many heads": ("heads:\n" + "".join(f"  h{n}: 0\n" for n in range(5000)), f"more than {MOST_CLASSES:,}"),
    "many golden images": (
        "golden:\n" + "- {image: x.jpg, class: 0}\n" * (MOST_GOLDEN + 1),
        f"length <= {MOST_GOLDEN}",
    ),
    "a group twice": ("groups: {g: 1,\n  g: 2}", "groups.g: is given twice"),
    "deep": ("[" * 32_000 + "]" * 32_000, "cannot be read"),
    "a tiny divisor": ("normalization: {mean: [0], std: [1.0e-320]}", "normalization needs 1 or 3 finite"),
    "a vast mean": ("normalization: {mean: [1.0e+308], std: [1]}", "normalization needs 1 or 3 finite"),
}


def made(folder: Path, content: bytes) -> Path:
    (model := folder / "m.tflite").write_bytes(content)
    return model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return made(tmp_path, tiny([("float32", (1, 16, 16, 3))], [("float32", (1, CLASSES))]))


def refusal(model: Path) -> str:
    """Return the one short line that it is refused with."""
    with pytest.raises(ModelError) as refused:
        open_model(model)
    told = str(refused.value)
    assert told == as_shown(told)
    assert len(told) <= LONGEST_LINE
    return told


@pytest.mark.parametrize("kind", SIDECARS)
def test_a_sidecar_that_is_made_to_do_harm_is_refused_with_a_short_line(model: Path, kind: str) -> None:
    text, told = SIDECARS[kind]
    os.mkfifo(model.parent / "pipe")
    model.with_suffix(".yaml").write_text(text)
    assert told in refusal(model)


def test_a_golden_image_elsewhere_is_not_looked_at(model: Path) -> None:
    model.with_suffix(".yaml").write_text("golden: [{image: ../x.jpg, class: 0}]")
    with pytest.raises(ModelError, match="a sidecar names files of its own folder only"):
        open_engine(Config(model=ModelSettings(path=str(model))))


def test_a_sidecar_that_is_changed_makes_another_model_of_it(model: Path) -> None:
    """One that was proved with another sidecar is tried in a process of its own again."""
    before = signatures(model)
    model.with_suffix(".yaml").write_text("temperature: 2")
    assert signatures(model) != before


def test_labels_too_long_or_too_many_are_refused(model: Path) -> None:
    labels = model.parent / "labels.txt"
    labels.write_text("\n".join(["x" * (LONGEST_LABEL + 1)] * CLASSES))
    assert f"the name of class 0 has more than {LONGEST_LABEL} characters" in refusal(model)
    for text in ("a\n" * (9 * MOST_CLASSES), "[" + "0," * MOST_CLASSES + "0]"):
        with pytest.raises(ValueError, match="it has more than 200,000 names"):
            read_labels(text)


@pytest.mark.parametrize(
    ("taken", "answer", "told"),
    [
        ((1, 5000, 5000, 3), (1, 3), "pictures would have 5000 x 5000 pixels, more than 16,777,216 in all"),
        ((1, 16, 16, 3), (1, MOST_CLASSES + 1), "answers with 200,001 numbers, more than 200,000"),
    ],
)
def test_a_model_that_takes_or_gives_too_much_is_no_classifier(
    tmp_path: Path, taken: tuple[int, ...], answer: tuple[int, ...], told: str
) -> None:
    assert told in refusal(made(tmp_path, tiny([("float32", taken)], [("uint8", answer)])))


def test_a_model_of_more_parts_than_any_has_is_not_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_file, "MOST_PARTS", 3)  # it has as many tensors, and an operator
    assert "the file is damaged or truncated" in refusal(model)


def test_an_operator_s_name_forges_no_line(tmp_path: Path) -> None:
    odd = tiny(
        [("float32", (1, 16, 16, 3))], [("float32", (1, 3))], custom="Evil\ndropsight: \x1b[31mall is well"
    )
    assert r"(Evil\ndropsight: \x1b[31mall is well)" in refusal(made(tmp_path, odd))
