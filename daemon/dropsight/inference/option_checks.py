"""Whether what a runtime is given can be: each mistake is told at once, by the name that the caller knows."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Real
from operator import index
from reprlib import repr as shortly
from typing import TypeGuard, get_args

import numpy as np

from dropsight.config import View
from dropsight.models.registry import BACKENDS, offered
from dropsight.records import Aggregate, Normalization, Resize, SampleBy

Check = Callable[[str, object], None]


def check_options(checks: Mapping[str, Check], options: Mapping[str, object]) -> None:
    """Raise TypeError for the first of a wrong type, ValueError for the first that cannot be."""
    for name, value in options.items():
        checks[name](name, value)


def check_whole(name: str, value: object, *, least: int = 1) -> None:
    """Raise where it is no whole number from this on."""
    if _whole(value) is None:
        raise _wrong(name, "a whole number", value)
    if index(value) < least:  # type: ignore[arg-type] # it has one
        raise ValueError(f"{name} must be {least} or more, not {value!r}")


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return index(value)  # type: ignore[arg-type] # which is what is asked
    except TypeError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _wrong(name: str, what: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {what}, not {shortly(value)}")


def _or_none(check: Check) -> Check:
    def checked(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return checked


def _path(name: str, value: object) -> None:
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise _wrong(name, "a path", value)


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool | np.bool_):
        raise _wrong(name, "True or False", value)


def _above_zero(name: str, value: object) -> None:
    if not _is_number(value):
        raise _wrong(name, "a number above 0", value)
    if not value > 0:  # type: ignore[operator] # it is a number
        raise ValueError(f"{name} must be above 0, not {value!r}")


def _temperature(name: str, value: object) -> None:
    _above_zero(name, value)
    if value == float("inf"):
        raise ValueError(f"{name} must be finite, not {value!r}")


def _function(name: str, value: object) -> None:
    if not callable(value):
        raise _wrong(name, "a function", value)


def _one_of(choices: Sequence[str]) -> Check:
    def checked(name: str, value: object) -> None:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {shortly(value)}")

    return checked


def _format(name: str, value: object) -> None:
    known = ("auto", *BACKENDS)
    if not isinstance(value, str) or value not in known:
        _one_of((*known, *(each.name for each in offered())))(name, value)


def _views(name: str, value: object) -> None:
    known = get_args(View)
    if _is_list(value):
        fits = bool(value) and all(isinstance(each, str) and each in known for each in value)
    else:
        fits = (count := _whole(value)) is not None and 1 <= count <= len(known)
    if not fits:
        raise ValueError(
            f"{name}: 1 to {len(known)}, or a list of names among {', '.join(known)}, not {shortly(value)}"
        )


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _normalization(name: str, value: object) -> None:
    if not isinstance(value, Normalization):
        raise _wrong(name, "a dropsight.records.Normalization(mean=..., std=...)", value)
    for key in ("mean", "std"):
        given = getattr(value, key)
        if not isinstance(given, Iterable) or isinstance(given, str) or not all(map(_is_number, given)):
            raise _wrong(f"{name}.{key}", "numbers, one or one a channel", given)


def _size(name: str, value: object) -> None:
    if not _is_list(value) or len(value) != 2:
        raise _wrong(name, "height and width", value)
    for each in value:
        check_whole(name, each)


def _output(name: str, value: object) -> None:
    if not isinstance(value, str):
        if _whole(value) is None:
            raise _wrong(name, "an output's name or number", value)
        check_whole(name, value, least=0)


def _mapping(of_each: Check, what: str) -> Check:
    def checked(name: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(name, f"a mapping from {what}", value)
        for key, each in value.items():
            if not isinstance(key, str):
                raise _wrong(f"a key of {name}", "a text", key)
            of_each(f"{name}[{key!r}]", each)

    return checked


def _probability(name: str, value: object) -> None:
    if not _is_number(value):
        raise _wrong(name, "a number from 0 to 1", value)
    if not 0 <= value <= 1:  # type: ignore[operator] # it is a number
        raise ValueError(f"{name} must be from 0 to 1, not {value!r}")


def _members(name: str, value: object) -> None:
    several = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    members: Iterable[object] = value if several else [value]  # type: ignore[assignment] # it is a collection
    if not all(isinstance(each, str) or _whole(each) is not None for each in members):
        raise _wrong(name, 'labels, numbers or ranges such as "151-268"', value)


def _groups(name: str, value: object) -> None:
    if isinstance(value, Mapping):
        _mapping(_members, "names to classes")(name, value)
    else:
        _one_of(("auto", "off"))(name, value)


def _unknown(name: str, value: object) -> None:
    if not _is_number(value):
        _one_of(("auto", "off"))(name, value)
    elif not 0 < value <= 1:  # type: ignore[operator] # it is a number
        raise ValueError(f"{name} must be above 0 and at most 1, not {value!r}")


OF_IMAGES: Mapping[str, Check] = {
    "model_path": _path,
    "model_format": _format,
    "use_tta": _flag,
    "tta_transforms": _views,
    "temperature": _temperature,
    "preprocess_fn": _or_none(_function),
    "labels": _or_none(_path),
    "normalization": _or_none(_normalization),
    "resize": _or_none(_one_of(get_args(Resize))),
    "input_size": _or_none(_size),
    "output": _or_none(_output),
    "heads": _or_none(_mapping(_output, "names of your own to outputs")),
    "thresholds": _or_none(_mapping(_probability, "labels to numbers")),
    "groups": _groups,
    "unknown": _unknown,
    "top_k": check_whole,
    "threads": _or_none(check_whole),
    "embeddings": _flag,
}
OF_CLIPS: Mapping[str, Check] = {
    "sample": _one_of(get_args(SampleBy)),
    "every_seconds": _above_zero,
    "max_frames": check_whole,
    "aggregate": _one_of(get_args(Aggregate)),
    "top_k_frames": check_whole,
    "skip_still": _flag,
    "max_seconds": _above_zero,
}
