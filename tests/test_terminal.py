"""What a person sees who runs the daemon in a terminal; a real one, of a pseudo-terminal's making."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from brokers import wait_until
from daemons import ROOT, SAMPLES, House, command
from dropsight.config import Watch
from dropsight.demo.show import RELOAD_SECONDS
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.journal.recording import Finished, Recorded, RecordedBurst
from dropsight.records import Record
from dropsight.sinks.terminal import QUEUED_GROUPS, Table, Terminal, columns
from dropsight.status.census import UnprocessedImages
from dropsight.status.stats import MOST_CAMERAS, Snapshot, Stats, summary
from processes import begin
from records import failure, result
from supervisors import Supervisor
from webs import idle_stream, is_up

COLOURS = re.compile(r"\033\[\d*m")


class Screen:
    """A program in a terminal of so many columns, and all that it wrote there."""

    def __init__(self, arguments: Sequence[str], *, cwd: Path, width: int, **environ: str) -> None:
        self.text = ""
        self._master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = {**os.environ, "TERM": "xterm", **environ}
        self.process = begin(arguments, cwd=cwd, stdout=terminal, stderr=terminal, env=environment)
        os.close(terminal)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nobody writes there any more
            while data := os.read(self._master, 65_536):
                self.text += data.decode(errors="replace").replace("\r\n", "\n")

    def ended(self) -> int:
        code = self.process.wait(120)
        self._reader.join()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        os.close(self._master)


@contextmanager
def screen(arguments: Sequence[str], *, cwd: Path, width: int = 100, **environ: str) -> Iterator[Screen]:
    shown = Screen(arguments, cwd=cwd, width=width, **environ)
    try:
        yield shown
    finally:
        shown.close()


LONG = f"{'a-very-long-name-' * 6}1.jpg"


def house(root: Path) -> House:
    """Three images to come: a name that no line holds, an order to the terminal, no image."""
    root.mkdir(exist_ok=True)
    made = House(root, {})
    (made.inbox / "porch").mkdir()
    shutil.copy(SAMPLES / "koala.jpg", made.inbox / "porch" / LONG)
    shutil.copy(SAMPLES / "coffee.jpg", made.inbox / "a\033[2Jb.jpg")
    (made.inbox / "porch" / "bad.jpg").write_text("no picture")
    return made


def once(root: Path, *more: str) -> list[str]:
    return command("run", "-c", str(house(root).config), "--once", *more)


@pytest.mark.parametrize("width", [60, 100])
def test_in_a_terminal_each_image_is_a_line_that_fits_and_the_end_is_summed_up(
    tmp_path: Path, width: int
) -> None:
    with screen(once(tmp_path), cwd=tmp_path, width=width) as shown:
        assert shown.ended() == 0, shown.text
    table = shown.text[shown.text.index("\033[1mcamera") :]
    lines = COLOURS.sub("", table).splitlines()
    assert {lines[0].split()[0], lines[0].split()[-1]} == {"camera", "ms"}
    rows, end = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert all(columns(row) < width for row in rows), rows
    assert any("koala" in row and "1.jpg" in row for row in rows)
    assert any("cup" in row and "a?[2Jb.jpg" in row for row in rows)
    assert any("failed" in row and "bad.jpg" in row for row in rows)
    assert "\033[2J" not in shown.text
    assert end[0].startswith("2 classified, 1 failed in ")
    assert end[1] in {"Most seen: cup 1, koala 1", "Most seen: koala 1, cup 1"}
    assert end[2] == f"The results are in {tmp_path / 'logs' / 'results.jsonl'}"
    assert "latency ms" not in shown.text  # the line for a log, which says the same


def test_a_terminal_gets_no_colour_where_no_color_is_set(tmp_path: Path) -> None:
    with screen(once(tmp_path), cwd=tmp_path, NO_COLOR="1") as shown:
        assert shown.ended() == 0
    assert "koala" in shown.text
    assert "\033" not in shown.text


@pytest.mark.slow
def test_where_there_is_no_terminal_only_verbose_prints_lines_and_prints_them_whole(tmp_path: Path) -> None:
    quiet = subprocess.run(once(tmp_path / "q"), capture_output=True, text=True, check=True, timeout=120)
    assert quiet.stdout == ""
    assert "2 done, 1 failed, 0 waiting" in quiet.stderr
    said = subprocess.run(once(tmp_path / "v", "-v"), capture_output=True, text=True, check=True, timeout=120)
    assert f"porch    {LONG} " in said.stdout
    assert "\033" not in said.stdout


def test_a_terminal_that_takes_nothing_holds_up_nobody_and_is_told_what_it_missed() -> None:
    """Ctrl-S, or a line that hangs: the daemon goes on."""
    stat = Path(__file__).stat()
    entry = _recorded(result("a.jpg", stat))
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    terminal = Terminal(writer, colour=False, passing=False)
    try:
        for _ in range(4 * QUEUED_GROUPS):
            terminal.hear([entry] * 40)
        os.set_blocking(reader, False)
        taken = b""

        def told() -> bool:
            nonlocal taken
            with contextlib.suppress(BlockingIOError):
                taken += os.read(reader, 65_536)
            terminal.hear([entry])
            return b"more than this terminal took in time)" in taken

        wait_until(told)
    finally:
        os.close(reader)
        terminal.hear([entry])
        wait_until(lambda: not any(thread.name == "terminal" for thread in threading.enumerate()))
        os.close(writer)


def test_columns_grow_with_what_is_in_them_and_wide_letters_count_twice() -> None:
    table, stat = Table(), Path(__file__).stat()
    table.cells(result("\u732b" * 20 + ".jpg", stat), 1.0)
    before, _, _ = table.cells(failure("b.jpg", stat), 1.0)
    assert columns(before) == 8 + 1 + 44


@pytest.mark.slow
def test_the_demo_stays_while_a_dashboard_is_open_and_takes_ports_that_are_free(
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        for port in (1883, 8080):
            with contextlib.suppress(OSError):  # then it is taken anyway
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        shown = stack.enter_context(screen(command("demo", "--seconds", "15"), cwd=tmp_path))
        wait_until(lambda: "confidence" in shown.text)
        found = re.search(r"The dashboard is at (http://127\.0\.0\.1:(\d+)/)", shown.text)
        assert found
        assert found[2] != "8080"
        assert "mosquitto_sub -p 1883" not in shown.text
        wait_until(lambda: is_up(found[1]))
        with contextlib.closing(idle_stream(found[1])):
            wait_until(lambda: "The dashboard is open: running until you close it" in shown.text)
            photos = shown.text.count("%")
            wait_until(lambda: shown.text.count("%") > photos + RELOAD_SECONDS)
        assert shown.ended() == 0
    assert shown.text.rstrip().endswith(" run --watch YOUR_FOLDER")
    assert "The results are in" not in shown.text  # which are gone


def test_the_log_gets_a_line_of_figures_only_when_something_was_done(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "notify")
    idle = House(tmp_path, {"stats": {"interval_seconds": 0.1}})
    idle.spawn(NOTIFY_SOCKET=supervisor.path)

    def told_again(times: int) -> None:
        before = len(supervisor.lines("STATUS"))
        wait_until(lambda: len(supervisor.lines("STATUS")) >= before + times)

    try:
        told_again(4)
        assert "0 done" not in idle.daemon_log()
        assert "latency ms \N{EN DASH}; memory" in supervisor.lines("STATUS")[-1]
        shutil.copy(SAMPLES / "koala.jpg", idle.inbox)
        wait_until(lambda: "1 done" in idle.daemon_log())
        told_again(4)
        assert idle.daemon_log().count("1 done") == 1
    finally:
        idle.kill()
        supervisor.close()


def test_what_failed_counts_in_the_rate_and_in_no_latency() -> None:
    stats, stat = Stats(window_seconds=60), Path(__file__).stat()
    stats.add([(failure("a.jpg", stat), 5000.0)])
    found = _snapshot(stats)
    assert {each.count for each in found.latency_ms.since_start.values()} == {0}
    assert found.images_per_second.since_start > 0
    assert "latency ms \N{EN DASH};" in summary(found)
    stats.add([(result("b.jpg", stat), 7.0)])
    assert _snapshot(stats).latency_ms.window["total"].max == 7.0


def test_a_camera_an_image_fills_neither_memory_nor_what_is_told_of_it() -> None:
    """Whoever uploads names cameras by folders; status, dashboard and broker are told of each."""
    stats, record = Stats(window_seconds=60), failure("a.jpg", Path(__file__).stat())
    cameras = [f"cam{number}" for number in range(MOST_CAMERAS + 9)]
    for _ in range(2):
        stats.add([(msgspec.structs.replace(record, camera=camera), 1.0) for camera in cameras])
    found = _snapshot(stats)
    assert dict(found.cameras) == dict.fromkeys(cameras[:MOST_CAMERAS], 2)
    assert found.errors == {"truncated": 2 * len(cameras)}


def _snapshot(stats: Stats) -> Snapshot:
    counters = Backlog().counters()
    return stats.snapshot(
        counters,
        folders=UnprocessedImages(),
        queues={},
        dropped=0,
        paused=False,
        troubles={},
        problems={},
        clock="2026",
    )


def test_the_end_counts_each_photo_and_not_once_more_what_a_burst_of_them_shows(tmp_path: Path) -> None:
    entry = _recorded(one := result("a.jpg", Path(__file__).stat()))
    reader, writer = os.pipe()
    with os.fdopen(reader) as shown:
        terminal = Terminal(writer, colour=False, passing=True)
        terminal.hear([entry, entry, RecordedBurst(3, one, b"{}", 1.0)])
        terminal.end(_snapshot(Stats(window_seconds=60)), results=tmp_path)
        os.close(writer)
        assert "Most seen: x 2\n" in shown.read()


def _recorded(record: Record) -> Recorded:
    folder = DropFolder.open(Watch(path=Path(), processed=Path("p"), failed=Path("f")))
    candidate = Candidate(folder, "a.jpg", closed=True, ready_at=0.0)
    return Recorded(1, Finished(candidate, Path(__file__).stat(), record), b"{}", 1.0)


def test_pip_shows_how_far_it_is_where_somebody_looks_on(tmp_path: Path) -> None:
    """A hundred megabytes take their time on a slow line."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "said $*"\n')
    python.chmod(0o755)
    script = f"set -euo pipefail; source '{ROOT}/scripts/environment.sh'; pip_into env x"
    with screen(["bash", "-c", script], cwd=tmp_path) as shown:
        assert shown.ended() == 0
    assert shown.text == "said -m pip install --disable-pip-version-check x\n"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "said -m pip install --quiet --disable-pip-version-check x\n"
