"""The names of the classes, in the forms in which people have them."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import ROOT, dropsight
from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.label_files import BESIDE, find_labels
from dropsight.models.labels import decoded, read_labels
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Sidecar
from tiny_tflite import tiny

NAMES = ("cat", "great dane", "jalapeño")
TEXTS = {
    "lines": "cat\ngreat dane\njalapeño\n",
    "numbered by a colon": "0: cat\n1: great dane\n2: jalapeño",
    "numbered by a space": "0 cat\n1 great dane\n2 jalapeño\n",
    "numbered out of order": "2 jalapeño\n0 cat\n1 great dane\n",
    "a list": '["cat", "great dane", "jalapeño"]',
    "names by number": '{"1": "great dane", "0": "cat", "2": "jalape\\u00f1o"}',
    "numbers by name": '{"cat": 0, "jalapeño": 2, "great dane": 1}',
    "a list with a key": '{"classes": ["cat", "great dane", "jalapeño"]}',
    "ImageNet's index": '{"0": ["n1", "cat"], "1": ["n2", "great dane"], "2": ["n3", "jalapeño"]}',
    "objects": '[{"id": 1, "name": "great dane"}, {"id": 0, "name": "cat"}, {"id": 2, "name": "jalapeño"}]',
    "a label map": "item {\n  id: 0\n  name: 'cat'\n}\nitem {\n  name: \"great dane\"\n  id: 1\n}\n"
    'item {\n  name: "/m/0x"\n  id: 2\n  display_name: "jalapeño"\n}\n',
    "a table": "index,mid,display_name\n0,/m/a,cat\n1,/m/b,great dane\n2,/m/c,jalapeño\n",
    "a table of names and numbers": "Class;ID\ncat;0\njalapeño;2\ngreat dane;1\n",
    "a quoted table": '"id","label"\n"0","cat"\n"1","great dane"\n"2","jalapeño"\n',
    "a table without numbers": "name,category\ncat,pet\ngreat dane,pet\njalapeño,plant\n",
}
CODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny([("float32", (1, 32, 32, 3))], [("float32", (1, 3))]))
    return path


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_form_of_labels_is_read_by_its_content_in_every_coding(
    model: Path, coding: str, ends: str
) -> None:
    """Under a name that says nothing of it."""
    file = model.parent / "names.of.classes"
    for text in TEXTS.values():
        file.write_bytes(text.replace("\n", ends).encode(coding))
        assert open_model(model, said=ModelOverrides(labels=file)).spec.labels == NAMES, text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('item { id: 1 name: "cat" }\nitem { id: 2 name: "dog" }', ("background", "cat", "dog")),
        ("[unknown]\ncat\n", ("[unknown]", "cat")),
        (
            "tench, Tinca tinca\ngoldfish, Carassius auratus\n",
            ("tench, Tinca tinca", "goldfish, Carassius auratus"),
        ),
        ('{"0": "0", "1": "1", "10": "10", "2": "2"}', None),
        ('{"0": 0, "1": 1, "10": 2, "2": 3}', ("0", "1", "10", "2")),
        ("class\nlabel\n", ("class", "label")),
        ("7 up\n1 cola\n", ("7 up", "1 cola")),
    ],
)
def test_what_might_be_one_form_or_another_is_not_shifted(text: str, names: tuple[str, ...] | None) -> None:
    if names is None:
        with pytest.raises(ValueError, match="no name has index 3"):
            read_labels(text)
    else:
        assert read_labels(text) == names


def test_labels_that_are_not_there_are_an_error_that_knows_of_imagenet_s_own(model: Path) -> None:
    with pytest.raises(ModelError, match=r"No such file or directory; ImageNet's own .* builtin:imagenet"):
        open_model(model, said=ModelOverrides(labels=Path("imagenet")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"cat\n", "1 name for a model of 3 classes"),
        (b"a\nb\n", "2 names for a model of 3 classes; if class 0 of the model is the background, put that"),
        (
            b"Background\na\nb\nc\n",
            "4 names for a model of 3 classes; the first, Background, is a class",
        ),
        (
            b'{"a": 0,\n',
            "1 name for a model of 3 classes; it begins as JSON, but is none (Expecting property",
        ),
        (b'{"0": "a", "0": "b"}', "its JSON has a duplicate key"),
        (b'{"a": "b"}', "its JSON has neither a number for each name nor a name for each number"),
        (b'{"0": "a", "5": "b", "1": "c"}', "no name has index 2"),
        (b"item { id: 1 }", "one of its items has no id or no name"),
        (b"\xff\xfe\x00\xd8", "cannot be read: "),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be read: it is not a text file"),
    ],
)
def test_labels_that_do_not_fit_are_an_error_with_both_counts(model: Path, text: bytes, told: str) -> None:
    file = model.parent / "own.txt"
    file.write_bytes(text)
    with pytest.raises(ModelError) as caught:
        open_model(model, said=ModelOverrides(labels=file))
    assert str(caught.value).startswith(f"labels {file}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("name", BESIDE)
def test_labels_beside_a_model_are_found_if_they_are_as_many_as_its_classes(model: Path, name: str) -> None:
    file = model.parent / name.format(model="m")
    file.write_text(TEXTS["names by number"])
    spec = open_model(model).spec
    assert (spec.labels, spec.labels_from, spec.faults) == (NAMES, str(file), ())


def test_labels_beside_a_model_that_do_not_fit_it_are_passed_over_for_those_that_do(model: Path) -> None:
    (model.parent / "labels.txt").write_text("a\nb\n")
    (model.parent / "classes.json").write_text(TEXTS["a list"])
    (model.parent / "labels.csv").write_text(TEXTS["a table"])
    spec = open_model(model).spec
    assert (spec.labels, spec.labels_from) == (NAMES, str(model.parent / "classes.json"))


def test_two_lists_of_names_that_both_fit_and_differ_are_an_error(model: Path) -> None:
    one, other = model.parent / "labels.txt", model.parent / "classes.json"
    one.write_text("a\nb\nc\n")
    other.write_text(TEXTS["a list"])
    with pytest.raises(ModelError) as caught:
        open_model(model)
    assert str(caught.value).startswith(
        f"labels {one} and {other}: each has 3 names, and they differ; name this"
    )


def test_names_beside_a_model_of_which_none_fit_are_said_not_to_be_used(model: Path) -> None:
    (model.parent / "classes.json").write_text('["a", "b"]')
    spec = open_model(model).spec
    assert (spec.labels[0], spec.labels_from) == ("class 0", "default")
    told = dropsight("inspect", str(model)).stderr
    assert "classes.json: 2 names for a model of 3 classes" in told
    assert told.splitlines()[0].endswith(": not used")


@given(
    st.one_of(st.binary(max_size=200), st.sampled_from(list(TEXTS.values())).map(str.encode)),
    st.binary(max_size=8),
)
def test_any_bytes_are_names_or_a_value_error(content: bytes, more: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(isinstance(name, str) for name in read_labels(decoded(content + more)))


@pytest.mark.parametrize(
    "text",
    [
        "item" + " " * 2_000_000,
        "1" + " " * 2_000_000 + "\nx",
        "[" * 200_000,
        "item {" * 300_000,
        "id,name\n" * 200_000,
    ],
)
def test_a_text_made_to_take_long_does_not(text: str) -> None:
    """Its time would grow with the square of its length: hours."""
    with contextlib.suppress(ValueError):
        assert isinstance(read_labels(text), tuple)


def test_labels_are_found_inside_the_folder_of_a_saved_model_too(tmp_path: Path) -> None:
    for place in ("beside", "inside", "assets"):
        model = tmp_path / place / "model.savedmodel"
        file = {"beside": model.parent, "inside": model, "assets": model / "assets"}[place] / "labels.txt"
        (model / "assets").mkdir(parents=True)
        file.write_text(TEXTS["lines"])
        found = find_labels(model, ModelOverrides(), Sidecar(), 3, None)
        assert (found.names, found.source) == (NAMES, str(file))


def test_the_page_names_every_file_that_is_looked_for() -> None:
    page = (ROOT / "docs" / "usage.md").read_text()
    assert [name for name in BESIDE if f"`{name.replace('{model}', '<model>')}`" not in page] == []
