"""What the user says of a model, which counts before what the model says."""

import json
import os
from pathlib import Path
from typing import Literal

import msgspec

from dropsight.config import Head, Members, ModelSettings
from dropsight.records import ColorOrder, Layout, Normalization, Resize


class ModelOverrides(msgspec.Struct, frozen=True):
    """What the user says of a model; it counts before what the model says."""

    labels: Path | None = None
    normalization: Normalization | None = None
    input_size: tuple[int, ...] | None = None
    layout: Layout | None = None
    color_order: ColorOrder | None = None
    resize: Resize | None = None
    central: float | None = None
    output: str | int | None = None
    heads: dict[str, Head] = {}
    thresholds: dict[str, float] = {}
    groups: dict[str, Members] | Literal["auto", "off"] | None = "auto"

    @classmethod
    def of(
        cls, settings: ModelSettings, groups: dict[str, Members] | Literal["auto", "off"] | None = "auto"
    ) -> "ModelOverrides":
        of_model = {name: getattr(settings, name) for name in cls.__struct_fields__ if name != "groups"}
        return cls(**of_model, groups=groups)

    def encode(self) -> str:
        """Write it as JSON, which `decode` reads in another process."""
        # Which knows odd bytes in a path.
        return json.dumps(msgspec.to_builtins(self, enc_hook=os.path.abspath))

    @classmethod
    def decode(cls, text: str) -> "ModelOverrides":
        return msgspec.convert(json.loads(text), cls, dec_hook=lambda kind, value: kind(value))
