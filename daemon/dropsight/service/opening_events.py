"""The rules of events, made where the config has some."""

from contextlib import closing
from typing import TYPE_CHECKING

from dropsight.cameras.watch import CameraWatch
from dropsight.config import Config
from dropsight.journal.event_messages import count_event
from dropsight.journal.event_table import EventReader
from dropsight.journal.recorder import Recorder
from dropsight.service.lasting_problems import LastingProblems
from dropsight.service.parts import Monitoring
from dropsight.service.reporter import Reporter

if TYPE_CHECKING:
    from dropsight.journal.entering import Keeper


def open_problems(
    config: Config, recorder: Recorder, watch: CameraWatch, reporter: Reporter
) -> LastingProblems:
    """Go on from those that went on when the last life ended, asked for or not."""
    with closing(EventReader(config.store.path)) as reader:
        going_on = [message for message in reader.going_on() if not message.best.id]
    return LastingProblems(
        config,
        recorder.occurrences.put,
        cameras=watch.problems,
        troubles=reporter.troubles,
        going_on=going_on,
    )


def open_events(config: Config, monitoring: Monitoring) -> "Keeper | None":
    """Go on from what is in the journal; None where there are no rules, and nothing that they left open."""
    with closing(EventReader(config.store.path)) as reader:
        going_on = reader.going_on()
        for message in going_on:
            count_event(monitoring.stats, message, is_new=False)
        if not (config.events or any(message.best.id for message in going_on)):
            return None
        # A megabyte that a daemon without rules does not need.
        from dropsight.events.compiling import compile_rules
        from dropsight.journal.event_keeping import EventKeeper

        return EventKeeper(
            compile_rules(config), reader, device=config.device, contained=monitoring.supervision.contained
        )
