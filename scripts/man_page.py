"""Print the man page dropsight(1), made from the help pages."""

import sys
from collections.abc import Iterator

import typer

from dropsight.cli import app
from dropsight.version import VERSION

EXIT_CODES = {
    "0": "done",
    "1": "failed while running",
    "2": "wrong usage or config, a file that is not there among them",
    "130": "ended by Ctrl-C",
}


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    group = typer.main.get_command(app)
    yield f'.TH DROPSIGHT 1 "" "dropsight {VERSION}" "User Commands"'
    yield from (".SH NAME", r"dropsight \- classify every image that lands in a folder")
    yield from (".SH SYNOPSIS", r".B dropsight", r"[\-\-debug] COMMAND [OPTIONS]", ".SH COMMANDS")
    context = group.make_context("dropsight", [], resilient_parsing=True, max_content_width=78)
    for name, command in group.commands.items():  # type: ignore[attr-defined] # a group
        yield f".SS dropsight {name}"
        inner = command.make_context(f"dropsight {name}", [], resilient_parsing=True, parent=context)
        yield from (".nf", *map(_escaped, command.get_help(inner).splitlines()), ".fi")
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from (".TP", f".B {code}", meaning)
    yield from (".SH FILES", ".TP", ".I /etc/dropsight/dropsight.yaml", "the installed service's config")


def _escaped(line: str) -> str:
    r"""A line as it is: no backslash, no leading dot or quote, which mean something to troff."""
    text = line.replace("\\", r"\e").replace("-", r"\-").replace("dropsight dropsight", "dropsight")
    return r"\&" + text if text[:1] in {".", "'"} else text


if __name__ == "__main__":
    sys.stdout.write(page())
