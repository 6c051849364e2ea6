"""The config's keys on the shape of a model."""

from pathlib import Path

import msgspec
import pytest

from dropsight.config import Head, dump, load, schema
from dropsight.errors import ConfigError
from dropsight.models.overrides import ModelOverrides

HEADS = "model: {heads: {species: 0, sex: {output: sex_probs, labels: sexes.txt}}, input_size: [96, 128]}\n"


def test_a_head_is_an_output_or_keys_of_its_own_with_labels_beside_the_config(tmp_path: Path) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text(HEADS)
    model = load(path).model
    assert model.heads == {"species": Head(0), "sex": Head("sex_probs", tmp_path / "sexes.txt")}
    assert model.input_size == (96, 128)
    again = tmp_path / "again.yaml"
    again.write_text(dump(load(path)))
    assert load(again).model == model


def test_a_head_can_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text(HEADS)
    environ = {"DROPSIGHT_MODEL__HEADS__SEX": "2", "DROPSIGHT_MODEL__HEADS__AGE__OUTPUT": "age"}
    heads = load(path, environ=environ).model.heads
    assert heads == {"species": Head(0), "sex": Head(2), "age": Head("age")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("heads: [0, 1]", "model.heads: cannot be a list; give keys of its own"),
        (
            "heads: {sex: [1]}",
            "model.heads.sex.output: cannot be a list; give a name or a whole number from 0 up",
        ),
        ("heads: {sex: {out: 1}}", "model.heads.sex.out: unknown key; did you mean"),
        ("heads: {sex: {labels: a.txt}}", "model.heads.sex.output: is missing"),
        ("input_size: 224", "model.input_size: cannot be 224; give [height, width] such as [224, 224]"),
        ("input_size: [224]", "model.input_size: cannot be a list; give [height, width]"),
        ("layout: HWC", 'model.layout: cannot be "HWC"; give NCHW or NHWC'),
        ("{output: 1, heads: {sex: 1}}", "model.output: has no effect beside model.heads"),
    ],
)
def test_what_cannot_be_is_told_by_its_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text(f"model: {text if text.startswith('{') else '{' + text + '}'}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert any(told in fault for fault in caught.value.faults), caught.value.faults


def test_the_schema_allows_both_ways_to_name_a_head() -> None:
    heads = schema()["properties"]["model"]["properties"]["heads"]  # type: ignore[index]
    keys, short = heads["additionalProperties"]["anyOf"]
    assert keys["required"] == ["output"]
    assert {each["type"] for each in short["anyOf"]} == {"string", "integer"}


def test_all_that_is_said_of_a_model_reaches_the_process_that_tries_it(tmp_path: Path) -> None:
    path = tmp_path / "dropsight.yaml"
    path.write_text(HEADS)
    said = ModelOverrides.of(load(path).model)
    assert ModelOverrides.decode(said.encode()) == said
    odd = msgspec.structs.replace(said, labels=Path("/caf\udce9/labels.txt"))
    assert ModelOverrides.decode(odd.encode()) == odd
