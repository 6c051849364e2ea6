"""What the config's section `notify` asks for: a follower of the journal for each target."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from zoneinfo import ZoneInfo

from dropsight import installing
from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError
from dropsight.journal.marks import Mark
from dropsight.sinks.notify.dispatcher import Dispatcher, lack
from dropsight.sinks.notify.notification import Notification
from dropsight.sinks.notify.notifier import Notifier
from dropsight.sinks.notify.notifier_parts import EventRecords, NotifierParts
from dropsight.sinks.notify.targets import Target, targets_of
from dropsight.sinks.sink import FollowerContext, FollowerSpec

MAX_BACKLOG = 100_000


def followers(config: Config) -> list[FollowerSpec]:
    """Of the registry: one for each URL of a target's file; raises ConfigError."""
    shared = _Shared(config.store.path.parent, len(config.watch))
    targets = {name: targets_of(config, name) for name in config.notify}
    return [_wanted(config, each, len(found), shared) for found in targets.values() for each in found]


def checks(
    config: Config, credentials: Mapping[str, str | None], *, file: Path | None
) -> Iterator[Callable[[], str]]:
    """Yield for each name of the config what says how its targets stand, which raises DropsightError.

    `file` is where the config was read from.
    """
    where = ("-c", str(file)) if file else ()
    for name in config.notify:
        trial = installing.program("notify", "--test", name, *where)
        yield partial(_check, config, name, credentials, trial)


def _check(config: Config, name: str, credentials: Mapping[str, str | None], trial: str) -> str:
    targets = targets_of(config, name, credentials=credentials)
    known = ", ".join(look_at(target) for target in targets)
    return f"{name}: {known}; nothing was sent; to try it: {trial}"


class _Shared:
    def __init__(self, state: Path, inboxes: int) -> None:
        self._state, self._inboxes = state, inboxes

    @cached_property
    def parts(self) -> NotifierParts:
        """Opened only when a daemon runs."""
        return NotifierParts(self._state, inboxes=self._inboxes)


def _wanted(config: Config, target: Target, count: int, shared: _Shared) -> FollowerSpec:
    def read() -> Target:
        found = targets_of(config, target.name)
        if len(found) != count:
            fault = f"notify.{target.name}: has {len(found)} targets now instead of {count}"
            raise ConfigError([f"{fault}; restart dropsight to apply that"])
        return found[target.place - 1]

    def make(context: FollowerContext) -> Notifier:
        parts = shared.parts.enter()
        on_record = EventRecords(context.picture, context.inboxes)
        return Notifier(
            target, read, context.outbox, context.troubles, parts, on_record=on_record, zone=_zone(config)
        )

    return FollowerSpec(_mark(target.label), make, read=read)


def _zone(config: Config) -> ZoneInfo | None:
    name = config.location.time_zone if config.location else None
    return ZoneInfo(name) if name else None


def _mark(label: str) -> Mark:
    return Mark(
        f"notify:{label}",
        MAX_BACKLOG,
        who=f"notifications to {label}",
        bound="more than 100,000 were waiting",
    )


def look_at(target: Target) -> str:
    """Return it as it is shown where Apprise knows it; tells it nothing; raises DropsightError."""
    if fault := lack():
        raise DropsightError(f"{target.shown}: {fault}")
    dispatcher = Dispatcher()
    try:
        receipt = dispatcher.carry(
            Notification(target.url, "", "", "", send=False), None, stopping=lambda: False
        )
    finally:
        dispatcher.close()
    if receipt.fault:
        where = target.settings.targets_file or "the credential"
        raise DropsightError(f"{target.shown} ({where}, URL {target.place}): {receipt.fault}")
    return target.shown
