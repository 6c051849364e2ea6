"""How a command line is declared, shown and read, by argparse."""

import math
from argparse import PARSER, Action, ArgumentParser, ArgumentTypeError, HelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dropsight.errors import ConfigError

PROGRAM = "dropsight"
# What a shell completes in the place of these, in the words of shtab.
_COMPLETED = {"FILE": "file", "IMAGE": "file", "PATH": "file", "MODEL": "file", "DIR": "directory"}
_IN_USAGE = {"+": "{}...", "?": "[{}]"}


class Argument(NamedTuple):
    """An option, or what stands without one, in the words of argparse."""

    names: Sequence[str]
    how: Mapping[str, Any]


def argument(spelt: str, text: str, **how: Any) -> Argument:  # noqa: ANN401 - what argparse takes
    """Return what is spelt as "-o --output FILE", "--json" or, without an option, "images IMAGE"."""
    *names, last = spelt.split()
    if last.isupper():
        return Argument(names, {"metavar": last, "help": text, **how})
    return Argument((*names, last), {"action": "store_true", "help": text, **how})


# That many commands take.
CONFIG = argument("-c --config FILE", "Config file (YAML); all keys are optional.", type=Path, dest="file")
MODEL = argument(
    "--model MODEL", "A .tflite, .onnx, .keras or .h5 file, a SavedModel folder, or builtin:NAME."
)
JSON = argument("--json", "Print JSON, for programs.", dest="as_json")


class Number(NamedTuple):
    """The type of a number with bounds."""

    kind: type[int | float]
    least: float
    most: float = math.inf

    def __call__(self, text: str) -> float:
        try:
            number = self.kind(text)
        except ValueError:
            number = math.nan
        if self.least <= number <= self.most:
            return number
        raise ArgumentTypeError(f"must be a {'whole ' * (self.kind is int)}number, {self}, not {text!r}")

    def __str__(self) -> str:
        return f"{self.least} or more" if self.most == math.inf else f"{self.least} to {self.most}"


class Needs(NamedTuple):
    """What has to be installed for a command: packages, and the extra that brings them."""

    extra: str
    packages: tuple[str, ...]


class Command(NamedTuple):
    does: str
    example: str
    by: str
    """ "module:function", which takes the arguments by their names."""
    arguments: Sequence[Argument] = ()
    always: Mapping[str, object] = {}
    needs: Needs | None = None


class HelpPage(HelpFormatter):
    """As wide as the terminal, and no wider than is read with ease."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
        self._width = min(self._width, 98)

    def add_usage(
        self, usage: str | None, actions: Iterable[Action], groups: Iterable[Any], prefix: str | None = None
    ) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")

    def _format_action(self, action: Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if action.nargs == PARSER else text  # the heading has said it

    def _format_action_invocation(self, action: Action) -> str:
        """Name the value once, behind all names of an option: Python before 3.13 names it behind each."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"


class Parser(ArgumentParser):
    """A page, and how what it shows is read: in any order, by whole names."""

    def __init__(self, prog: str, does: str, arguments: Sequence[Argument], **how: Any) -> None:  # noqa: ANN401
        super().__init__(
            prog, description=does, formatter_class=HelpPage, add_help=False, allow_abbrev=False, **how
        )
        places, options = self.add_argument_group("Arguments"), self.add_argument_group("Options")
        usage = [prog, "[OPTIONS]"]
        for names, says in (*arguments, argument("-h --help", "Show this help.", action="help")):
            group = options if names[0].startswith("-") else places
            action = group.add_argument(*names, **{**says, "help": _explained(says)})
            if action.metavar in _COMPLETED:
                action.complete = _COMPLETED[action.metavar]  # type: ignore[attr-defined] # shtab's
            if group is places:
                usage.append(_IN_USAGE.get(str(action.nargs), "{}").format(action.metavar))
        self.usage = " ".join(usage)

    def error(self, message: str) -> NoReturn:
        said = message.removeprefix("argument ")
        hint = "" if said.endswith("?") else f"; see {self.prog} -h"
        raise ConfigError([f"{self.prog.removeprefix(PROGRAM)}: {said}{hint}".lstrip(" :")])

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        parse = self.parse_known_args if self._subparsers else self.parse_known_intermixed_args
        given, unknown = parse(_as_paths(words))
        for word in unknown:
            if word.startswith("-"):
                name = word.partition("=")[0]
                self.error(f"no such option: {name}{near(name, self._option_string_actions)}")
            self.error(f"unexpected argument: {word}")
        return vars(given)


def near(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    return "".join(f"; did you mean {found}?" for found in get_close_matches(word, known, 1))


def _explained(says: Mapping[str, Any]) -> str:
    notes = ["required"] if says.get("required") else []
    if says.get("default"):
        notes.append(f"default: {says['default']}")
    if isinstance(says.get("type"), Number):
        notes.append(str(says["type"]))
    return f"{says['help']} [{'; '.join(notes)}]" if notes else str(says["help"])


def _as_paths(words: Sequence[str]) -> list[str]:
    """What stands behind -- is a path, whatever it begins with; argparse forgets that on its way."""
    if "--" not in words:
        return list(words)
    end = words.index("--")
    return [*words[:end], *(f"./{word}" if word.startswith("-") else word for word in words[end + 1 :])]
