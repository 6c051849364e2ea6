"""What rules of events ask for in vain: of a model, of names, of cameras."""

from dropsight.config import Config
from dropsight.models.spec import ModelSpec


def unknown_labels(config: Config, spec: ModelSpec) -> list[str]:
    """Return a line for each label, with its key and the nearest that the model has."""
    if not config.events:
        return []
    # A megabyte that few need.
    from dropsight.events.compiling import strangers

    return list(strangers(config.events, spec.all_labels, groups=[group.name for group in spec.groups]))


def doubts_of_rules(config: Config) -> list[str]:
    """Return a line for each other thing that a rule waits for in vain."""
    if not config.events:
        return []
    from dropsight.events.compiling import doubts

    return list(doubts(config))
