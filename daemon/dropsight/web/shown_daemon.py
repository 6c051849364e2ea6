"""What the web part asks of the daemon."""

from collections.abc import Callable, Collection, Mapping

import msgspec

from dropsight.config import Config
from dropsight.inference.planning import Plan
from dropsight.sinks.reports import Status
from dropsight.status.latency import Distribution


class Sources(msgspec.Struct, frozen=True):
    """All of them quick, and good for any thread.

    `visible`: records up to this seq have their final line. `up`: the model is warm, the folders are watched.
    `busy`: an image is in hand, or waits and nothing is paused.
    `cameras`: those that are known, of earlier lives, too. `plan`: what is done to the next picture.
    `labels`: the model's. `obey` may take minutes: a
    command, its answer.
    """

    config: Callable[[], Config]
    status: Callable[[], Status]
    distributions: Callable[[], Mapping[str, Distribution]]
    visible: Callable[[], int]
    up: Callable[[], bool]
    busy: Callable[[], bool]
    cameras: Callable[[], Collection[str]]
    plan: Callable[[], Plan]
    labels: Callable[[], Collection[str]]
    obey: Callable[[bytes], bytes]
