"""`dropsight notify`."""

import os
import secrets
import sys
from contextlib import closing
from pathlib import Path

from dropsight.commands.runner import runner_of
from dropsight.commands.settings import find_config, settings, system_file
from dropsight.config import Config, has_other_urls, stored_urls
from dropsight.errors import ConfigError, SinkError
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail
from dropsight.names import as_shown
from dropsight.sinks.notify import words
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.sinks.notify.notification import Notification
from dropsight.sinks.notify.notifier import LONGEST_SIDE
from dropsight.sinks.notify.targets import Target, targets_of

SAMPLE = Path(__file__).parent.parent / "samples" / "chelsea.jpg"


def notify(file: Path | None, *, name: str) -> int:
    """Print a line for each target; return 0 if all were reached, else 1. Raises ConfigError.

    Root sends as the user who runs the daemon, with that user's right to read the files.
    """
    file = find_config(file)
    config = settings(file)
    names = _wanted(config, name)
    is_service = file is not None and file.absolute() == system_file().absolute()
    credentials = {each: stored_urls(each) for each in names} if is_service else {}
    outdated = [each for each, stored in credentials.items() if has_other_urls(each, stored)]
    runner = runner_of(config.store.path.parent, is_service=is_service)
    if os.geteuid() == 0 and not runner.is_me:
        runner.become()
    targets = [target for each in names for target in targets_of(config, each, credentials=credentials)]
    code = _try(targets, config)
    for each in outdated:
        text = "the running service has its former credential still: sudo systemctl restart dropsight"
        print(f"dropsight: notify.{each}: {text}", file=sys.stderr)
    return code


def _wanted(config: Config, name: str) -> list[str]:
    if not config.notify:
        raise ConfigError(["notify: the config names no target; docs/notifications.md shows how"])
    if name and name not in config.notify:
        raise ConfigError([f"notify: no target {name}; there are: {', '.join(config.notify)}"])
    return [name] if name else list(config.notify)


def _try(targets: list[Target], config: Config) -> int:
    picture, dispatcher, code = thumbnail(str(SAMPLE), Bounds(), longest=LONGEST_SIDE), Dispatcher(), 0
    with closing(dispatcher):
        for target in targets:
            try:
                said = _send(dispatcher, target, config, picture if target.settings.pictures else None)
            except SinkError as error:
                said, code = f"not reached: {error}", 1
            print(as_shown(f"{target.label:<12} {target.shown:<16} {said}"), flush=True)
    return code


def _send(dispatcher: Dispatcher, target: Target, config: Config, picture: bytes | None) -> str:
    body = f"A test: events are told to {target.label} like this."
    title, sender = f"Test from {as_shown(config.device)}", words.sender(config.device)
    notification = Notification(target.url, title, body, secrets.token_hex(8), sender, "test.jpg")
    receipt = dispatcher.carry(notification, picture, stopping=lambda: False)
    if receipt.fault:
        raise SinkError(receipt.fault)
    return f"reached, but without the picture: {receipt.plain}" if receipt.plain else "reached"
