"""What a runtime is given that cannot be is told by its name, before any model is opened."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dropsight import ImageInferenceRuntime, VideoInferenceRuntime
from dropsight.inference.option_checks import OF_CLIPS, OF_IMAGES
from dropsight.inference.runtime_options import views_of
from dropsight.records import Normalization

MISSING = Path("/there/is/no/such/model.tflite")
ODD = [5, 2.5, -1, True, "odd", b"odd", [], ["odd"], {"a": object()}, {5: "odd"}, np.zeros(3), object()]
"""Of any kind; for each setting, all that are none of its own."""
TAKEN: dict[str, list[Any]] = {
    "tta_transforms": [5, True],
    "use_tta": [True],
    "embeddings": [True],
    "skip_still": [True],
    "temperature": [5, 2.5],
    "preprocess_fn": [],
    "labels": ["odd"],
    "output": [5, "odd"],
    "top_k": [5],
    "threads": [5],
    "heads": [],
    "every_seconds": [5, 2.5],
    "max_seconds": [5, 2.5],
    "max_frames": [5],
    "top_k_frames": [5],
}


def odd_for(name: str) -> list[Any]:
    taken = TAKEN.get(name, [])
    return [
        odd
        for odd in ODD
        if not any(odd is each or (type(odd), repr(odd)) == (type(each), repr(each)) for each in taken)
    ]


OF_EITHER = [
    (runtime, name, odd)
    for runtime, checks in ((ImageInferenceRuntime, OF_IMAGES), (VideoInferenceRuntime, OF_CLIPS))
    for name in checks
    if name not in {"model_path", "model_format"}
    for odd in odd_for(name)
]


@pytest.mark.parametrize(("runtime", "name", "odd"), OF_EITHER)
def test_a_setting_of_a_wrong_type_is_told_by_its_name(runtime: Any, name: str, odd: object) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^(a key of )?{name}\b"):
        runtime(MISSING, **{name: odd})


@pytest.mark.parametrize("runtime", [ImageInferenceRuntime, VideoInferenceRuntime])
@pytest.mark.parametrize("odd", [5, b"odd", None, [], object()])
def test_a_model_or_a_format_of_a_wrong_type_is_told_by_its_name(runtime: Any, odd: object) -> None:
    with pytest.raises(TypeError, match=r"^model_path must be a path, not"):
        runtime(odd)
    with pytest.raises(ValueError, match=r"^model_format must be one of auto, tflite"):
        runtime(MISSING, odd)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("heads", {"sex": None}, "heads['sex'] must be an output's name or number, not None"),
        ("heads", {"sex": -1}, "heads['sex'] must be 0 or more, not -1"),
        ("thresholds", {"cat": "high"}, "thresholds['cat'] must be a number from 0 to 1, not 'high'"),
        ("thresholds", {"cat": 2}, "thresholds['cat'] must be from 0 to 1, not 2"),
        ("groups", {"cat": [2.5]}, "groups['cat'] must be labels, numbers or ranges such as"),
        ("input_size", (224, "224"), "input_size must be a whole number, not '224'"),
        ("input_size", (224, 224, 3), "input_size must be height and width, not (224, 224, 3)"),
        ("tta_transforms", -1, "tta_transforms: 1 to 5, or a list of names among"),
        ("temperature", float("nan"), "temperature must be above 0, not nan"),
        ("normalization", Normalization(mean=("a",), std=(1,)), "normalization.mean must be numbers"),  # type: ignore[arg-type] # so it is
    ],
)
def test_what_is_wrong_within_a_setting_is_told_by_its_place(name: str, given: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        ImageInferenceRuntime(MISSING, **{name: given})
    assert str(caught.value).startswith(told)


def test_every_setting_has_a_check() -> None:
    of_images = list(inspect.signature(ImageInferenceRuntime).parameters)
    assert of_images == list(OF_IMAGES)
    of_clips = [*inspect.signature(VideoInferenceRuntime).parameters]
    assert set(of_clips) - set(of_images) == {*OF_CLIPS, "images", "of_images"}
    with pytest.raises(TypeError, match=r"^images must be an ImageInferenceRuntime, not 5"):
        VideoInferenceRuntime(images=5)  # type: ignore[arg-type] # which is told
    with pytest.raises(TypeError, match="unexpected keyword argument 'odd'"):
        VideoInferenceRuntime(odd=5)  # type: ignore[call-arg] # as above


def test_numbers_of_numpy_are_numbers() -> None:
    with ImageInferenceRuntime(
        top_k=np.int64(3),  # type: ignore[arg-type] # it is as good as one
        temperature=np.float32(1.5),  # type: ignore[arg-type]
        use_tta=np.bool_(True),  # type: ignore[arg-type]
        tta_transforms=np.int32(2),  # type: ignore[arg-type]
        groups={"cat": range(281, 286)},  # type: ignore[dict-item]
    ) as runtime:
        found = runtime.predict(np.zeros((8, 8, 3), np.uint8))
    assert (len(found.predictions), found.tta, found.temperature) == (3, 2, 1.5)


def test_views_are_so_many_or_those_that_are_named() -> None:
    assert len(views_of(3)) == 3
    assert views_of(["rotate_90", "original"]) == ("rotate_90", "original")
