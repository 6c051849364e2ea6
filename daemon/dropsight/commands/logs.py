"""The daemon's own log, for people: stderr, which systemd keeps."""

import logging
import os


def set_up(*, debug: bool) -> None:
    # The journal has times of its own.
    clock = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format=f"{clock}%(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    if not debug:
        for noisy in ("amqtt", "transitions", "watchdog", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
