"""Where lines for people go: whoever holds a terminal, or does not read a pipe, holds up nobody."""

import fcntl
import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

from brokers import wait_until
from daemons import PHOTOS, House
from dropsight.stderr import Unwaiting
from hostile import png

BROKEN = 40


def _fill(descriptor: int) -> None:
    """Have no room left in a pipe that is as small as one can be."""
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"earlier line\n")
    os.set_blocking(descriptor, True)


def test_a_pipe_that_nobody_reads_holds_up_no_image_no_reload_and_no_stop(tmp_path: Path) -> None:
    """As where a log driver of containers stands still; libpng writes a line for each broken PNG."""
    house, pipe = House(tmp_path, {}), tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    house.under = ["bash", "-c", f'exec "$0" "$@" 2>{shlex.quote(str(pipe))}']
    try:
        _fill(held)
        house.start()
        for number in range(BROKEN):
            (house.inbox / f"{number}.png").write_bytes(png(64, 64, b"\5" + bytes(64 * 64 * 3 + 63)))
        wait_until(lambda: len(house.records()) == BROKEN)
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: len(house.records()) == BROKEN + 1)
        assert house.ask("reload")
        assert house.stop() == 0
    finally:
        os.close(held)
    assert [record["status"] for record in house.records()] == ["failed"] * BROKEN + ["ok"]


def test_what_was_left_out_while_nobody_read_is_counted_once_somebody_does() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as out, os.fdopen(writer, "w") as stream:
        _fill(writer)
        lines = Unwaiting(stream)
        for _ in range(3):
            lines.write("nobody reads this\n")
        out.read(os.sysconf("SC_PAGESIZE"))
        lines.write("a camera is silent\n")
        said = out.read(os.sysconf("SC_PAGESIZE")).decode()
    assert said == "(3 lines are left out here: nobody took them)\na camera is silent\n"
