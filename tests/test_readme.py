"""What the README shows is so."""

import re
from pathlib import Path

import pytest

from daemons import PHOTOS, ROOT, dropsight

README = (ROOT / "README.md").read_text()


def test_every_command_of_the_readme_exists() -> None:
    commands = "\n".join(re.findall(r"```\n(.*?)```", README, re.DOTALL))
    named = set(re.findall(r"^(?:\S*/)?dropsight ([a-z]+)\b", commands, re.MULTILINE))
    known = dropsight("--help").stdout
    assert named
    assert all(command in known for command in named)


def test_every_file_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"\]\(([^)h][^)]*)\)|\b(scripts/\w+(?:\.py)?)", README):
        assert (ROOT / "".join(name)).exists(), name


def test_the_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / name).write_bytes(PHOTOS[0].read_bytes())
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own words
    assert (tmp_path / "results.json").exists()
