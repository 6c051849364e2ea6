"""What `dropsight check` prints, and the exit code that comes of it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from dropsight.config import Config
from dropsight.errors import DropsightError
from dropsight.names import as_shown
from dropsight.sinks.reports import Status
from dropsight.status.control import ask


class Verdict:
    """The exit code so far: the highest of the parts that failed."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        try:
            yield
        except DropsightError as error:
            for line in str(error).split("\n"):
                say("FAIL", name, line)
            self.code = max(self.code, error.exit_code)


def say(mark: str, name: str, text: str) -> None:
    print(f"{mark:<5} {name:<8} {as_shown(text)}")


def running_status(config: Config) -> Status | None:
    """Return what the running daemon says of itself, None where none answers."""
    with suppress(DropsightError):
        return msgspec.json.decode(ask(config.store.path.parent, "status"), type=Status)
    return None
