"""`run` spelt plainly skips the command line's library, and means what it would have meant to it."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from daemons import PHOTOS, House, command
from dropsight.cli import app
from dropsight.entry import plain_run

PLAIN = [
    ["run"],
    ["run", "--once"],
    ["run", "-v", "--once", "-c", "a.yaml"],
    ["run", "--watch", "in", "--verbose"],
    ["run", "-c", "a.yaml"],
    ["run", "--config", "a.yaml", "--once", "--watch", "in", "--watch", "other"],
    ["run", "--model", "m.tflite", "--log", "r.jsonl", "--mqtt", "mqtt://hub:1884", "--watch", "in"],
]
NOT_PLAIN = [
    [],
    ["status"],
    ["--debug", "run"],
    ["run", "--help"],
    ["run", "--watch"],
    ["run", "--watch", "--once"],
    ["run", "--model=m.tflite"],
    ["run", "in"],
    ["run", "--unknown", "x"],
    ["run", "-c", "a.yaml", "--config", "b.yaml"],
]


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_a_plain_run_is_read_as_the_command_line_reads_it(arguments: Sequence[str]) -> None:
    order = plain_run(arguments)
    assert order is not None
    group = typer.main.get_command(app)
    context = group.make_context("dropsight", list(arguments), resilient_parsing=True)
    command = group.get_command(context, "run")  # type: ignore[attr-defined] # a group
    known = command.make_context("run", list(arguments[1:])).params
    assert (order.file, list(order.watch)) == (known["config"], list(known["watch"] or []))
    assert {key: known[key] for key in ("model", "log", "mqtt", "once", "verbose")} == {
        "model": order.model,
        "log": order.log,
        "mqtt": order.mqtt,
        "once": order.once,
        "verbose": order.verbose,
    }


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_all_else_is_left_to_the_command_line(arguments: Sequence[str]) -> None:
    assert plain_run(arguments) is None


def test_the_daemon_imports_nothing_that_it_may_never_use() -> None:
    code = "import sys; import dropsight.entry, dropsight.commands.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seldom = {"typer", "click", "rich", "tqdm", "asyncio", "dropsight.web.serving", "dropsight.explain"}
    assert not seldom & set(done.stdout.split())


@pytest.mark.parametrize(
    "streams", ["<&- >&- 2>&-", ">&-", "2>&-", "2>/dev/full", "-v >/dev/full 2>/dev/full", "2> >(true)"]
)
def test_it_runs_with_streams_that_are_closed_full_or_broken(tmp_path: Path, streams: str) -> None:
    """As under cron, an init script or a parent that went away; no file of ours takes a stream's number."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    line = shlex.join(command("run", "-c", str(house.config), "--once"))
    done = subprocess.run(["bash", "-c", f"{line} {streams}"], check=False, timeout=120, capture_output=True)
    assert done.returncode == 0
    assert [record["status"] for record in house.records()] == ["ok"]
