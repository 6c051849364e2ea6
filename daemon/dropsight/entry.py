"""Where every command begins. `run`, which machines start, goes past the command line's own library.

That library takes as long to import as OpenCV, and stays in memory for as long as the daemon runs.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dropsight.names import show_all

_VALUED = {"-c": "file", "--config": "file", "--model": "model", "--log": "log", "--mqtt": "mqtt"}


class RunOrder(NamedTuple):
    """What `run` was asked for."""

    file: Path | None
    watch: Sequence[str]
    model: str | None
    log: str | None
    mqtt: str | None
    once: bool
    verbose: bool


def main() -> None:
    """Run a command."""
    open_streams()
    show_all()
    order = plain_run(sys.argv[1:])
    if order is None:
        from dropsight import cli

        cli.main()
        return
    # NumPy's algebra, which the daemon does not use, would start a thread a core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Modules and what is in them are there to stay: the collector need not walk them, now or ever after.
    gc.disable()
    from dropsight.commands import logs, run
    from dropsight.commands.faults import told_plainly

    gc.freeze()
    gc.enable()
    with told_plainly():
        logs.set_up(debug=False)
        sys.exit(
            run.run(
                order.file,
                watch=order.watch,
                model=order.model,
                log=order.log,
                mqtt=order.mqtt,
                once=order.once,
                verbose=order.verbose,
            )
        )


def open_streams() -> None:
    """Have what was closed before the start lead nowhere: else a file of ours would take its place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as Python's own


def plain_run(arguments: Sequence[str]) -> RunOrder | None:
    """Return a `run` that is spelt plainly; None for all else, which the command line knows better."""
    if arguments[:1] != ["run"]:
        return None
    watch: list[str] = []
    values: dict[str, str] = {}
    once = verbose = False
    rest = iter(arguments[1:])
    for word in rest:
        if word == "--once":
            once = True
            continue
        if word in {"-v", "--verbose"}:
            verbose = True
            continue
        name, value = _VALUED.get(word), next(rest, "-")
        if value.startswith("-") or (name is None and word != "--watch") or name in values:
            return None
        if name is None:
            watch.append(value)
        else:
            values[name] = value
    file = values.get("file")
    return RunOrder(
        file=None if file is None else Path(file),
        watch=watch,
        model=values.get("model"),
        log=values.get("log"),
        mqtt=values.get("mqtt"),
        once=once,
        verbose=verbose,
    )
