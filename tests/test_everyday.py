"""The commands of every day: init, logs, pause and the others, their help pages and the man page."""

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, ROOT, command, dropsight, running
from dropsight.cli import COMMANDS, parser_of
from dropsight.commands.following import Tail
from dropsight.config import load
from dropsight.journal.jsonlog import JsonLog
from man_page import page

NAMES = list(COMMANDS)


def test_init_writes_the_annotated_config_once_and_says_what_comes_next(tmp_path: Path) -> None:
    done = dropsight("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropsight check -c dropsight.yaml" in done.stdout
    written = tmp_path / "dropsight.yaml"
    assert written.read_text() == (ROOT / "config" / "dropsight.yaml").read_text()
    load(written)
    written.write_text("device: mine\n")
    again = dropsight("init", cwd=tmp_path)
    assert (again.returncode, written.read_text()) == (2, "device: mine\n")
    assert "dropsight.yaml: already exists; --force overwrites it" in again.stderr
    assert dropsight("init", "--force", cwd=tmp_path).returncode == 0
    assert "watch:" in written.read_text()


@pytest.mark.slow
def test_orders_are_carried_out_by_the_running_daemon(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        for order, said in (("pause", "paused"), ("resume", "resumed"), ("rescan", "are being scanned")):
            done = dropsight(order, "-c", str(house.config))
            assert (done.returncode, done.stderr) == (0, "")
            assert said in done.stdout
            assert house.status()["stats"]["paused"] is (order == "pause")
        assert "reloaded: " in dropsight("reload", "-c", str(house.config)).stdout


def test_an_order_to_nobody_is_1(tmp_path: Path) -> None:
    done = dropsight("pause", cwd=tmp_path, environ={"DROPSIGHT_STORE__PATH": "state/journal.db"})
    assert done.returncode == 1
    assert "no dropsight is running" in done.stderr


@pytest.mark.slow
def test_logs_shows_what_was_classified_and_colours_it_on_a_terminal_only(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
        (house.inbox / "b.jpg").write_bytes(b"no picture")
        wait_until(lambda: len(house.records()) == 2)
    arguments = ["logs", "-c", str(house.config)]
    plain = dropsight(*arguments).stdout
    assert len(plain.splitlines()) == 2
    assert "a.jpg" in plain
    assert "not_an_image" in plain
    assert "\033[" not in plain
    raw = dropsight(*arguments, "--json", "-n", "1").stdout
    assert raw == (tmp_path / "logs" / "results.jsonl").read_text().splitlines(keepends=True)[-1]
    assert "\033[3" in _on_a_terminal(*arguments)
    assert "\033[" not in _on_a_terminal(*arguments, NO_COLOR="1")
    assert dropsight("logs", cwd=tmp_path / "inbox").returncode == 1


@pytest.mark.parametrize("compress", [True, False])
def test_logs_follows_through_rotations_without_a_gap_or_a_double(tmp_path: Path, *, compress: bool) -> None:
    path = tmp_path / "results.jsonl"
    tail, lines = Tail(path), [b'{"id":"%04d"}' % number for number in range(400)]
    log = JsonLog(path, max_bytes=200, backups=100, compress=compress)
    seen = list(tail.news())
    for start in range(0, 400, 5):
        for line in lines[start : start + 5]:
            log.append([line])
        if start % 35 == 0:  # else it is late by several rotations
            seen += tail.news()
    log.close()
    seen += tail.news()
    tail.close()
    assert seen == lines


@pytest.mark.parametrize("name", NAMES)
def test_every_help_page_has_an_example_and_no_types(name: str) -> None:
    shown = parser_of(name).format_help()
    assert f"Example: dropsight {name}" in shown
    assert not re.search(r"<[a-z]|\{|\[\[|None|False", shown)


def test_the_version_has_a_letter() -> None:
    assert dropsight("-V").stdout == dropsight("--version").stdout


def test_the_man_page_covers_every_command_and_exit_code() -> None:
    text = page()
    for name in NAMES:
        assert f".SS dropsight {name}\n" in text
    for code in ("0", "1", "2", "130"):
        assert f".B {code}\n" in text
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-Tascii", "-ww"], input=text, capture_output=True, text=True, check=True
        )
        assert not done.stderr


def test_install_brings_the_man_page_and_uninstall_takes_it_away() -> None:
    place = '"$root/usr/local/share/man/man1/dropsight.1"'
    install = (ROOT / "scripts" / "install").read_text()
    assert 'scripts/man_page.py >"$new/share/dropsight.1"' in install
    assert f'"$share/dropsight.1" {place}' in install
    assert f"rm -f {place}" in (ROOT / "scripts" / "uninstall").read_text()


def _on_a_terminal(*arguments: str, **environ: str) -> str:
    screen, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(command(*arguments), stdout=terminal, env={**environment, **environ}) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(screen, 4096):
                shown += piece
        except OSError:  # the other side is closed
            pass
        assert process.wait(60) == 0
    os.close(screen)
    return shown.decode()
