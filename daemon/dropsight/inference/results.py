"""What the runtime answers, one image or many."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dropsight.names import as_json
from dropsight.records import ErrorFacts, Latency, Prediction


class ImageResult(msgspec.Struct, frozen=True, kw_only=True):
    """`image_path` is None for arrays and bytes; `top_5_predictions` maps class to confidence."""

    image_path: str | None
    predicted_class: int
    label: str
    confidence: float
    top_5_predictions: dict[str, float]
    predictions: list[Prediction]
    tta: int
    temperature: float
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    """What is wrong with the file, where there was a picture all the same."""
    latency_ms: Latency

    def to_json(self) -> str:
        return msgspec.json.format(as_json(self), indent=2).decode()


class ImageFailure(msgspec.Struct, frozen=True, kw_only=True):
    image_path: str | None
    error: ErrorFacts


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    total_images: int
    total_time_ms: float
    avg_time_per_image_ms: float
    model_path: str
    model_format: str
    tta_enabled: bool
    results: Sequence[ImageResult | ImageFailure]

    def to_json(self) -> str:
        return msgspec.json.format(as_json(self), indent=2).decode()

    def write(self, path: Path) -> None:
        """Write the JSON whole or not at all."""
        part = path.with_name(path.name + ".part")
        part.write_text(self.to_json() + "\n", encoding="utf-8")
        part.replace(path)
