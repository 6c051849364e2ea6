"""Completion of commands, options and paths, as typed into the shells themselves."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import dropsight

INTERACTIVE = {
    "bash": ("--rcfile", "rc", "-i"),
    "zsh": ("-i",),
    "fish": ("--private", "--init-command", "source rc"),
}
# The completed line is not to be carried out, only written down.
RC = {
    "bash": 'eval "$(dropsight completion bash)"; dropsight() { echo "$@" >got; }; PS1="ready>"',
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$(dropsight completion zsh)"\n'
    'dropsight() { echo "$@" >got; }; PS1="ready>"',
    "fish": "dropsight completion fish | source; function dropsight; echo $argv >got; end\n"
    'function fish_prompt; echo -n "ready>"; end; function fish_greeting; end',
}


def shell(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name}"))


@pytest.mark.parametrize("name", [shell("bash"), shell("zsh"), shell("fish")])
def test_a_command_an_option_and_a_path_are_completed_in(name: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "two words.jpg").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.tflite").touch()
    line = "dropsight class\t--mod\tmod\tm\t--to\t3 pho\ttwo\t\n"
    assert typed(name, line, tmp_path) == "classify --model models/m.tflite --top 3 photos/two words.jpg"


def typed(name: str, line: str, folder: Path) -> str:
    """Return what was typed as the shell took it, with `dropsight` first on its path."""
    program = folder / "bin" / "dropsight"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dropsight "$@"\n')
    program.chmod(0o755)
    (folder / "rc").write_text(RC[name])
    (folder / ".zshrc").symlink_to("rc")
    path = f"{program.parent}:{os.environ['PATH']}"
    home = {"HOME": str(folder), "ZDOTDIR": str(folder), "PATH": path, "TERM": "xterm"}
    got = folder / "got"
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", name, *INTERACTIVE[name]],
        cwd=folder,
        env={**os.environ, **home},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        shown = b""
        while b"ready>" not in shown:
            shown += os.read(screen, 4096)
        os.write(screen, line.encode())
        wait_until(lambda: got.exists() and got.read_text().endswith("\n"), what=f"the line in {name}")
        return got.read_text().strip()
    finally:
        process.kill()
        process.wait()
        os.close(screen)


@pytest.mark.parametrize("given", [[], ["tcsh"]], ids=str)
def test_a_shell_that_is_not_known_is_2_and_those_that_are(given: Sequence[str]) -> None:
    done = dropsight("completion", *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SHELL" in done.stderr
