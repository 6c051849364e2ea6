"""The command line: every command with its arguments; its code is imported when it is called."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dropsight.errors import ConfigError
from dropsight.grammar import CONFIG, JSON, MODEL, PROGRAM, Command, Needs, Number, Parser, argument, near
from dropsight.picture_commands import OVER_PICTURES
from dropsight.version import VERSION

_SHELLS = ("bash", "zsh", "fish")
_OPTIONS = (
    argument("--debug", "Show tracebacks and debug messages."),
    argument("-V --version", "Print the version.", action="version", version=f"{PROGRAM} {VERSION}"),
)

COMMANDS = {
    "run": Command(
        "Watch folders: classify, log, publish and file away every image.",
        "--watch /srv/ftp/cameras --mqtt mqtt://192.168.1.5",
        "commands.run:run",
        (
            CONFIG,
            argument("--watch DIR", "Folder; may be repeated.", action="append", default=[]),
            MODEL,
            argument("--log FILE", "The JSON log."),
            argument("--mqtt URL", "Broker, as mqtt://HOST; or none."),
            argument("--once", "Process what is in the folders, then exit."),
            argument("-v --verbose", "Print one line per image, also if the output is not a terminal."),
        ),
    ),
    "demo": Command(
        "Show dropsight at work: sample photos, its own broker, nothing to set up.",
        "--seconds 20",
        "demo.show:show",
        (argument("--seconds N", "How long to run.", type=Number(float, 1), default=60),),
    ),
    **OVER_PICTURES,
    "check": Command(
        "Test everything that `run` needs: config, folders, model, an image, the broker.",
        "-c /etc/dropsight/dropsight.yaml",
        "commands.check:check",
        (
            CONFIG,
            argument(
                "--replay LOG",
                "Run the event rules over these logs and say what they would have told; check nothing else.",
                nargs="+",
                type=Path,
            ),
            argument("--picture FILE", "Draw what the model sees of each camera's last picture.", type=Path),
            argument("--json", "With --replay: print JSON, for programs.", dest="as_json"),
        ),
    ),
    "init": Command(
        "Write a config file with every key, its default and what it does.",
        "porch.yaml",
        "commands.init:init",
        (
            argument("file FILE", "File to write.", nargs="?", type=Path, default=Path("dropsight.yaml")),
            argument("--force", "Overwrite an existing file."),
        ),
    ),
    "logs": Command(
        "Show the last results, in colour on a terminal (not with NO_COLOR).",
        "-f",
        "commands.following:logs",
        (
            CONFIG,
            argument("-n --lines N", "Number of results.", type=Number(int, 0), default=20, dest="last"),
            argument("-f --follow", "Follow: print new results as they come."),
            JSON,
        ),
    ),
    **{
        name: Command(does, "", "commands.orders:order", (CONFIG,), {"command": name})
        for name, does in {
            "pause": "Pause the daemon: images wait in their folders until `resume`.",
            "resume": "Resume the daemon after `pause`.",
            "rescan": "Have the daemon scan its folders now.",
            "reload": "Have the daemon reload its config; a faulty one changes nothing.",
        }.items()
    },
    "config": Command(
        "Print the config in force, defaults included.",
        "> dropsight.yaml",
        "commands.settings:show",
        (CONFIG, argument("--schema", "Print the JSON schema instead.")),
    ),
    "status": Command(
        "Show what the running daemon is doing.", "--json", "commands.status:show", (CONFIG, JSON)
    ),
    "notify": Command(
        "Send a test notification to the targets of the config, and say which were reached.",
        "--test phone",
        "commands.notify:notify",
        (
            CONFIG,
            argument(
                "--test TARGET",
                "The target to test; all targets if no name is given.",
                nargs="?",
                const="",
                required=True,
                dest="name",
            ),
        ),
    ),
    "retire": Command(
        "Remove this device's retained messages, and Home Assistant's device, from the broker.",
        "-c /etc/dropsight/dropsight.yaml",
        "commands.retire:retire",
        (CONFIG, argument("--device NAME", "Device name; default: the config's, and former ones.")),
    ),
    "completion": Command(
        'Print shell completion for commands, options and paths: eval "$(dropsight completion bash)".',
        "fish > ~/.config/fish/completions/dropsight.fish",
        "cli:show_completion",
        (argument("shell SHELL", "One of bash, zsh and fish.", choices=_SHELLS),),
    ),
}


class Invocation(NamedTuple):
    """What was asked for."""

    command: str
    given: Mapping[str, object]
    debug: bool

    def load(self) -> Callable[[], int | None]:
        """Import what carries it out, and returns the exit code, where None is 0.

        Raises ConfigError where an extra is not installed that it needs.
        """
        command = COMMANDS[self.command]
        if command.needs:
            _check_installed(self.command, command.needs)
        module, _, function = command.by.partition(":")
        return partial(getattr(import_module(f"dropsight.{module}"), function), **self.given)


def _check_installed(command: str, needs: Needs) -> None:
    from importlib.util import find_spec  # few commands need any

    from dropsight import installing

    if missing := [package for package in needs.packages if find_spec(package) is None]:
        way_out = installing.with_extra(needs.extra)
        raise ConfigError([f"{command} needs {' and '.join(missing)}: {way_out}"])


def read(words: Sequence[str]) -> Invocation:
    """Return what is asked for; a page that is asked for is shown, and the process ends."""
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    if place == len(words):
        _show_pages(words)
    name = words[place]
    debug: bool = _top().read(words[:place])["debug"]
    if name not in COMMANDS:
        _top().error(f"no such command: {name}{near(name, COMMANDS)}")
    given = parser_of(name).read(words[place + 1 :])
    return Invocation(name, {**COMMANDS[name].always, **given}, debug)


def parser_of(name: str) -> Parser:
    return Parser(f"{PROGRAM} {name}", **_page(name))


def grammar() -> Parser:
    """Return all of it, as pages and completions need it."""
    top = _top()
    commands = top.add_subparsers(title="Commands", prog=PROGRAM, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.does, **_page(name))
    return top


def show_completion(shell: str) -> None:
    import shtab

    print(shtab.complete(grammar(), shell))


def _top() -> Parser:
    does = "Classifies every image that lands in a folder: JSON log, MQTT, made for the Raspberry Pi."
    top = Parser(PROGRAM, does, _OPTIONS)
    top.usage = f"{top.usage} COMMAND ..."
    return top


def _page(name: str) -> dict[str, Any]:
    command = COMMANDS[name]
    example = f"Example: {PROGRAM} {name} {command.example}".rstrip()
    return {"does": command.does, "arguments": command.arguments, "epilog": example}


def _show_pages(words: Sequence[str]) -> NoReturn:
    if not words:
        grammar().print_help(sys.stderr)
        sys.exit(ConfigError.exit_code)
    grammar().read(words)
    grammar().error("no command given")
