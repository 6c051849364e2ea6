"""What the pages show, taken out of them to be tried."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from daemons import ROOT

PACKAGE = ROOT / "daemon" / "dropsight"


def rows(page: str, header: str) -> list[list[str]]:
    """Return the cells of the table whose first column is headed like this."""
    lines = (ROOT / page).read_text().splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith(f"| {header} |")]
    found: list[list[str]] = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def rooms() -> list[list[str]]:
    """Return the rooms and single files in the layers' order, each with what its first line says of it."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [each["layers"] for each in linter["contracts"] if each["type"] == "layers"]
    names = [name for layer in layers for name in re.split(r"[ |:]+", layer)]
    return [[f"`{place}`", _first_line(file)] for name in names for place, file in _places(name)]


def _places(name: str) -> Iterator[tuple[str, Path]]:
    if (PACKAGE / f"{name}.py").exists():
        yield f"{name}.py", PACKAGE / f"{name}.py"
        return
    yield name, PACKAGE / name / "__init__.py"
    for below in sorted((PACKAGE / name).glob("*/__init__.py")):
        yield f"{name}/{below.parent.name}", below


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
