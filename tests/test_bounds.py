"""docs/bounds.md says what the code does, docs/security.md and docs/attacks.md which tests there are."""

import importlib
import re

import msgspec
import pytest

from daemons import ROOT
from dropsight.config import Config, Inference

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "bounds.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| what |", "| --- "))
]
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "%": 0.01}
UNIT = (ROOT / "systemd" / "dropsight.service").read_text()


def figure(cell: str) -> float:
    """The number of a cell, in bytes or seconds."""
    found = re.match(r"([0-9,]+) ?(KiB|MiB|GiB|%|s|bytes)?", cell)
    assert found, cell
    return int(found[1].replace(",", "")) * UNITS.get(found[2], 1)


def default(key: str) -> object:
    value: object = Config()
    for part in key.split("."):
        value = getattr(value, part)
        value = value[0] if isinstance(value, tuple) else value
    return value


def of_the_unit(directive: str) -> float:
    (value,) = re.findall(rf"^{directive}=(.*)$", UNIT, re.MULTILINE)
    return figure(value)


def in_force(source: str) -> float:
    """What the code, the config or the unit says where the table says that it does."""
    name = source.split("`")[1]
    if source == "most of `inference.top_k`":
        properties = msgspec.json.schema(Inference)["$defs"]["Inference"]["properties"]
        return float(properties["top_k"]["maximum"])
    if source.startswith("unit "):
        return of_the_unit(name)
    if ":" not in name:
        found = default(name)
    else:
        module, _, constant = name.partition(":")
        found = getattr(importlib.import_module(f"dropsight.{module}"), constant)
    assert isinstance(found, int | float), source
    return float(found)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_bound_that_is_told_is_the_one_in_force(row: list[str]) -> None:
    _, told, _, source = row
    assert figure(told) == pytest.approx(in_force(source))


PAGES = "".join((ROOT / "docs" / page).read_text() for page in ("security.md", "attacks.md"))
NAMED = re.findall(r"`(?:tests/)?(test_\w+\.py)(?:::(test_\w+))?`", PAGES)


def test_every_test_that_the_pages_on_security_name_is_there() -> None:
    assert len(NAMED) > 70
    for file, name in NAMED:
        assert f"def {name or 'test_'}" in (ROOT / "tests" / file).read_text(), (file, name)
