"""What a config has done to each image."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import msgspec

from dropsight.config import Config, Inference
from dropsight.images.decoding import Wanted, is_large
from dropsight.images.header import Header
from dropsight.images.large import scale_within_bounds
from dropsight.images.opening import Bounds
from dropsight.images.sights import Sight, sights_of
from dropsight.images.views import AS_IT_IS
from dropsight.inference.preparing import Preparation
from dropsight.inference.wording import UNNAMED, Namer
from dropsight.models.spec import ModelSpec
from dropsight.records import Box, ModelFacts

Parts: TypeAlias = tuple[tuple[str, slice, ModelSpec], ...]


class Plan(msgspec.Struct, frozen=True, dict=True):
    """All that the steps need to know besides the image, fixed while one model is in force.

    `parts` are the model's heads, of which one that has but one answer is the only one. `sights` are by
    camera, `sight` is that of the image in question, None where all of it is seen.
    """

    device: str
    spec: ModelSpec
    preparation: Preparation
    bounds: Bounds
    inference: Inference
    hurried: bool = False
    looks: bool = False
    thumbnails: bool = False
    sights: Mapping[str, Sight] = {}
    sight: Sight | None = None
    namer: Namer = UNNAMED

    def __post_init__(self) -> None:
        if self.namer is UNNAMED:
            msgspec.structs.force_setattr(self, "namer", Namer.of(self.parts[0][2], self.inference))

    @cached_property
    def parts(self) -> Parts:
        whole = ("", self.spec.answer, msgspec.structs.replace(self.spec, features=0))
        return tuple(self.spec.parts) or (whole,)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width that the model takes."""
        return self.spec.height, self.spec.width

    @cached_property
    def wanted(self) -> Wanted:
        framing = self.spec.framing
        return Wanted(self.size, framing.resize, framing.central, self.boxes)

    def holds_up_others(self, header: Header) -> bool:
        """Whether such a picture is decoded only while no other large one is."""
        return is_large(header, scale_within_bounds(header, self.wanted))

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """Of the parts that are seen each by itself, none where the whole is."""
        return self.sight.boxes if self.sight else ()

    @cached_property
    def views(self) -> Sequence[str]:
        return self.inference.tta or AS_IT_IS

    @cached_property
    def temperature(self) -> float:
        """The config's times the one that the model was calibrated to."""
        return self.inference.temperature * self.spec.temperature

    @cached_property
    def model(self) -> ModelFacts:
        return ModelFacts(self.spec.name, self.spec.format, self.spec.quantization, self.spec.digest)

    @cached_property
    def _by_camera(self) -> Mapping[str, "Plan"]:
        """Made once: what a plan works out for its images, it keeps."""
        return {camera: msgspec.structs.replace(self, sight=sight) for camera, sight in self.sights.items()}

    def in_a_hurry(self) -> "Plan":
        """The same without test-time augmentation."""
        return msgspec.structs.replace(
            self, inference=msgspec.structs.replace(self.inference, tta=()), hurried=True
        )

    def of(self, camera: str) -> "Plan":
        """The same for a picture of this camera."""
        return self._by_camera.get(camera, self)

    def is_like(self, other: "Plan") -> bool:
        """Whether both have the same done to every picture, by whatever device."""
        mine, theirs = (
            msgspec.structs.replace(each.spec, kernels=None, acceleration=None, faults=(), backend="")
            for each in (self, other)
        )
        same_sights = self.sights.keys() == other.sights.keys() and all(
            sight.is_like(other.sights[camera]) for camera, sight in self.sights.items()
        )
        return mine == theirs and self.inference == other.inference and same_sights

    def place_of(self, region: str | msgspec.UnsetType) -> int:
        """Return which of the parts it is that are seen; the first for one that is no longer there."""
        names = list(self.sight.crops) if self.sight else []
        return names.index(region) if region in names else 0


def plan_of(config: Config, spec: ModelSpec) -> Plan:
    """Return what the config has done to each image; raises ConfigError."""
    return Plan(
        device=config.device,
        spec=spec,
        preparation=Preparation(spec),
        bounds=Bounds(
            config.limits.max_bytes,
            config.limits.max_pixels,
            damaged_too=config.limits.damaged == "accept",
            depth=config.images.depth,
        ),
        inference=config.inference,
        looks=config.cameras.black or config.cameras.blur or config.cameras.frozen is not None,
        thumbnails=config.mqtt is not None and config.mqtt.thumbnails,
        sights=sights_of(config),
    )
