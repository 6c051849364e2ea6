"""What docs/architecture.md says of rooms and threads is so."""

import ast
import re
import shutil
import socket
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from clip_houses import file_away, gray_clip
from daemons import PHOTOS, ROOT, House
from pages import PACKAGE, rooms, rows
from receivers import secret_file
from supervisors import Supervisor
from webs import ANY_PORT, address, ask

PAGE = "docs/architecture.md"
LIBRARY = ("archive", "explain", "events", "inference", "video", "images", "models")
# What the library's rooms may have of the rest.
SHARED = {
    "bounded",
    "children",
    "config",
    "crashpoints",
    "errors",
    "installing",
    "names",
    "records",
    "spawning",
    "threads",
    "version",
}
# Each thread's name as it starts: some live for a moment only.
LAUNCHER = """
import sys, threading

names = open("threads", "a", buffering=1)
names.write(f"{threading.current_thread().name}\\n")
start = threading.Thread.start

def told(thread):
    names.write(f"{thread.name}\\n")
    start(thread)

threading.Thread.start = told
sys.argv = ["dropsight", *sys.argv[4:]]
from dropsight.entry import main

sys.exit(main())
"""


def test_the_rooms_stand_in_the_layers_order_with_what_they_say_of_themselves() -> None:
    expected = rooms()
    table = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert rows(PAGE, "room or file") == expected, f"the table is to be:\n{table}"


def test_no_file_and_no_class_has_a_name_that_another_has() -> None:
    """But for files of results and of figures, which mean the same in every room."""
    files = [path for path in PACKAGE.rglob("*.py") if path.stem not in {"__init__", "results", "figures"}]
    classes = [
        node.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    names = Counter([*classes, *(file.name for file in files)])
    assert {name for name, times in names.items() if times > 1} == set()


@pytest.mark.parametrize("room", LIBRARY)
def test_the_library_imports_nothing_of_the_daemon(room: str) -> None:
    imported = {
        str(node.module).split(".")[1]
        for file in (PACKAGE / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dropsight.")
    }
    assert imported <= SHARED | set(LIBRARY)


def test_every_room_but_its_own_is_kept_from_naming_what_is_foreign() -> None:
    """A new room must not come to name paho because nobody has added it to a list."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    places = {room for line in contracts[0]["layers"] for room in re.split(r" [|:] ", line)}
    for contract in contracts[1:]:
        _, _, where = contract["name"].removesuffix(" only").partition(" named under ")
        own = {place.partition(".")[0] for place in where.split(" and ")}
        kept_out = {f"dropsight.{room}" for room in places - own - {"__main__"}}
        assert set(contract["source_modules"]) == kept_out, contract["name"]


def as_named(thread: str, root: Path) -> str:
    """Return a thread's name as the page has it."""
    for pattern, name in (
        (f"({re.escape(str(root))}|/dev/shm)/.*inbox(-mqtt)?$", "FOLDER"),
        (r"^worker-\d+$", "worker-N"),
        (r"^webhook:.*", "webhook:NAME"),
        (r"^notify:.*", "notify:NAME"),
        (r"^mqtt-network-.*", "mqtt-network-ID"),
        (r"^(web-\w+)_0$", r"\1"),
        (r"^asyncio_\d+$", "asyncio_N"),
        (r"^Thread-\d+.*", "a timer"),
    ):
        thread = re.sub(pattern, name, thread)
    return thread


@pytest.fixture
def inbox_elsewhere(tmp_path: Path) -> Iterator[Path]:
    """An inbox on another disk than the journal."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("tests lie on the only other disk there is")
        (inbox := Path(folder) / "inbox").mkdir()
        yield inbox


@pytest.mark.timeout(120)
def test_the_threads_are_those_of_the_page(
    tmp_path: Path, supervisor: Supervisor, inbox_elsewhere: Path
) -> None:
    """With everything on: a broker that says nothing, a webhook that nobody hears, a log that rolls."""
    mute = socket.create_server(("127.0.0.1", 0))
    settings = {
        "watch": [
            {"path": "inbox", "burst_seconds": 3},
            {"mqtt": "cameras/+/image"},
            {"path": str(inbox_elsewhere), "processed": "elsewhere", "failed": "elsewhere"},
        ],
        "mqtt": {"url": f"mqtt://127.0.0.1:{mute.getsockname()[1]}"},
        "webhooks": [{"url": "http://127.0.0.1:1/", "name": "hub"}],
        "notify": {"phone": {"targets_file": str(secret_file(tmp_path / "phone", "json://127.0.0.1:1/"))}},
        "web": ANY_PORT,
        "explain": {"below_confidence": 0.0},
        "log": {"max_bytes": 1000},
    }
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    house = House(tmp_path, settings)
    house.under = ["env", "-C", str(tmp_path), sys.executable, str(tmp_path / "launcher.py")]
    named = {name for row in rows(PAGE, "thread") for name in re.findall(r"`([^`]+)`", row[0])}
    of_libraries = {"asyncio_N", "a timer"}

    def seen() -> set[str]:
        return {as_named(name, tmp_path) for name in (tmp_path / "threads").read_text().splitlines()}

    try:
        (clip,) = file_away(house, [gray_clip(tmp_path / "garden.mp4")])
        for photo in PHOTOS[:4]:
            shutil.copy(photo, house.inbox)
        shutil.copy(PHOTOS[4], inbox_elsewhere)
        house.spawn("-v", NOTIFY_SOCKET=supervisor.path, WATCHDOG_USEC="60000000")
        wait_until(house.answers, what="the daemon answers")
        wait_until(lambda: house.finished() == 5)
        url = address(house)
        (newest, *_) = ask(url, "/api/results").json()["results"]
        ask(url, f"/api/images/{newest['id']}/thumbnail")
        ask(url, f"/api/images/{clip}/film")
        ask(url, "/api/commands/rescan", method="POST", headers={"X-Dropsight": "1"})
        wait_until(lambda: named <= seen(), what="all threads of the page")
        assert seen() - of_libraries <= named
    finally:
        house.kill()
        mute.close()


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / PAGE).read_text())
    assert [name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()] == []
