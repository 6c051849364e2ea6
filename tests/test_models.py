"""Opening models, and what is said of them."""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropsight.errors import ModelError
from dropsight.models import litert
from dropsight.models.backends import BUILTINS, locate, open_model
from dropsight.models.labels import read_labels
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import BACKENDS, format_of
from dropsight.models.tflite_file import DAMAGE, is_whole, read_tflite
from dropsight.records import Normalization

BUILTIN = locate("builtin:efficientnet_lite0")
CONTENT = BUILTIN.read_bytes()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The built-in model without its sidecar."""
    return Path(shutil.copy(BUILTIN, tmp_path / "m.tflite"))


def names(count: int, word: str) -> str:
    return "\n".join(f"{word} {number}." for number in range(count))


@pytest.mark.parametrize("name", BUILTINS)
def test_every_bundled_model_opens_and_scores(name: str) -> None:
    opened = open_model(f"builtin:{name}")
    spec = opened.spec
    zeros = np.zeros((1, spec.height, spec.width, spec.channels), spec.input.dtype)
    assert opened.scores(zeros).shape == (1, len(spec.labels))
    assert spec.activation == "softmax"
    assert spec.normalization == Normalization((127.0,), (128.0,))
    assert spec.labels[281] == "tabby"


def test_a_batch_scores_as_its_images_do_one_by_one() -> None:
    opened = open_model(BUILTIN)
    batch = np.random.default_rng(0).integers(-128, 128, (3, 224, 224, 3)).astype(np.int8)
    together = opened.scores(batch)
    apart = np.concatenate([opened.scores(each[np.newaxis]) for each in batch])
    assert np.abs(together - apart).max() <= 0.02
    assert np.array_equal(opened.replicate().scores(batch), together)


def test_labels_come_from_the_config_before_the_sidecar_before_the_folder(
    model: Path, tmp_path: Path
) -> None:
    assert open_model(model).spec.labels_from == "default"
    (tmp_path / "labels.txt").write_text(names(1000, "beside"))
    assert open_model(model).spec.labels[7] == "beside 7."
    (tmp_path / "side.txt").write_text(names(1000, "sidecar"))
    (tmp_path / "m.yaml").write_text("labels: side.txt\ntemperature: 1.5\n")
    assert open_model(model).spec.labels[7] == "sidecar 7."
    assert open_model(model).spec.temperature == 1.5
    own = tmp_path / "own.txt"
    own.write_text(names(1000, "config"))
    assert open_model(model, said=ModelOverrides(labels=own)).spec.labels[7] == "config 7."


def test_normalization_comes_from_the_config_before_the_sidecar_before_the_tensor(
    model: Path, tmp_path: Path
) -> None:
    """By default an int8 tensor is taken to hold the pixels, less 128."""
    assert open_model(model).spec.normalization == Normalization((127.0,), (128.0,))
    (tmp_path / "m.yaml").write_text("normalization: {mean: [1], std: [2]}")
    assert open_model(model).spec.normalization == Normalization((1.0,), (2.0,))
    said = ModelOverrides(normalization=Normalization((3.0,), (4.0,)))
    assert open_model(model, said=said).spec.normalization_from == "config"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 cat\n1 great dane\n", ("cat", "great dane")),
        ("2: dog\n0: background\n1: cat", ("background", "cat", "dog")),
        ("1\tcat\n0\tbackground\n\n2\tdog", ("background", "cat", "dog")),
        ("0,tench, Tinca tinca\n1,goldfish", ("tench, Tinca tinca", "goldfish")),
        ("7 up\n1 cola\n", ("7 up", "1 cola")),
        ("0 cat\ndog\n", ("0 cat", "dog")),
        ("\ufeffcat\ndog", ("cat", "dog")),
        ("", ()),
    ],
)
def test_an_index_before_each_name_rules_over_the_order_of_the_lines(
    text: str, labels: tuple[str, ...]
) -> None:
    """Teachable Machine, Coral's models and CSV tables write them; the order alone gave wrong names."""
    assert read_labels(text) == labels


def test_names_of_classes_do_nothing_to_a_terminal() -> None:
    """Who makes a model is not to move the cursor of whoever reads its answers."""
    assert read_labels("\x1b[2J\x07cat\nd\u202eog\n") == (r"\x1b[2J\x07cat", r"d\u202eog")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0: cat\n0: dog", "index 0 occurs twice"),
        ("0: cat\n12: dog", "no name has index 1; 2 names have the indices 0 to 1"),
        ("1, cat\n2, dog", "no name has index 0"),
    ],
)
def test_indices_that_cannot_be_are_an_error(model: Path, text: str, words: str) -> None:
    (model.parent / "own.txt").write_text(text)
    with pytest.raises(ModelError, match=words):
        open_model(model, said=ModelOverrides(labels=model.parent / "own.txt"))


def test_a_labels_txt_beside_a_model_with_another_count_is_an_error_with_both_numbers_and_the_way_out(
    model: Path,
) -> None:
    (model.parent / "labels.txt").write_text(names(999, "thing"))
    with pytest.raises(ModelError, match=r"999 names for a model of 1000 classes; if .* in model\.labels or"):
        open_model(model)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "cannot load"),
        (b"PK\x03\x04 no zip at all", "not a model"),
    ],
)
def test_what_is_no_model_is_named_with_the_fault(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        open_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", [(b"\xc3\xa9", b"\xff\xff"), (b"PK\1\2\x14", b"PK\1\2\xff"), (b"", b"")])
def test_an_archive_s_format_is_told_without_reading_its_directory(
    tmp_path: Path, damage: tuple[bytes, bytes]
) -> None:
    """The daemon itself asks for the format, so nothing that is damaged may be met by that."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "\u00e9.json"):
            archive.writestr(name, "{}")
    path.write_bytes(path.read_bytes().replace(*damage))
    assert format_of(path).name == "keras"


def test_a_pipe_is_no_model_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "m.tflite"
    os.mkfifo(pipe)
    with pytest.raises(ModelError, match="not a model"):
        format_of(pipe)
    # Opened for both, so that it waits for no reader; it holds the pipe open, and writes nothing.
    with os.fdopen(os.open(pipe, os.O_RDWR), "wb"), pytest.raises(ModelError, match="not a model"):
        format_of(pipe)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_model_is_an_error_not_a_crash(tmp_path: Path, part: float) -> None:
    content = BUILTIN.read_bytes()
    path = tmp_path / "half.tflite"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelError):
        open_model(path)


@pytest.mark.parametrize(
    "sidecar",
    ["label: x.txt", "temperature: 0", "labels: gone.txt", "normalization: {mean: [1, 2], std: [1]}"],
)
def test_a_faulty_sidecar_is_an_error(model: Path, tmp_path: Path, sidecar: str) -> None:
    (tmp_path / "m.yaml").write_text(sidecar)
    with pytest.raises(ModelError):
        open_model(model)


def test_labels_that_do_not_fit_the_classes_are_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("a\nb")
    with pytest.raises(ModelError, match="2 names for a model of 1000 classes"):
        open_model(model, said=ModelOverrides(labels=tmp_path / "few.txt"))


def test_every_backend_of_the_registry_can_be_imported() -> None:
    from importlib import import_module

    for place in (place for each in BACKENDS.values() for place in (each.detector, each.opener)):
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("name", [r"\ud800", r"\e[2J", r"a\nb", "", "x" * 256])
def test_names_of_heads_that_nobody_can_show_are_refused(model: Path, name: str) -> None:
    """With half of a sign in it no record can be written; with an escape it moves a terminal's cursor."""
    model.with_suffix(".yaml").write_text(f'heads: {{? "{name}" : 0}}')
    with pytest.raises(ModelError, match=r"is no name for a head|invalid Unicode character"):
        open_model(model)


def test_a_bug_of_our_own_is_not_said_to_be_the_file_s_damage(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_: bytes) -> None:
        raise TypeError("a number was expected")

    monkeypatch.setattr(litert, "read_tflite", mistaken)
    with pytest.raises(TypeError):
        open_model(model)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(4_700_000, len(CONTENT) - 1), st.integers(0, 255), min_size=1, max_size=4))
def test_our_readers_meet_flipped_bytes_of_a_real_model_with_nothing_but_known_damage(
    places: dict[int, int],
) -> None:
    content = bytearray(CONTENT)
    for place, value in places.items():
        content[place] = value
    with contextlib.suppress(*DAMAGE):
        if is_whole(bytes(content)):
            read_tflite(bytes(content))


@pytest.mark.parametrize(
    "text",
    [*("temperature: !!int ''", "temperature: 2026-13-45", "a: !!bool x", "[" * 5000), "? [a]\n: b", "a: \0"],
)
def test_a_sidecar_that_trips_the_yaml_reader_is_an_error(model: Path, text: str) -> None:
    model.with_suffix(".yaml").write_text(text)
    with pytest.raises(ModelError, match=r"m\.yaml"):
        open_model(model)
