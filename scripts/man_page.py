"""Print the man page dropsight(1), made from the help pages."""

import os
import sys
from collections.abc import Iterator

from dropsight.cli import COMMANDS, parser_of
from dropsight.version import VERSION

EXIT_CODES = {
    "0": "done",
    "1": "failed while running",
    "2": "wrong usage or config, a file that is not there among them",
    "130": "ended by Ctrl-C",
}


def page() -> str:
    os.environ["COLUMNS"] = "80"  # which argparse goes by
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH DROPSIGHT 1 "" "dropsight {VERSION}" "User Commands"'
    yield from (".SH NAME", r"dropsight \- classify every image that lands in a folder")
    yield from (".SH SYNOPSIS", r".B dropsight", r"[\-\-debug] COMMAND [OPTIONS]", ".SH COMMANDS")
    for name in COMMANDS:
        yield f".SS dropsight {name}"
        yield from (".nf", *map(_escaped, parser_of(name).format_help().splitlines()), ".fi")
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from (".TP", f".B {code}", meaning)
    yield from (".SH FILES", ".TP", ".I /etc/dropsight/dropsight.yaml", "the installed service's config")


def _escaped(line: str) -> str:
    r"""A line as it is: no backslash, no leading dot or quote, which mean something to troff."""
    text = line.replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + text if text[:1] in {".", "'"} else text


if __name__ == "__main__":
    sys.stdout.write(page())
