"""What the README and the manual show is so."""

import re
from pathlib import Path

import pytest

from daemons import PHOTOS, ROOT
from dropsight.cli import COMMANDS

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    shown = "\n".join(re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL))
    assert set(re.findall(r"^(?:\S*/)?dropsight ([a-z]+)\b", shown, re.MULTILINE)) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in link or (page.parent / link).exists(), link
    for script in re.findall(r"\bscripts/[\w-]+(?:\.\w+)?", text):
        assert (ROOT / script).exists(), script


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 120
    assert all(f"](docs/{page.name})" in README for page in PAGES[1:])


def test_the_pages_are_installed_beside_the_readme_that_the_unit_names() -> None:
    install = (ROOT / "scripts" / "install").read_text()
    assert '--target-directory "$new/share" README.md ' in install
    assert '--target-directory "$new/share/docs" docs/*.md\n' in install
    unit = (ROOT / "systemd" / "dropsight.service").read_text()
    assert "Documentation=file:///opt/dropsight/share/README.md\n" in unit


def test_the_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / name).write_bytes(PHOTOS[0].read_bytes())
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own words
    assert (tmp_path / "results.json").exists()
