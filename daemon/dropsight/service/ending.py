"""The last messages: how long is waited for a broker, and others who follow, at the end."""

import threading
import time
from collections.abc import Callable, Sequence

from dropsight.sinks.mqtt.session import GOODBYE_SECONDS
from dropsight.sinks.sink import Follower

DRAIN_SECONDS = 5.0
DRAIN_ONCE_SECONDS = 300.0
FIRST_CONNECT_SECONDS = 35.0
LOOK_SECONDS = 0.02


def end_following(
    followers: Sequence[Follower], threads: Sequence[threading.Thread], *, patient: Callable[[], bool]
) -> None:
    """Hand on what is left, and wait for the end: while `patient`, long, and for a first attempt too."""
    deadline = time.monotonic() + FIRST_CONNECT_SECONDS
    while patient() and not all(each.tried for each in followers) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    if patient():
        _stop(followers, DRAIN_ONCE_SECONDS)
        deadline = time.monotonic() + DRAIN_ONCE_SECONDS
        while patient() and any(each.is_alive() for each in threads) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
    _stop(followers, DRAIN_SECONDS)
    # In the middle of connecting to a broker that says nothing, it would hear of this too late.
    deadline = time.monotonic() + DRAIN_SECONDS + GOODBYE_SECONDS + 1.0
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))


def _stop(followers: Sequence[Follower], drain_seconds: float) -> None:
    for follower in followers:
        follower.stop(drain_seconds=drain_seconds)
