"""What a runtime can be asked for."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, get_args

from dropsight.config import Members, View
from dropsight.inference.preparing import PreprocessFn
from dropsight.records import Aggregate, Normalization, Resize, SampleBy


class RuntimeOptions(TypedDict, total=False):
    """What `ImageInferenceRuntime` can be given by name, and says the meaning of."""

    use_tta: bool
    tta_transforms: int | Sequence[str]
    temperature: float
    preprocess_fn: PreprocessFn | None
    labels: str | os.PathLike[str] | None
    normalization: Normalization | None
    resize: Resize | None
    input_size: tuple[int, int] | None
    output: str | int | None
    heads: Mapping[str, str | int] | None
    thresholds: Mapping[str, float] | None
    groups: Mapping[str, Members] | Literal["auto", "off"]
    unknown: float | Literal["auto", "off"]
    top_k: int
    threads: int | None
    embeddings: bool


class ClipOptions(TypedDict, total=False):
    """What of a clip is looked at, and how its frames' answers become one: see `VideoInferenceRuntime`."""

    sample: SampleBy
    every_seconds: float
    max_frames: int
    aggregate: Aggregate
    top_k_frames: int
    skip_still: bool
    max_seconds: float


def views_of(transforms: int | Sequence[str]) -> tuple[View, ...]:
    """So many of the views, or those of these names."""
    by_name = {str(view): view for view in get_args(View)}
    names = transforms if isinstance(transforms, Sequence) else list(by_name)[:transforms]
    return tuple(by_name[name] for name in names)
