"""Where every command begins."""

import gc
import os
import signal
import sys

from dropsight import cli
from dropsight.commands import logs
from dropsight.commands.faults import told_plainly
from dropsight.names import show_all
from dropsight.stderr import let_native_code_wait_for_nobody


def main() -> None:
    """Run a command."""
    speak_utf_8()
    open_streams()
    show_all()
    with told_plainly(debug=False):
        order = cli.read(sys.argv[1:])
    with told_plainly(debug=order.debug):
        if order.command == "run":
            let_native_code_wait_for_nobody()
            # NumPy's algebra, which the daemon does not use, would start one thread per core.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            # Who wants the config read anew wants no end, which systemd would take for meant: not before the
            # daemon hears of it, nor after.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        logs.set_up(debug=order.debug)
        # Modules and what is in them are there to stay: the collector need not walk them, now or ever after.
        gc.disable()
        carry_out = order.load()
        gc.freeze()
        gc.enable()
        sys.exit(carry_out())


def speak_utf_8() -> None:
    """Begin anew where the locale is of another encoding, such as de_DE without .UTF-8: a config is UTF-8.

    By such a locale, the folders and cameras that it names with more than ASCII would be others.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for our own processes, too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves


def open_streams() -> None:
    """Have what was closed before the start lead nowhere: else a file of ours would take its place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as Python's own
