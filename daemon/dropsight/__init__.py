"""Image classification for drop folders: the public API."""

from typing import TYPE_CHECKING

from dropsight import version

if TYPE_CHECKING:
    from dropsight.explain.gradients import GradCAM, SaliencyMap
    from dropsight.explain.perturbation import OcclusionMap, RiseMap
    from dropsight.inference.results import BatchResults, ImageResult
    from dropsight.inference.runtime import ImageInferenceRuntime, run_image_inference
    from dropsight.models.registry import open_model

__version__ = version.VERSION

__all__ = [
    "BatchResults",
    "GradCAM",
    "ImageInferenceRuntime",
    "ImageResult",
    "OcclusionMap",
    "RiseMap",
    "SaliencyMap",
    "__version__",
    "open_model",
    "run_image_inference",
]

_HOMES = {
    "BatchResults": "dropsight.inference.results",
    "GradCAM": "dropsight.explain.gradients",
    "ImageInferenceRuntime": "dropsight.inference.runtime",
    "ImageResult": "dropsight.inference.results",
    "OcclusionMap": "dropsight.explain.perturbation",
    "RiseMap": "dropsight.explain.perturbation",
    "SaliencyMap": "dropsight.explain.gradients",
    "open_model": "dropsight.models.registry",
    "run_image_inference": "dropsight.inference.runtime",
}


def __getattr__(name: str) -> object:
    """Import on first use: `dropsight --help` needs no OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dropsight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
