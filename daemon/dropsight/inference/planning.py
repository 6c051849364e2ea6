"""What a config has done to each image."""

from dropsight.config import Config
from dropsight.images.opening import Bounds
from dropsight.images.sights import sights_of
from dropsight.inference.pipeline import Plan
from dropsight.inference.preparing import Preparation
from dropsight.models.spec import ModelSpec


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
