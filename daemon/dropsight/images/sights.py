"""What of a camera's pictures a model is shown: parts of them by name, and what is painted over."""

from collections.abc import Mapping

import msgspec
import numpy as np

from dropsight.config import CameraSight, Config
from dropsight.errors import ConfigError
from dropsight.images.framing import Pixels
from dropsight.images.masks import Mask, read_mask
from dropsight.records import Box


class Sight(msgspec.Struct, frozen=True, eq=False):
    """Without crops, the whole of a picture is seen as the model's framing has it."""

    crops: Mapping[str, Box]
    mask: Mask | None = None

    def is_like(self, other: "Sight") -> bool:
        """Whether both let the same be seen."""
        if self.mask is None or other.mask is None:
            return self.mask is other.mask and self.crops == other.crops
        return self.crops == other.crops and np.array_equal(self.mask.painted, other.mask.painted)

    @property
    def boxes(self) -> tuple[Box, ...]:
        return tuple(self.crops.values())

    def shown(self, pixels: Pixels) -> Pixels:
        """Return a picture without what is painted over."""
        return self.mask.over(pixels) if self.mask else pixels


def sights_of(config: Config) -> dict[str, Sight]:
    """Return those of the cameras that have any; raises ConfigError for masks that are none."""
    found, faults = {}, []
    for name, camera in config.cameras.by_name.items():
        try:
            found[name] = _sight(camera)
        except ConfigError as error:
            faults += [f"cameras.{name}.mask: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return found


def _sight(camera: CameraSight) -> Sight:
    return Sight(camera.crops, read_mask(camera.mask) if camera.mask else None)
