"""Problems as events: what they are called, and of what camera they are."""

from typing import NamedTuple

from dropsight.cameras.watch import KINDS
from dropsight.config import Config
from dropsight.config.event_rules import CAMERA_PROBLEM, PROBLEMS

BROKER, DISK = PROBLEMS


class ProblemName(NamedTuple):
    """`camera` is None for what any may have; what is no camera's goes by the device's name."""

    name: str
    camera: str | None

    def watches(self, camera: str) -> bool:
        return self.camera in {None, camera}


def problem_names(config: Config) -> list[ProblemName]:
    """Return those that the config asks for."""
    asked = config.problem_events.of if config.problem_events else ()
    names = [ProblemName(f"{CAMERA_PROBLEM}{kind}", None) for kind in KINDS if "camera" in asked]
    return names + [ProblemName(name, config.device) for name in (BROKER, DISK) if name in asked]
