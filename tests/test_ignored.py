"""What lies in an inbox and is not taken is counted and named, lest somebody wait for it."""

from pathlib import Path

import pytest

from brokers import wait_until
from daemons import House, dropsight, running

LINKED = "give its target a watch of its own, with a camera, or set watch.follow_links"


def fill(inbox: Path) -> None:
    for name in ("a.cr2", "b.CR2", "front/c.cr2", "d.part", ".e.jpg.Ab12", "notes"):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / name).touch()
    (inbox / "@eaDir" / "front").mkdir(parents=True)
    (inbox / "linked").symlink_to(inbox.parent / "elsewhere")
    (inbox.parent / "elsewhere").mkdir()
    (inbox / "loop").symlink_to("loop")


def told(house: House) -> list[str]:
    return [
        "7 files are ignored: .cr2 3, .part 1, hidden 1, no suffix 2",
        "folders skipped, hidden or by watch.ignore: @eaDir 1",
        f"{house.inbox}/linked is a link to a folder, which is not read: {LINKED}",
    ]


def in_order(line: str) -> str:
    """Of kinds that are as many, any may be the first."""
    head, _, kinds = line.partition(": ")
    return f"{head}: {', '.join(sorted(kinds.split(', ')))}" if line[0].isdigit() else line


@pytest.mark.slow
def test_files_and_folders_that_are_passed_by_are_named_by_status_and_check(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    fill(tmp_path / "inbox")
    with running(tmp_path) as house:
        found = dropsight("check", "-c", str(house.config)).stdout.splitlines()
        said = [line.split(maxsplit=2)[2] for line in found if line.startswith("warn  folders")]
        assert list(map(in_order, said)) == told(house)
        wait_until(lambda: bool(house.status()["stats"]["folders"]["ignored"]["files"]))
        shown = dropsight("status", "-c", str(house.config)).stdout.splitlines()
        lines = [line.partition("ignored    ")[2] for line in shown if line.startswith("ignored ")]
        assert list(map(in_order, lines)) == told(house)
        (house.inbox / "d.part").unlink()
        house.ask("rescan")
        wait_until(lambda: ".part" not in house.status()["stats"]["folders"]["ignored"]["files"])


@pytest.mark.slow
def test_an_inbox_of_images_alone_has_nothing_to_say(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        (house.inbox / "front").mkdir()
        assert "ignored" not in dropsight("status", "-c", str(house.config)).stdout
        assert "warn  folders" not in dropsight("check", "-c", str(house.config)).stdout
