"""What a runtime can be asked for; a mistake is told at once, by the name that the caller knows."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Literal, TypedDict, get_args

from dropsight.config import Members, View
from dropsight.inference.preparing import PreprocessFn
from dropsight.models.registry import BACKENDS, offered
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


def check_settings(
    *,
    model_format: object,
    temperature: object,
    preprocess_fn: object,
    resize: object,
    groups: object,
    unknown: object,
    top_k: object,
    threads: object,
) -> None:
    """Raise TypeError or ValueError for the first that cannot be."""
    formats = ("auto", *BACKENDS)
    if model_format not in formats:
        formats += tuple(each.name for each in offered())
    _check_choice("model_format", model_format, formats)
    if resize is not None:
        _check_choice("resize", resize, get_args(Resize))
    if not isinstance(groups, Mapping):
        _check_choice("groups", groups, ("auto", "off"))
    if isinstance(unknown, str | bool) or not isinstance(unknown, Real):
        _check_choice("unknown", unknown, ("auto", "off"))
    elif not 0 < float(unknown) <= 1:
        raise ValueError(f"unknown must be above 0 and at most 1, not {unknown!r}")
    check_whole("top_k", top_k)
    if threads is not None:
        check_whole("threads", threads)
    if not isinstance(temperature, Real) or isinstance(temperature, bool):
        raise TypeError(f"temperature must be a number above 0, not {temperature!r}")
    if not 0 < float(temperature) < float("inf"):
        raise ValueError(f"temperature must be above 0, not {temperature!r}")
    if preprocess_fn is not None and not callable(preprocess_fn):
        raise TypeError(f"preprocess_fn must be a function, not {preprocess_fn!r}")


def check_whole(name: str, value: object) -> None:
    """Raise where it is no whole number from 1 up."""
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"{name} must be 1 or more, not {value!r}")


def views_of(transforms: int | Sequence[str]) -> tuple[View, ...]:
    """So many of the views, or those of these names."""
    known: tuple[View, ...] = get_args(View)
    by_name = {str(view): view for view in known}
    names = list(by_name)[:transforms] if isinstance(transforms, int) else transforms
    if not names or isinstance(names, str) or not set(names) <= set(known):
        raise ValueError(f"tta_transforms: 1 to {len(known)}, or a list of names among {', '.join(known)}")
    return tuple(by_name[name] for name in names)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
