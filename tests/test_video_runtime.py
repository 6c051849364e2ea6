"""Clips from Python: the face of the runtime of images, and what is a clip's own."""

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clips import make_clip, of_photos
from daemons import PHOTOS, SAMPLES
from dropsight import (
    ClipResult,
    ImageFailure,
    ImageInferenceRuntime,
    VideoInferenceRuntime,
    predict_video,
    run_video_inference,
)
from dropsight.cli import parser_of
from dropsight.errors import ImageError
from dropsight.explain.inputs import photo
from dropsight.images.framing import Pixels
from dropsight.inference.clips import ClipSettings
from dropsight.inference.runtime_options import ClipOptions, RuntimeOptions
from tiny_tflite import Tensor, tiny

IMAGE: Tensor = ("float32", (1, 32, 32, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = of_photos([SAMPLES / "china.jpg", SAMPLES / "panda.jpg"])
    shown = [picture for picture in pictures for _ in range(10)]
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", shown)


@pytest.fixture(scope="module")
def runtime() -> Iterator[VideoInferenceRuntime]:
    with VideoInferenceRuntime() as runtime:
        yield runtime


def test_every_option_of_images_and_of_sampling_is_known_by_its_name() -> None:
    of_images = inspect.signature(ImageInferenceRuntime.__init__).parameters
    named = [each.name for each in of_images.values() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert list(RuntimeOptions.__annotations__) == named
    assert tuple(ClipOptions.__annotations__) == ClipSettings.__struct_fields__


@pytest.mark.parametrize("command", ["classify", "batch", "evaluate", "explain"])
def test_the_commands_sample_clips_as_python_does_unless_told_otherwise(command: str) -> None:
    needed = {"batch": ["a", "-o", "b"], "explain": ["a", "-o", "b"]}
    given = parser_of(command).read(needed.get(command, ["a"]))
    defaults = {name: getattr(ClipSettings(), name) for name in ClipSettings.__struct_fields__}
    for unasked in ("top_k_frames", "skip_still", "max_seconds"):
        del defaults[unasked]
    assert {name: given[name] for name in defaults} == defaults


def test_views_temperature_and_top_k_hold_for_each_frame(runtime: VideoInferenceRuntime, clip: Path) -> None:
    with VideoInferenceRuntime(use_tta=True, tta_transforms=2, temperature=2.0, top_k=3) as other:
        answer = other.predict(clip)
    assert (answer.tta, answer.temperature, len(answer.predictions)) == (2, 2.0, 3)
    assert answer.label == runtime.predict(clip).label == "giant panda"
    assert answer.confidence < runtime.predict(clip).confidence


def test_each_head_has_an_answer_of_the_whole_clip_and_its_own_labels(tmp_path: Path, clip: Path) -> None:
    model = tmp_path / "birds.tflite"
    model.write_bytes(tiny([IMAGE], [("float32", (1, 3)), ("float32", (1, 2))]))
    with VideoInferenceRuntime(model, heads={"kind": 0, "sex": 1}) as runtime:
        answer = json.loads(runtime.predict(clip).to_json())
    assert list(answer["heads"]) == ["kind", "sex"]
    assert [len(head["predictions"]) for head in answer["heads"].values()] == [3, 2]
    assert answer["heads"]["kind"]["label"] == answer["label"]


def test_ones_own_preparation_is_given_whole_frames(clip: Path) -> None:
    shapes = []

    def own(pixels: Pixels) -> np.ndarray:
        shapes.append(pixels.shape)
        return np.zeros((224, 224, 3), np.float32)

    with VideoInferenceRuntime(preprocess_fn=own, skip_still=False) as runtime:
        runtime.predict(clip)
    assert set(shapes) == {(240, 320, 3)}


def test_options_of_a_model_that_is_brought_along_are_refused() -> None:
    with (
        ImageInferenceRuntime() as images,
        pytest.raises(TypeError, match="use_tta, top_k: of the model, which `images` brings"),
    ):
        VideoInferenceRuntime(images=images, use_tta=True, top_k=3)


def test_any_iterable_of_clips_is_asked_for_the_next_when_its_turn_has_come(
    runtime: VideoInferenceRuntime, clip: Path
) -> None:
    asked = []

    def clips() -> Iterator[Path]:
        for number in range(3):
            asked.append(number)
            yield clip

    results = runtime.results(clips())
    assert isinstance(next(results), ClipResult)
    assert asked == [0]
    assert len(list(results)) == 2
    assert [type(each) for each in runtime.results(str(clip))] == [ClipResult]


def test_what_is_no_path_is_a_failure_in_its_place_and_bytes_are_no_clips(
    runtime: VideoInferenceRuntime, clip: Path
) -> None:
    batch = runtime.predict_batch([None, "a\0b", clip.parent, clip])  # type: ignore[list-item]
    kinds = [type(each) for each in batch.results]
    assert kinds == [ImageFailure, ImageFailure, ImageFailure, ClipResult]
    assert "give a clip by its path" in batch.to_json()
    with pytest.raises(TypeError, match="video_paths: an object of type bytes"):
        runtime.predict_batch(clip.read_bytes())  # type: ignore[arg-type]


def test_threads_and_an_event_loop_share_one_runtime(runtime: VideoInferenceRuntime, clip: Path) -> None:
    labels: list[str] = []
    threads = [threading.Thread(target=lambda: labels.append(runtime.predict(clip).label)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def ask() -> tuple[ClipResult, int]:
        one, batch = await asyncio.gather(runtime.apredict(clip), runtime.apredict_batch([clip, clip]))
        return one, batch.total_images

    one, count = asyncio.run(ask())
    assert labels == ["giant panda"] * 3
    assert (one.label, count) == ("giant panda", 2)


def test_a_closed_runtime_begins_no_process_again_and_leaves_images_of_others_open(clip: Path) -> None:
    with ImageInferenceRuntime() as images:
        with VideoInferenceRuntime(images=images) as runtime:
            assert runtime.predict(clip)
        for ask in (runtime.predict, lambda path: runtime.frame(path, 0.0)):
            with pytest.raises(RuntimeError, match="the runtime is closed"):
                ask(clip)
        assert images.predict(PHOTOS[0])


def test_one_call_takes_the_sampling_along(clip: Path, tmp_path: Path) -> None:
    assert predict_video(clip, aggregate="mean", max_frames=2).clip.aggregate == "mean"
    target = tmp_path / "results.json"
    run_video_inference("builtin:efficientnet_lite0", [clip], target, aggregate="ema", every_seconds=1.0)
    (entry,) = json.loads(target.read_text())["results"]
    assert entry["clip"]["aggregate"] == "ema"
    assert len(entry["clip"]["timeline"]) == 2


def test_the_surest_frame_can_be_had_whole_and_as_the_model_saw_it(
    runtime: VideoInferenceRuntime, clip: Path
) -> None:
    result = runtime.predict(clip)
    shown = runtime.frame(clip, result.clip.peak.time)
    assert shown.shape == (240, 320, 3)
    with ImageInferenceRuntime() as images:
        alone = images.predict(shown)
    assert (alone.label, alone.confidence) == (result.clip.peak.label, result.clip.peak.confidence)


def test_a_clip_among_images_is_told_where_it_belongs(clip: Path) -> None:
    with ImageInferenceRuntime() as images:
        with pytest.raises(ImageError, match="a video clip: VideoInferenceRuntime classifies it"):
            images.predict(clip)
        (failed,) = images.predict_batch(clip).results
    assert isinstance(failed, ImageFailure)
    with pytest.raises(ImageError, match="a video clip: give a frame"):
        photo(clip)
