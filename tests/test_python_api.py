"""What docs/python.md promises to those who call the runtime from Python."""

import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image, ImageOps

import dropsight
from daemons import PHOTOS, ROOT
from dropsight import ImageError, ImageFailure, ImageInferenceRuntime, ImageResult
from dropsight.inference.arrays import pixels_of_array, pixels_of_pillow
from dropsight.inference.interpreters import most_in_memory
from dropsight.models.litert import LiteRTModel

PANDA = next(photo for photo in PHOTOS if photo.stem == "panda")
PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# Names and meaning as the specification of the runtime has them.
AS_SPECIFIED = """
from typing import assert_type
import numpy as np
from PIL import Image
from dropsight import BatchResults, ImageInferenceRuntime, ImageResult, run_image_inference
runtime = ImageInferenceRuntime(model_path="builtin:efficientnet_lite0", model_format="auto", use_tta=True,
                                tta_transforms=5, temperature=1.0, preprocess_fn=None)
assert_type(runtime.predict("cat.jpg"), ImageResult)
found = runtime.predict_batch(image_paths=["cat.jpg", "dog.jpg"], batch_size=32, show_progress=True)
assert_type(found, BatchResults)
runtime.predict(np.zeros((9, 9), np.float32))
runtime.predict_batch(image_paths=(np.zeros((9, 9, 3), np.uint8) for _ in range(2)))
runtime.predict(Image.new("L", (9, 9)))
with runtime as same:
    assert_type(same, ImageInferenceRuntime)
batch = run_image_inference(model_path="builtin:efficientnet_lite0", image_paths=["cat.jpg"],
                            output_path="results.json", model_format="tflite", use_tta=True)
assert_type(batch.avg_time_per_image_ms, float)
assert_type(batch.to_json(), str)
"""


@pytest.fixture(scope="module")
def runtime() -> ImageInferenceRuntime:
    return ImageInferenceRuntime(threads=2)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / name).write_bytes(PHOTOS[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels_of(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB), np.uint8)


# --- The page and the specification


@pytest.mark.parametrize("example", [*EXAMPLES, AS_SPECIFIED], ids=lambda text: text.strip().splitlines()[0])
def test_what_the_page_and_the_specification_show_runs(example: str, photos: Path) -> None:
    exec(compile(example, "python.md", "exec"), {})  # noqa: S102 - our own words
    if "results.json" in example:
        assert (photos / "results.json").exists()


@pytest.mark.slow
def test_the_types_of_what_they_show_are_exact(tmp_path: Path) -> None:
    for number, example in enumerate([*EXAMPLES, AS_SPECIFIED]):
        (tmp_path / f"example_{number}.py").write_text(example)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "daemon")}
    done = subprocess.run(
        [*command, *map(str, sorted(tmp_path.glob("*.py")))],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_dropsight_loads_nothing_but_itself() -> None:
    code = "import sys; before = set(sys.modules); import dropsight; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"dropsight", "dropsight.version", "__future__"}


def test_predicting_loads_nothing_that_it_does_not_use() -> None:
    code = f"""
import sys, numpy
from dropsight import ImageInferenceRuntime
ImageInferenceRuntime().predict_batch([{str(PANDA)!r}, numpy.zeros((9, 9), numpy.uint8)])
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"PIL", "asyncio", "tensorflow", "typer", "matplotlib", "numpy.ma"} & set(done.stdout.split())


def test_every_public_name_is_there_and_listed() -> None:
    listed = dropsight.__all__  # type: ignore[attr-defined] # made when it is asked for
    assert {"ImageInferenceRuntime", "run_image_inference", "GradCAM", "SaliencyMap"} <= set(listed)
    assert set(listed) <= set(dir(dropsight))
    assert all(getattr(dropsight, name).__name__ == name for name in listed)
    with pytest.raises(AttributeError, match="nothing_here"):
        dropsight.nothing_here  # type: ignore[attr-defined] # noqa: B018


# --- What an image may be

KINDS = st.sampled_from(
    [np.uint8, np.uint16, np.float16, np.float32, np.float64, np.bool_, np.int32, np.int64]
)
SIDES = st.integers(1, 12)
SHAPES = st.one_of(
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES, st.sampled_from([1, 3, 4])),
    st.tuples(st.just(1), SIDES, SIDES, st.just(3)),
)


def valid(kind: type[np.generic], shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return of_numpy.arrays(dtype, shape, elements=st.floats(0, 1, width=dtype.itemsize * 8))  # type: ignore[arg-type] # 16, 32 or 64
    if dtype.kind == "i":
        return of_numpy.arrays(dtype, shape, elements=st.integers(0, 255))
    return of_numpy.arrays(dtype, shape)


def shown(array: NDArray[Any]) -> NDArray[np.float64]:
    """What each pixel stands for, (height, width, 3) within 0..255, in NumPy's plainest words."""
    levels = array.astype(np.float64)
    if array.dtype == np.uint16:
        levels = levels // 256
    elif array.dtype.kind in "fb":
        levels = levels * 255
    levels = levels.reshape(levels.shape[-3:] if levels.ndim > 2 else (*levels.shape, 1))
    return np.broadcast_to(levels[:, :, :3], (*levels.shape[:2], 3))


@settings(max_examples=150, deadline=None)
@given(st.tuples(KINDS, SHAPES).flatmap(lambda made: valid(*made)), st.booleans())
def test_arrays_of_every_shape_and_kind_are_what_they_show(array: NDArray[Any], mirrored: bool) -> None:  # noqa: FBT001
    if mirrored:
        array = array[::-1]  # not contiguous
    before = array.copy()
    pixels = pixels_of_array(array)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.abs(pixels - shown(array)).max() <= 0.5 + 1e-4
    assert np.array_equal(array, before)


@settings(max_examples=200, deadline=None)
@given(
    of_numpy.arrays(
        of_numpy.scalar_dtypes(), of_numpy.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
    )
)
def test_any_array_is_pixels_or_one_clear_error(array: NDArray[Any]) -> None:
    expected = f"{re.escape(str(array.dtype))}|{re.escape(str(array.shape))}"
    if array.dtype.kind in "cSUMmV" or array.ndim not in {2, 3, 4} or not array.size:
        with pytest.raises(ImageError, match=expected):
            pixels_of_array(array)
        return
    with contextlib.suppress(ImageError):
        pixels = pixels_of_array(array)
        assert (str(pixels.dtype), pixels.ndim, pixels.shape[2]) == ("uint8", 3, 3)


@settings(max_examples=10, deadline=None)
@given(of_numpy.arrays(np.uint8, (24, 24, 3)))
def test_floats_and_16_bits_get_the_answer_of_the_same_picture_in_8(
    runtime: ImageInferenceRuntime, pixels: NDArray[np.uint8]
) -> None:
    same: list[NDArray[Any]] = [
        pixels,
        pixels / 255,
        (pixels / np.float32(255)),
        pixels.astype(np.uint16) * 257,
        pixels[np.newaxis],
    ]
    answers = [runtime.predict(each) for each in same]
    assert len({(answer.predicted_class, answer.confidence) for answer in answers}) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_of_16_bits_gets_the_answer_of_a_png_of_it(
    runtime: ImageInferenceRuntime, channels: int
) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (32, 32, channels), np.uint16)
    png = cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes()
    answers = [runtime.predict(each) for each in (deep, png)]
    assert answers[0].predictions == answers[1].predictions


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4), 9.5, np.float32), "float32 pixels must lie in 0..1, and these go from 9.5 to 9.5"),
        (np.eye(4) * 2 - 1, "float64 pixels must lie in 0..1, and these go from -1 to 1: scale them"),
        (np.full((4, 4, 3), np.nan), "some are NaN"),
        (np.full((4, 4, 3), np.inf), "these go from inf to inf"),
        (np.full((4, 4, 3), 256), "int64 pixels must lie in 0..255, and these go from 256 to 256"),
        (np.zeros((3, 8, 8), np.uint8), r"with channels first, give array.transpose\(1, 2, 0\)"),
        (np.zeros((4, 4, 2), np.uint8), r"an array of shape \(4, 4, 2\), not \(height, width\), gray, or"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        (np.zeros((4, 4, 3), np.complex64), "an array of complex64; give uint8, uint16, or floats in 0..1"),
        (None, "None is not an image: give a path, the bytes of an encoded image"),
        (5, "an object of type int is not an image"),
        ("a\0b.jpg", "no file has such a name"),
        (b"", "its first bytes"),
    ],
    ids=str,
)  # fmt: skip
def test_each_bad_image_is_an_error_of_its_own(
    runtime: ImageInferenceRuntime, array: Any, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        runtime.predict(array)
    first, bad, last = runtime.predict_batch([PANDA, array, PANDA]).results
    assert isinstance(bad, ImageFailure)
    assert re.search(words, bad.error.message)
    assert isinstance(first, ImageResult)
    assert isinstance(last, ImageResult)


def test_what_holds_no_images_is_refused_at_once(runtime: ImageInferenceRuntime) -> None:
    with pytest.raises(TypeError, match="image_paths: None holds no images"):
        runtime.results(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        runtime.results([], batch_size=0)


def test_a_link_is_followed_and_one_to_nowhere_is_a_file_that_is_not_there(
    runtime: ImageInferenceRuntime, tmp_path: Path
) -> None:
    (tmp_path / "link.jpg").symlink_to(PANDA)
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    assert runtime.predict(tmp_path / "link.jpg").label == "giant panda"
    with pytest.raises(FileNotFoundError):
        runtime.predict(tmp_path / "nowhere.jpg")


def test_an_empty_path_names_no_file_nor_the_folder_that_we_are_in(
    runtime: ImageInferenceRuntime,
) -> None:
    with pytest.raises(FileNotFoundError):
        runtime.predict("")


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.dstack([RAMP, RAMP.T, 255 - RAMP])
GRAY = np.dstack([RAMP] * 3)
ALPHA = np.full((16, 16), 9, np.uint8)


def palette() -> Image.Image:
    image = Image.fromarray(RAMP)
    image = image.convert("P")
    image.putpalette(bytes(COLOURS.reshape(-1)))
    image.info["transparency"] = bytes(256)
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(COLOURS), COLOURS),
        (Image.fromarray(RAMP), GRAY),
        (Image.fromarray(np.dstack([RAMP, ALPHA])), GRAY),
        (Image.fromarray(np.dstack([COLOURS, ALPHA])), COLOURS),
        (palette(), COLOURS),
        (Image.fromarray(np.dstack([255 - COLOURS, ALPHA * 0]), "CMYK"), COLOURS),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), GRAY),
        (Image.fromarray(RAMP.astype(np.int32) * 257), GRAY),
        (Image.fromarray((RAMP / 255).astype(np.float32)), GRAY),
        (Image.fromarray(RAMP > 99), np.where(GRAY > 99, 255, 0)),
        (Image.fromarray(COLOURS).convert("YCbCr").convert("HSV"), None),
    ],
    ids=lambda part: part.mode if isinstance(part, Image.Image) else "",
)  # fmt: skip
def test_pillows_images_of_every_mode_are_what_they_show(
    image: Image.Image, expected: NDArray[Any] | None
) -> None:
    pixels = pixels_of_pillow(image)
    assert (pixels.shape, str(pixels.dtype)) == ((16, 16, 3), "uint8")
    assert expected is None or np.array_equal(pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_upright_as_its_file_is_and_never_twice(
    runtime: ImageInferenceRuntime, orientation: int
) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).resize((64, 32)).save(file, "PNG", exif=exif)
    opened = Image.open(file)
    upright = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(pixels_of_pillow(opened), upright)
    assert np.array_equal(pixels_of_pillow(ImageOps.exif_transpose(opened)), upright)
    answers = [runtime.predict(each) for each in (file.getvalue(), opened, upright)]
    assert len({answer.confidence for answer in answers}) == 1


def test_a_pillow_image_of_a_file_that_is_cut_short_is_an_error_of_its_own(
    runtime: ImageInferenceRuntime,
) -> None:
    cut = Image.open(io.BytesIO(PANDA.read_bytes()[:3000]))
    (found,) = runtime.predict_batch(cut).results
    assert isinstance(found, ImageFailure)
    assert (found.error.code, "Pillow cannot read" in found.error.message) == ("unreadable", True)


# --- Many


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_results_come_in_order_whatever_the_size_of_a_batch(
    runtime: ImageInferenceRuntime, batch_size: int
) -> None:
    expected = [runtime.predict(photo).label for photo in PHOTOS]
    found = runtime.results((photo for photo in PHOTOS), batch_size=batch_size)
    assert [each.label if isinstance(each, ImageResult) else "" for each in found] == expected


def test_a_bar_is_drawn_where_asked_and_only_there(
    runtime: ImageInferenceRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.predict_batch(image_paths=PHOTOS[:2], batch_size=2)
    assert capsys.readouterr().err == ""
    runtime.predict_batch(image_paths=PHOTOS[:2], batch_size=2, show_progress=True)
    assert "2/2" in capsys.readouterr().err
    runtime.predict_batch(image_paths=iter(PHOTOS[:2]), batch_size=2, show_progress=True)
    assert "2img" in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_stream_is_never_held_in_memory(runtime: ImageInferenceRuntime, batch_size: int) -> None:
    """Two images a thread are in hand, one is on its way in, and a thread may still hold its last."""
    made: list[weakref.ref[NDArray[np.uint8]]] = []
    most = 0

    def stream() -> Iterator[NDArray[np.uint8]]:
        nonlocal most
        for _ in range(60):
            frame = np.zeros((32, 32, 3), np.uint8)
            made.append(weakref.ref(frame))
            most = max(most, sum(each() is not None for each in made))
            yield frame

    assert sum(1 for _ in runtime.results(stream(), batch_size)) == 60
    assert most <= 2 * 2 + 4


def test_a_stream_that_is_left_is_asked_for_no_more(runtime: ImageInferenceRuntime) -> None:
    asked = 0

    def stream() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield PANDA

    found = runtime.results(stream())
    next(found)
    found.close()
    assert asked <= 2 * 2 + 1


def test_what_a_generator_raises_reaches_the_caller(runtime: ImageInferenceRuntime) -> None:
    def stream() -> Iterator[Path]:
        yield PANDA
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        runtime.predict_batch(stream())


# --- Threads, with, an event loop


def test_many_threads_get_the_answers_that_one_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int | None] = []
    replicate = LiteRTModel.replicate

    def counted(self: LiteRTModel, *, threads: int | None = None) -> LiteRTModel:
        opened.append(threads)
        return replicate(self, threads=threads)

    monkeypatch.setattr(LiteRTModel, "replicate", counted)
    runtime = ImageInferenceRuntime(threads=2)
    expected = [runtime.predict(photo).top_5_predictions for photo in PHOTOS]
    assert runtime.predict_batch([PHOTOS[0]]).results[0].image_path == str(PHOTOS[0])
    assert opened == []
    with ThreadPoolExecutor(6) as pool:
        batches = [pool.submit(runtime.predict_batch, PHOTOS) for _ in range(2)]
        singles = list(pool.map(runtime.predict, PHOTOS * 3))
    assert [single.top_5_predictions for single in singles] == expected * 3
    for batch in batches:
        results = batch.result().results
        assert [each.top_5_predictions for each in results if isinstance(each, ImageResult)] == expected
    assert 1 <= len(opened) <= 2
    assert set(opened) == {1}


def test_a_model_too_large_to_be_held_once_a_core_is_held_once(
    runtime: ImageInferenceRuntime, tmp_path: Path
) -> None:
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as file:
        file.truncate(2**43)  # takes no place
    assert most_in_memory(replace(runtime.spec, path=huge)) == 1
    assert most_in_memory(runtime.spec) >= 4


def test_a_closed_runtime_says_so() -> None:
    with ImageInferenceRuntime() as runtime:
        assert runtime.predict(PANDA).label == "giant panda"
        under_way = runtime.results([PANDA] * 50)
        next(under_way)
    for late in (lambda: runtime.predict(PANDA), lambda: runtime.predict_batch([]), lambda: list(under_way)):
        with pytest.raises(RuntimeError, match="the runtime is closed: predict inside its with block"):
            late()
    runtime.close()
    assert runtime.spec.format == "tflite"


def held(
    started: threading.Event, go_on: threading.Event
) -> Callable[[NDArray[np.uint8]], NDArray[np.floating]]:
    def preprocess(_: NDArray[np.uint8]) -> NDArray[np.floating]:
        started.set()
        assert go_on.wait(60)
        return np.zeros((224, 224, 3), np.float32)

    return preprocess


def test_an_event_loop_goes_on_while_an_image_is_predicted() -> None:
    started, go_on = threading.Event(), threading.Event()
    runtime = ImageInferenceRuntime(preprocess_fn=held(started, go_on))

    async def main() -> list[ImageResult]:
        waiting = [asyncio.create_task(runtime.apredict(PANDA)) for _ in range(2)]
        await asyncio.to_thread(started.wait, 60)
        go_on.set()  # which a loop that is held up would never come to
        return await asyncio.gather(*waiting)

    first, second = asyncio.run(main())
    assert first.predictions == second.predictions


def test_a_batch_that_is_cancelled_ends_at_once_and_its_thread_soon_after() -> None:
    started, go_on = threading.Event(), threading.Event()
    runtime = ImageInferenceRuntime(preprocess_fn=held(started, go_on), threads=2)
    asked = 0

    def stream() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield PANDA

    async def main() -> None:
        task = asyncio.create_task(runtime.apredict_batch(stream()))
        await asyncio.to_thread(started.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not go_on.is_set()
        go_on.set()

    asyncio.run(main())  # waits for the loop's threads, which a batch without an end would never leave
    assert asked <= 2 * 2 + 1
