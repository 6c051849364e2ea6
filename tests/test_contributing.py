"""What CONTRIBUTING.md shows works when it is done as it says, in a copy of the package."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import PHOTOS, ROOT, House, command
from dropsight.crashpoints import VARIABLE
from pages import PACKAGE, rows

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n# ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
KILLS = ("before_delivery:2", "after_delivery:2", "after_commit:1", "before_puback_commit:1")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do all that the page says, in a copy."""
    root = tmp_path_factory.mktemp("clone")
    shutil.copytree(PACKAGE, root / "daemon" / "dropsight")
    for place, code in BLOCKS:
        told = re.fullmatch(r"in (?:class )?(\w+), (\S+)", place)
        if told is None:
            (root / place).write_text(code)
            continue
        file = root / told[2]
        before = file.read_text()
        # At the beginning of the class, or of the registry.
        after = re.sub(
            rf"^(class {told[1]}\(.*\):\n|{told[1]}\b.*{{)", rf"\1\n{code}", before, flags=re.MULTILINE
        )
        assert after != before, place
        file.write_text(after)
    return root / "daemon"


def run(source: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_what_is_shown_keeps_the_rules_of_all_code(source: Path) -> None:
    files = [str(source.parent / place) for place, _ in BLOCKS if not place.startswith("in ")]
    assert len(files) == 3
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*ruff, *files], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def papers(house: House) -> list[str]:
    path = house.root / "paper"
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def following(house: House) -> dict[str, Any]:
    found: dict[str, Any] = house.status()["stats"]["followers"]["paper"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_sink_of_one_file_and_one_line_gets_every_record_in_order_over_kills(
    source: Path, tmp_path: Path
) -> None:
    """Killed between any two steps, it gets again what was in flight, at most what came in that life."""
    house = House(tmp_path, {"paper": "paper"})
    try:
        for number, point in enumerate(KILLS):
            for each in range(4):
                shutil.copyfile(PHOTOS[each], house.inbox / f"{number}-{each}.jpg")
            house.spawn(PYTHONPATH=str(source), **{VARIABLE: point})
            assert house.ended() == -9, house.daemon_log()
        house.spawn(PYTHONPATH=str(source))
        wait_until(house.answers, what="the daemon answers")
        wait_until(lambda: len(set(papers(house))) == 4 * len(KILLS) and following(house)["waiting"] == 0)
        assert (following(house)["dropped"], following(house)["trouble"]) == (0, None)
        assert house.stop() == 0
    finally:
        house.kill()
    found = papers(house)
    assert list(dict.fromkeys(found)) == [record["id"] for record in house.records()]
    assert len(found) - len(set(found)) <= 4 * len(KILLS)


@pytest.fixture
def camera() -> Iterator[str]:
    """A camera that gives its picture at an address."""

    class Picture(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PHOTOS[0].read_bytes())

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Picture)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/snapshot.jpg"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_source_of_one_file_and_one_line_brings_pictures_that_are_classified(
    source: Path, tmp_path: Path, camera: str
) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "snapshot": camera}, {"path": "other"}]})
    try:
        house.spawn(PYTHONPATH=str(source))
        wait_until(lambda: bool(house.records()), what="a picture that nobody dropped")
        wait_until(house.answers, what="the daemon answers")
        (told,) = house.status()["sources"]
        assert (told["name"], told["place"], told["connected"], told["refused"]) == (
            "snapshots",
            camera,
            True,
            {},
        )
        assert house.stop() == 0
    finally:
        house.kill()
    assert {(record["status"], record["image"]["bytes"]) for record in house.records()} == {
        ("ok", PHOTOS[0].stat().st_size)
    }
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.slow
def test_a_backend_of_one_file_and_one_line_classifies_in_commands_and_in_the_daemon(
    source: Path, tmp_path: Path
) -> None:
    """Two colours are drawn, and each is answered by its name."""
    model = tmp_path / "paint.txt"
    model.write_text("#colours\nred 255 0 0\ndark blue 0 0 128\n")
    for name, colour in (("red", (0, 0, 250)), ("dark blue", (120, 10, 0))):
        photo = tmp_path / f"{name}.png"
        cv2.imwrite(str(photo), np.full((90, 90, 3), colour, np.uint8))
        (told,) = json.loads(run(source, "classify", str(photo), "--model", str(model), "--json"))
        assert told["label"] == name
        assert told["confidence"] > 0.99
    assert "colours" in run(source, "inspect", str(model))
    house = House(tmp_path, {"model": {"path": str(model)}, "inference": {"workers": 2}})
    for photo in tmp_path.glob("*.png"):
        shutil.copy(photo, house.inbox)
    run(source, "run", "-c", str(house.config), "--once")
    found = {Path(record["image_path"]).stem: record for record in house.records()}
    assert sorted(found) == sorted(record["label"] for record in found.values()) == ["dark blue", "red"]
    assert all(record["label"] == name for name, record in found.items())
    assert found["red"]["model"]["format"] == "colours"


def test_the_places_for_what_has_no_registry_are_where_the_page_says() -> None:
    for _, file, text in rows("CONTRIBUTING.md", "to add"):
        place = PACKAGE / file.strip("`")
        room = "".join(path.read_text() for path in place.parent.rglob("*.py"))
        for name in re.findall(r"`([^`]+)`", text):
            if "/" in name:
                assert (PACKAGE / name).exists() or (ROOT / name).exists(), name
            else:
                assert re.search(rf"\b{name}\b", room), f"{place}: {name}"
        assert place.exists()
