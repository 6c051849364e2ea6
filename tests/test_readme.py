"""What the README and the manual show is so."""

import re
from pathlib import Path

import pytest

from daemons import PHOTOS, ROOT
from dropsight.cli import COMMANDS

README = (ROOT / "README.md").read_text()
MANUAL = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *MANUAL]
FOLDERS = (ROOT, ROOT / "daemon", ROOT / "daemon" / "dropsight", ROOT / "tests", ROOT / "scripts")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    shown = "\n".join(re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL))
    assert set(re.findall(r"^(?:\S*/)?dropsight ([a-z]+)\b", shown, re.MULTILINE)) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        target = page.parent / link if link else page
        assert "://" in link or target.exists(), link
        assert not anchor or "://" in link or anchor in anchors(target.read_text()), anchor
    for script in re.findall(r"\bscripts/[\w-]+(?:\.\w+)?", text):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    shown = set(
        re.findall(r"```python\n# (daemon/\S+\.py)$", text, re.MULTILINE)
    )  # to be added by whoever reads
    everywhere = {
        file.name for folder in ("daemon", "tests", "scripts") for file in (ROOT / folder).rglob("*.py")
    }
    for name in set(re.findall(r"(?<![\w./-])[a-z][\w/]*\.py\b", text)) - shown:
        found = name in everywhere if "/" not in name else any((folder / name).exists() for folder in FOLDERS)
        assert found, name


def test_every_decision_has_a_heading_to_link_to_below_its_date() -> None:
    text = (ROOT / "docs" / "decisions.md").read_text()
    assert not re.findall(r"^\*\*.*", text, re.MULTILINE)
    headings = re.findall(r"^#+ .*", text, re.MULTILINE)
    dates = [each for each in headings if each.startswith("## ")]
    assert all(re.fullmatch(r"## (Until )?\d{4}-\d{2}-\d{2}", date) for date in dates)
    assert headings[1] in dates
    assert len(anchors(text)) == len(headings)


def anchors(text: str) -> set[str]:
    """Return what the headings of a page can be linked to by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 120
    assert all(f"](docs/{page.name})" in README for page in MANUAL)
    assert "](CONTRIBUTING.md)" in README


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
