"""What `dropsight check` tries of the events and of who is told of them."""

from collections.abc import Mapping
from pathlib import Path

from dropsight.classify.rule_labels import unknown_labels
from dropsight.classify.work import Engine
from dropsight.commands.verdicts import Verdict, say
from dropsight.config import Config
from dropsight.errors import ConfigError
from dropsight.events.compiling import findings


def say_rules(config: Config) -> None:
    for mark, text in findings(config):
        say(mark, "events", text)


def check_events(file: Path | None, config: Config, engine: Engine | None) -> None:
    say_rules(config)
    if problems := config.problem_events:
        told = f"tells {', '.join(problems.notify)}" if problems.notify else "nobody is told"
        say("ok", "events", f"problems of {', '.join(problems.of)}: {told}")
    if engine and (faults := unknown_labels(config, engine.plan.spec)):
        raise ConfigError([f"{file}: {fault}" for fault in faults])


def check_notify(
    config: Config, urls: Mapping[str, str | None], verdict: Verdict, *, file: Path | None
) -> None:
    if not config.notify:
        return
    from dropsight.sinks.notify.target_followers import checks

    for look in checks(config, urls, file=file):
        with verdict.part("notify"):
            say("ok", "notify", look())
