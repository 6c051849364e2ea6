"""Where to look: parts of a camera's pictures, what is painted over, and squares that cover a wide one."""

import base64
import json
import math
import re
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from playwright.sync_api import Browser, expect

import bench_framing
from brokers import wait_until
from clips import make_clip
from daemons import SAMPLES, House, dropsight, running
from dropsight import ImageInferenceRuntime
from dropsight.commands.as_daemon import Classifying
from dropsight.commands.calibrate import calibrate
from dropsight.commands.evaluate import evaluate
from dropsight.commands.explain import explain
from dropsight.commands.following import shown
from dropsight.commands.inspect import inspect
from dropsight.config import dump, load, schema
from dropsight.errors import ConfigError
from dropsight.explain.explaining import Explainer
from dropsight.images.framing import Pixels, place_of, places, squares
from dropsight.images.header import read_header
from dropsight.images.jpeg import Decoded
from dropsight.images.large import decode_where_it_fits
from dropsight.images.masks import Mask, kept, read_mask, stretched
from dropsight.images.opening import open_named
from dropsight.images.sights import Sight, sights_of
from dropsight.inference import pipeline
from dropsight.inference.clips import ClipAnswer, ClipSettings, classify_clip, seen_at
from dropsight.inference.joining import joined
from dropsight.inference.pipeline import AT_ONCE, Prepared
from dropsight.inference.planning import Plan
from dropsight.inference.preparing import Preparation
from dropsight.inference.ranking import probabilities
from dropsight.inference.seen import mask_misfit
from dropsight.models.spec import Batch, ModelSpec, Scores, TensorSpec
from dropsight.records import Box, Framing, Resize, Result, decode, shown_label
from dropsight.sinks.mqtt.entities import of_camera
from dropsight.sinks.mqtt.topics import Topics
from dropsight.sinks.terminal import Table
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.web.pictures import pixels_of
from test_homeassistant import rendered
from webs import ANY_PORT, address, ask
from windows import Window

DOOR: Box = (0.0, 0.0, 0.25, 0.5)
GATE: Box = (0.75, 0.5, 1.0, 1.0)
CROPS = {"door": DOOR, "gate": GATE}


@pytest.fixture(scope="module")
def runtime() -> Iterator[ImageInferenceRuntime]:
    with ImageInferenceRuntime(threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def scene() -> Pixels:
    """A gray yard, 896 x 448, with a cat in its upper left corner and a cup in its lower right one."""
    made = np.full((448, 896, 3), 110, np.uint8)
    made[:224, :224], made[224:, 672:] = photo("chelsea.jpg"), photo("coffee.jpg")
    return made


def photo(name: str) -> Pixels:
    read = cv2.cvtColor(np.asarray(cv2.imread(str(SAMPLES / name))), cv2.COLOR_BGR2RGB)[:300, 50:350]
    return np.asarray(cv2.resize(read, (224, 224), interpolation=cv2.INTER_AREA), np.uint8)


def seen(plan: Plan, runtime: ImageInferenceRuntime, pixels: Pixels) -> pipeline.Answer:
    with runtime.interpreter() as model:
        return pipeline.predict(model, pipeline.prepare_pixels(pixels, plan), plan)


def planned(runtime: ImageInferenceRuntime, sight: Sight | None = None, **framing: str) -> Plan:
    spec = replace(runtime.spec, framing=Framing(**framing))  # type: ignore[arg-type]
    return replace(runtime.plan, spec=spec, preparation=Preparation(spec), sight=sight)


@pytest.mark.parametrize("tta", [(), ("original", "horizontal_flip")])
def test_each_part_is_answered_as_a_picture_of_its_own(
    runtime: ImageInferenceRuntime, scene: Pixels, tta: tuple[str, ...]
) -> None:
    plan = planned(runtime, Sight(CROPS))
    plan = replace(plan, inference=load(None, overrides={"inference.tta": list(tta)}).inference)
    alone = replace(plan, sight=None, preparation=Preparation(replace(plan.spec, framing=Framing("stretch"))))
    found = seen(plan, runtime, scene)
    assert isinstance(found.regions, list)
    assert [each.name for each in found.regions] == ["door", "gate"]
    for region, cut in zip(found.regions, (scene[:224, :224], scene[224:, 672:]), strict=True):
        assert region.predictions == seen(alone, runtime, cut).predictions
    assert (found.region, found.predictions[0].label) == ("gate", "espresso")
    assert found.views == max(len(tta), 1)


def test_a_camera_without_crops_and_mask_costs_no_plan_of_its_own(runtime: ImageInferenceRuntime) -> None:
    plan = replace(planned(runtime), sights={"front": Sight(CROPS)})
    assert plan.of("back") is plan
    assert plan.of("front").boxes == (DOOR, GATE)


def test_the_plan_of_a_camera_with_crops_is_made_once_for_all_its_images(
    runtime: ImageInferenceRuntime,
) -> None:
    """What a plan works out for all of its images (parts, size, views, temperature) it keeps."""
    plan = replace(planned(runtime), sights={"front": Sight(CROPS)})
    assert plan.of("front") is plan.of("front")
    assert plan.in_a_hurry().of("front").hurried


def test_two_parts_take_one_decode_at_the_scale_that_the_smaller_one_needs(
    runtime: ImageInferenceRuntime, scene: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of 4480 x 2240 would do at an eighth; of a quarter of its width a fourth is needed, and so on."""
    large = cv2.resize(scene, None, fx=5, fy=5)
    data = cv2.imencode(".jpg", cv2.cvtColor(large, cv2.COLOR_RGB2BGR))[1].tobytes()
    header, sizes = read_header(data), list[tuple[int, ...]]()
    decodes = decode_where_it_fits

    def counted(*given: Any, **more: Any) -> Decoded:
        decoded = decodes(*given, **more)
        sizes.append(decoded.pixels.shape[:2])
        return decoded

    monkeypatch.setattr(pipeline, "decode_where_it_fits", counted)
    for crops in ({}, {"gate": GATE}, CROPS, {**CROPS, "knob": (0.1, 0.1, 0.2, 0.3)}):
        pipeline.prepare(data, header, planned(runtime, Sight(crops) if crops else None))
    assert sizes == [(280, 560), (560, 1120), (560, 1120), (1120, 2240)]


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((1920, 1080), 2),
        ((1080, 1920), 2),
        ((640, 480), 2),
        ((500, 500), 1),
        ((510, 500), 1),
        ((2560, 1080), 3),
    ],
)
def test_squares_cover_all_of_a_picture_and_are_no_more_than_that_takes(
    size: tuple[int, int], count: int
) -> None:
    width, height = size
    found, covered = squares(width, height, aspect=1.0), np.zeros((height, width), np.bool_)
    for place in found:
        covered[place] = True
        rows, columns = covered[place].shape
        assert abs(rows - columns) <= 1
    assert len(found) == count
    assert covered.mean() > 0.97


SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, st.sampled_from([(224, 224), (96, 160)]), st.tuples(*[st.floats(0, 1)] * 4))
@settings(max_examples=60)
def test_whatever_the_size_parts_and_squares_lie_within_the_picture(
    width: int, height: int, to: tuple[int, int], sides: tuple[float, float, float, float]
) -> None:
    """A box may be as small as it likes: it is a pixel at least."""
    left, right, top, bottom = *sorted(sides[:2]), *sorted(sides[2:])
    rows, columns = place_of((left, top, right, bottom), width, height)
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    how: Resize
    for how in ("crop", "stretch", "cover"):
        found = places(width, height, to=to, how=how, fraction=1.0)
        assert all(0 <= down.start < down.stop <= height for down, _ in found)
        assert all(0 <= across.start < across.stop <= width for _, across in found)
    assert len(found) <= 8
    aspect = to[1] / to[0]
    if 1 / 6 < width / height / aspect < 6 and min(width, height) > 50:
        seen = sum((down.stop - down.start) * (across.stop - across.start) for down, across in found)
        assert seen > 0.94 * width * height


def test_what_is_at_the_edge_of_a_wide_picture_is_found_where_squares_cover_it(
    runtime: ImageInferenceRuntime,
) -> None:
    """The central crop sees only gray."""
    yard = np.full((448, 896, 3), 110, np.uint8)
    yard[112:336, 660:884] = photo("coffee.jpg")
    assert seen(planned(runtime), runtime, yard).predictions[0].label != "espresso"
    covered = seen(planned(runtime, resize="cover"), runtime, yard)
    assert (covered.predictions[0].label, covered.views, covered.regions) == ("espresso", 1, covered.region)


def test_the_bench_of_framing_finds_at_an_edge_what_the_central_crop_does_not(
    runtime: ImageInferenceRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    bench_framing.measure(runtime, bench_framing.samples()[1:2])
    rows = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("crop", "cover"))
    ]
    smallest = {row[0]: (row[1], row[5]) for row in rows[-3:]}
    assert smallest["crop"] == ("0.0", "0.0")
    assert smallest["crops"] == ("100.0", "100.0")
    assert [row[-1] for row in rows[:3]] == ["1", "2", "1"]


def test_squares_are_joined_by_the_largest_of_each_class_and_sum_up_as_one_does(
    runtime: ImageInferenceRuntime,
) -> None:
    """By hand: of (0.7, 0.2, 0.1) and (0.1, 0.2, 0.7) the largest are (0.7, 0.2, 0.7), 1.6 in all."""
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32)
    floats = replace(runtime.spec, activation="softmax", output=TensorSpec("o", (1, 3), np.dtype(np.float32)))
    logits = replace(floats, activation="none")
    several = replace(floats, activation="logistic", thresholds=(0.5, 0.5, 0.5))
    expected = [[0.4375, 0.125, 0.4375]]
    np.testing.assert_allclose(joined(shares, floats, 2), expected, rtol=1e-6)
    merged = joined(np.log(shares) + 5, logits, 2)
    np.testing.assert_allclose(probabilities(merged, logits, 1.0), expected, rtol=1e-6)
    np.testing.assert_allclose(joined(shares, several, 2), [[0.7, 0.2, 0.7]], rtol=1e-6)
    low = (shares / 2).astype(
        np.float32
    )  # as of an integer model, whose probabilities may sum up to less than 1
    np.testing.assert_allclose(joined(low, floats, 2), [[0.21875, 0.0625, 0.21875]], rtol=1e-6)
    views = np.concatenate(
        [shares, shares[:, ::-1]]
    )  # two squares of two views each: by square, then by view
    np.testing.assert_allclose(joined(views[[0, 2, 1, 3]], floats, 2), expected * 2, rtol=1e-6)


def test_a_batch_of_pictures_of_several_shapes_is_what_each_of_them_is_alone(scene: Pixels) -> None:
    """One has two squares, the next has one."""
    with ImageInferenceRuntime(resize="cover", threads=1) as covering:
        given = [scene, scene[:, 224:672], scene[:224]]
        plan = covering.plan
        prepared = [pipeline.prepare_pixels(each, plan) for each in given]
        assert [each.squares for each in prepared] == [(2,), (1,), (4,)]
        with covering.interpreter() as model:
            together = pipeline.predict_many(model, prepared, plan)
        alone = [covering.predict(each).predictions for each in given]
        assert [each.predictions for each in together if isinstance(each, pipeline.Answer)] == alone
        (_, merged), *_ = covering.scores([scene])
        assert isinstance(merged, np.ndarray)
        best = probabilities(merged[np.newaxis], covering.spec, 1.0)[0]
        assert round(float(best.max()), 6) == alone[0][0].confidence


def test_gray_models_and_those_with_channels_first_see_parts_and_squares_too(scene: Pixels) -> None:
    with ImageInferenceRuntime(threads=1) as opened:
        gray = TensorSpec("i", (1, 1, 64, 64), np.dtype(np.float32))
        spec: ModelSpec = replace(opened.spec, input=gray, layout="NCHW", framing=Framing("cover"))
    made = Preparation(spec).batch_of(scene, ("original", "vertical_flip"), (DOOR, (0.0, 0.0, 1.0, 1.0)))
    assert (made.batch.shape, made.squares) == ((6, 1, 64, 64), (1, 2))
    np.testing.assert_array_equal(made.batch[0, 0], made.batch[1, 0, ::-1])
    door = Preparation(spec).batch_of(scene[:224, :224], ("original",)).batch
    np.testing.assert_array_equal(made.batch[:1], door)


def test_pictures_of_any_size_leave_nothing_in_memory_but_small_masks() -> None:
    """An uploader who sent sixteen of 49 megapixels, none as large as another, had 1.5 GB kept of them."""
    mask, before = Mask(np.array([[True, False]])), kept.cache_info().currsize
    for width in (2**11 + 1, 2**11 + 2):
        covered = mask.over(np.full((2**11, width, 3), 9, np.uint8))
        assert (covered == 9).all()
    assert kept.cache_info().currsize == before


@pytest.mark.parametrize("shape", [(4_096, 4_096), (40_000, 400), (1, 6_000_000), (1_000_000, 1)], ids=str)
def test_painting_over_takes_the_memory_of_one_copy(shape: tuple[int, int]) -> None:
    """Seven times as much, for ribbons of an uploader, ended the daemon where memory is short."""
    mask, picture = Mask(np.ones((320, 320), np.bool_)), np.full((*shape, 3), 9, np.uint8)
    tracemalloc.start()
    try:
        mask.over(picture)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < picture.nbytes + 32 * 2**20


@pytest.mark.parametrize("shape", [(2_003, 2_311), (1, 500_000), (500_000, 1), (60_001, 90)], ids=str)
def test_a_picture_of_any_shape_is_painted_over_in_pieces_as_it_would_be_whole(
    shape: tuple[int, int],
) -> None:
    numbers = np.random.default_rng(3)
    mask = Mask(numbers.random((213, 320)) < 0.5)
    picture = numbers.integers(0, 256, (*shape, 3), np.uint8)
    painted, wanted = stretched(mask, *shape), picture.copy()
    wanted[painted] = np.rint(picture[~painted].mean(axis=0))
    np.testing.assert_array_equal(mask.over(picture), wanted)


def test_a_mask_is_stretched_in_pieces_as_it_is_whole() -> None:
    cells = np.random.default_rng(3).random((213, 320)) < 0.5
    mask, picture = Mask(cells), np.full((2_003, 2_311, 3), 7, np.uint8)
    picture[stretched(mask, 2_003, 2_311)] = 200
    np.testing.assert_array_equal(mask.over(picture), np.full_like(picture, 7))
    whole = cv2.resize(cells.astype(np.uint8), (2_311, 2_003), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(stretched(mask, 2_003, 2_311), whole.astype(np.bool_))


def test_the_many_parts_of_a_picture_are_not_computed_all_at_once() -> None:
    """16 crops, 8 squares of each, 5 views: tensors for 640 took a gigabyte in each worker."""
    numbers = np.arange(2 * AT_ONCE + 3, dtype=np.float32)[:, np.newaxis]
    counts = []

    class Counting:
        def scores(self, batch: Batch) -> Scores:
            counts.append(len(batch))
            return batch.astype(np.float32)

    invoked = pipeline.invoke(Counting(), Prepared(numbers, 0.0))  # type: ignore[arg-type] # as much as it needs
    np.testing.assert_array_equal(invoked.scores, numbers)
    assert counts == [AT_ONCE, AT_ONCE, 3]


def test_what_is_painted_over_has_the_mean_colour_of_the_rest(runtime: ImageInferenceRuntime) -> None:
    """Whatever shows there, the answer is the same."""
    mask = Mask(np.array([[True, False]]))
    one, other = np.full((10, 20, 3), 40, np.uint8), np.full((10, 20, 3), 40, np.uint8)
    one[:, :10], other[:, :10] = 250, 7
    one[:, 15:], other[:, 15:] = 80, 80
    np.testing.assert_array_equal(mask.over(one), mask.over(other))
    np.testing.assert_array_equal(mask.over(one)[:, :10], np.full((10, 10, 3), 60))
    np.testing.assert_array_equal(mask.over(one)[:, 10:], one[:, 10:])
    assert one[0, 0, 0] == 250, "the picture itself is left for people to see"
    plan = planned(runtime, Sight({}, mask), resize="stretch")
    assert seen(plan, runtime, one).predictions == seen(plan, runtime, other).predictions
    np.testing.assert_array_equal(Mask.unpacked(mask.packed()).painted, mask.painted)


def test_painted_is_what_is_not_transparent_or_else_what_is_not_black(tmp_path: Path) -> None:
    alpha = np.zeros((40, 80, 4), np.uint8)
    alpha[:, 40:] = (0, 0, 0, 90)  # a half-transparent black brush
    black = np.zeros((40, 80, 3), np.uint8)
    black[:, 40:] = (200, 0, 0)
    opaque = np.dstack([black, np.full((40, 80), 255, np.uint8)])
    for name, picture in (("alpha", alpha), ("black", black), ("opaque", opaque), ("gray", black[:, :, 0])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        painted = read_mask(tmp_path / f"{name}.png").painted
        assert painted[:, 40:].all(), name
        assert not painted[:, :40].any(), name


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (np.zeros((8, 8, 3), np.uint8), "covers nothing"),
        (np.full((8, 8, 3), 255, np.uint8), "covers the whole picture"),
        (None, "is not a readable picture"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_one_line_with_its_key(
    tmp_path: Path, picture: Pixels | None, fault: str
) -> None:
    mask, file = tmp_path / "m.png", tmp_path / "dropsight.yaml"
    file.write_text("cameras: {front: {mask: m.png}}")
    with pytest.raises(ConfigError, match=r"^cameras\.front\.mask: .*m\.png cannot be read: No such file"):
        sights_of(load(file))
    mask.write_bytes(b"no picture") if picture is None else cv2.imwrite(str(mask), picture)
    with pytest.raises(ConfigError, match=rf"^cameras\.front\.mask: {mask} {fault}"):
        sights_of(load(file))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("blck: true", "cameras.blck: unknown key; did you mean cameras.black?"),
        ("front: true", "cameras.front: unknown key; did you mean cameras.frozen?"),
        ("front: {crop: {}}", "cameras.front.crop: unknown key; did you mean cameras.front.crops?"),
        ("front: {crops: {door: [0, 0, 1]}}", "cameras.front.crops.door: cannot be a list; give [left, top,"),
        ("front: {crops: {door: [0, 0, 1, 2]}}", "cameras.front.crops.door: cannot be a list; give [left,"),
        ("front: {crops: {door: [0.5, 0, 0.2, 1]}}", "cameras.front.crops.door: has its right at 0.2 and"),
        ("front: {crops: {'': [0, 0, 1, 1]}}", "cameras.front.crops.: has no name to be told by"),
        (
            f"front: {{crops: {{{', '.join(f'n{number}: [0, 0, 1, 1]' for number in range(17))}}}}}",
            "cameras.front.crops: has 17, each classified by itself; give at most 16",
        ),
    ],
)
def test_a_wrong_key_or_box_of_a_camera_is_one_line_that_says_what_is_wrong(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text(f"cameras: {{{text}}}")
    with pytest.raises(ConfigError) as caught:
        load(file)
    (told,) = caught.value.faults
    assert told.startswith(f"{file}: {fault}")


def test_cameras_stand_beside_the_keys_of_their_section_in_file_environment_and_schema(
    tmp_path: Path,
) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text(
        "cameras: {blur: false, front: {crops: {door: [0, 0.1, 0.5, 1]}}, by_name: {mask: m.png}}"
    )
    config = load(file, environ={"DROPSIGHT_CAMERAS__YARD__MASK": "y.png"})
    named = config.cameras.by_name
    assert (config.cameras.blur, list(named)) == (False, ["front", "by_name", "yard"])
    assert named["front"].crops == {"door": (0.0, 0.1, 0.5, 1.0)}
    assert named["by_name"].mask == tmp_path / "m.png"
    file.write_text(dump(config))
    assert load(file) == config
    section = json.loads(json.dumps(schema()))["properties"]["cameras"]
    assert set(section["additionalProperties"]["properties"]) == {"crops", "mask"}
    assert "by_name" not in section["properties"]


def test_frames_of_a_clip_are_looked_at_where_photos_are(
    runtime: ImageInferenceRuntime, scene: Pixels, tmp_path: Path
) -> None:
    """The cup comes in the end, in one part alone; the mask hides it from whoever looks at all."""
    empty = scene.copy()
    empty[224:, 672:] = 110
    clip = make_clip(tmp_path / "yard.mp4", [empty] * 6 + [scene] * 6, rate=2, gop=1)
    gate = Mask(np.kron(np.array([[0, 0, 0, 0], [0, 0, 0, 1]]), np.ones((8, 8))).astype(np.bool_))
    plan = planned(runtime, Sight(CROPS))
    with runtime.interpreter() as model, ClipDecoder(ClipBounds()) as decoder, open_named(clip) as file:

        def answer(plan: Plan) -> ClipAnswer:
            return classify_clip(file, decoder, plan, ClipSettings(), lambda: nullcontext(model))

        found = answer(plan)
        hidden = answer(planned(runtime, Sight({"gate": GATE}, gate)))
        (shown,) = seen_at(file, decoder, found.clip.peak.time, by=plan, region="gate")
    assert [(each.name, each.label) for each in found.regions or []] == [
        ("door", "Egyptian cat"),
        ("gate", "espresso"),
    ]
    assert (found.region, found.clip.peak.label) == ("gate", "espresso")
    assert found.clip.peak.time >= 3
    assert hidden.predictions[0].label != "espresso"
    np.testing.assert_allclose(shown, scene[224:, 672:], atol=60)


@pytest.fixture(scope="module")
def house(scene: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A daemon whose camera `front` has two crops and a mask, with a picture of it and two of another."""
    root = tmp_path_factory.mktemp("house")
    cv2.imwrite(str(root / "mask.png"), np.pad(np.full((8, 8), 255, np.uint8), ((0, 8), (16, 8))))
    crops = {name: list(box) for name, box in CROPS.items()}
    cameras = {"front": {"crops": crops, "mask": "mask.png"}, "garage": {"crops": crops}}
    more = {"inference": {"workers": 1}, "explain": {"every": 1}, "web": ANY_PORT}
    with running(root, cameras=cameras, **more) as found:
        for camera in ("front", "back"):
            (found.inbox / camera).mkdir()
            whole = found.root / "yard.jpg"
            cv2.imwrite(str(whole), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
            whole.rename(found.inbox / camera / "yard.jpg")
        found.until(lambda: len(found.records()) == 2 and not found.waiting())
        yield found


def test_the_daemon_answers_each_part_of_its_camera_s_pictures_and_no_other_camera_s(house: House) -> None:
    front, back = sorted(house.records(), key=lambda record: record["camera"] != "front")
    assert [(each["name"], each["box"], each["label"]) for each in front["regions"]] == [
        ("door", list(DOOR), "Egyptian cat"),
        ("gate", list(GATE), "espresso"),
    ]
    assert (front["region"], front["label"]) == ("gate", "espresso")
    assert front["confidence"] == front["regions"][1]["confidence"] == front["predictions"][0]["confidence"]
    assert not {"region", "regions"} & set(back)


def test_home_assistant_is_told_of_the_parts_and_a_terminal_of_the_surest(house: House) -> None:
    front, back = sorted(house.records(), key=lambda record: record["camera"] != "front")
    label = of_camera("front", Topics.of("dropsight", "test"), pictures=False)["label"]
    said, nothing = (
        json.loads(rendered(str(label["json_attributes_template"]), json.dumps(record).encode()))
        for record in (front, back)
    )
    assert (said["region"], said["regions"]) == ("gate", front["regions"])
    assert not {"region", "regions"} & set(nothing)
    line = json.dumps(front).encode()
    assert shown(line, coloured=False).endswith("cup (gate)  front/yard.jpg")
    assert "cup (gate)" in Table().cells(decode(line), 1.0)[2]


def test_check_says_and_draws_what_is_seen_of_each_camera_s_last_picture(house: House) -> None:
    done = dropsight("check", "-c", str(house.config), "--picture", str(house.root / "seen.png"))
    lines = [line.split(maxsplit=2)[::2] for line in done.stdout.splitlines() if " sees " in line]
    central = "its central part (0.875 of its sides); model.resize: cover sees all of it"
    nowhere = "no picture of such a camera among the newest results; there are pictures of back, front"
    assert lines == [
        ["ok", f"back (896 x 448): 38 % of the picture: {central}"],
        ["ok", "front (896 x 448): 25 % of the picture, in 2 parts: door, gate; 12 % is painted over"],
        ["warn", f"cameras.garage: {nowhere}"],
        ["ok", f"drawn in {house.root / 'seen.png'}"],
    ]
    assert done.returncode == 0
    drawing = np.asarray(cv2.imread(str(house.root / "seen.png")))
    assert drawing.shape[1] == 2 * 960


@pytest.mark.slow
def test_overlays_lie_over_the_part_that_decided(house: House, scene: Pixels) -> None:
    """The one beside the image is of what was prepared, the one that is asked for of the image."""
    (front,) = (record for record in house.records() if record["camera"] == "front")
    made = Path(front["explanation"])
    wait_until(made.exists, what="the overlay")
    asked = house.ask("explain", id=front["id"])["result"]["image_jpeg_base64"]
    for jpeg in (made.read_bytes(), base64.b64decode(asked)):
        gray = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(np.asarray(gray), (32, 32), interpolation=cv2.INTER_AREA).ravel()
        door, gate = (
            cv2.resize(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA).ravel()
            for cut in (scene[:224, :224], scene[224:, 672:])
        )
        assert np.corrcoef(small, gate)[0, 1] > 0.6 > np.corrcoef(small, door)[0, 1]


def test_of_several_squares_the_one_is_explained_that_shows_the_class_most_surely(scene: Pixels) -> None:
    with ImageInferenceRuntime(resize="cover", threads=1) as covering, covering.interpreter() as model:
        left, right = covering.plan.preparation.pictures(scene)[0]
        explainer = Explainer(model)
        np.testing.assert_array_equal(explainer.surest([left, right], 967), right)
        np.testing.assert_array_equal(explainer.surest([left, right], 285), left)


def test_inspect_says_that_squares_cover_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text("model: {resize: cover}")
    inspect(None, photos=None, write=False, file=file, as_json=False)
    told = "the whole picture, in overlapping squares (two of 16:9), by the surest of each class, from config"
    assert told in capsys.readouterr().out


def test_classify_and_batch_say_of_a_camera_s_picture_what_the_daemon_said(house: House) -> None:
    """The camera is told by the folder, or by name; filed away, a picture is still its camera's."""
    front, back = sorted(house.records(), key=lambda record: record["camera"] != "front")
    keys = ("predictions", "group", "would_be", "region", "regions")
    output, config = house.root / "all.json", str(house.config)
    done = dropsight("batch", "processed", "-o", str(output), "-c", config, cwd=house.root)
    assert done.returncode == 0, done.stderr
    found = {each["image_path"]: each for each in json.loads(output.read_text())["results"]}
    for record in (front, back):
        result = found[f"processed/{record['image_path']}"]
        assert [result.get(key) for key in keys] == [record.get(key) for key in keys]
    elsewhere = str(house.root / "x.jpg")
    shutil.copy(house.processed / "front" / "yard.jpg", elsewhere)
    done = dropsight("classify", elsewhere, "-c", config, "--camera", "front", "--json")
    assert json.loads(done.stdout)[0]["regions"] == front["regions"]
    assert dropsight("classify", elsewhere, "-c", config, "--camera", "fron").stderr == (
        "dropsight: --camera fron: the config has no crops and no mask of it; did you mean front?\n"
    )
    assert dropsight("classify", elsewhere, "--camera", "front").stderr == (
        "dropsight: --camera: needs -c FILE, the config that it is in\n"
    )


@pytest.mark.slow
def test_evaluate_calibrate_and_explain_see_of_a_photo_what_the_daemon_would(
    tmp_path: Path, scene: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cup is in a part of the picture, which as a whole shows none."""
    file, photo_file = tmp_path / "dropsight.yaml", tmp_path / "photos" / "espresso" / "yard.png"
    crops = {name: list(box) for name, box in CROPS.items()}
    file.write_text(json.dumps({"cameras": {"front": {"crops": crops}}, "inference": {"temperature": 2}}))
    photo_file.parent.mkdir(parents=True)
    cv2.imwrite(str(photo_file), scene[..., ::-1])
    said = Classifying(file, "front", model=None, tta=False).of_all.predict(photo_file)
    folder, front = tmp_path / "photos", dict[str, Any]({"file": file, "camera": "front"})

    def evaluated(**how: Any) -> dict[str, Any]:
        evaluate(folder, model=None, tta=False, as_json=True, **how)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    assert evaluated()["top_1"] == 0
    found = evaluated(**front)
    assert found["top_1"] == 1
    assert found["kinds"]["photos"]["confidence"] == pytest.approx(said.confidence, abs=1e-6)
    calibrate(folder, model=None, output=tmp_path / "m.yaml", **front)
    before = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("before"))
    assert before.split()[1:3] == ["2.000", f"{-math.log(said.confidence):.4f}"]
    figure = tmp_path / "why.png"
    how: dict[str, Any] = {"method": "occlusion", "layer": None, "class_index": None, "top": 1}
    explain(photo_file, figure, model=None, as_json=False, **how, **front)
    assert f"espresso (967) {said.confidence:.1%} by occlusion" in capsys.readouterr().out


def test_a_mask_of_another_shape_than_the_pictures_is_told_of() -> None:
    mask = Mask(np.ones((90, 160), np.bool_))
    assert mask_misfit(mask, 1920, 1080) is None
    told = "it is 1.78 times as wide as high, the pictures are 1.33 times: it is stretched"
    assert mask_misfit(mask, 640, 480) == told


def test_the_dashboard_draws_what_is_seen_over_an_image_of_the_camera(house: House, scene: Pixels) -> None:
    """What is outside both parts is dark, what is in them is not."""
    (front,) = (record for record in house.records() if record["camera"] == "front")
    answer = ask(address(house), f"/api/images/{front['id']}/seen")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    shown = pixels_of(answer.body)
    assert shown.shape == scene.shape
    assert shown[300:440, 20:600].max() < 60
    np.testing.assert_allclose(shown[60:200, 20:200].mean(), scene[60:200, 20:200].mean(), atol=8)
    assert ask(address(house), f"/api/images/{'0' * 32}/seen").status == 404


@pytest.mark.slow
@pytest.mark.browser
def test_the_details_of_an_image_show_each_part_and_what_the_model_sees(
    house: House, browser: Browser
) -> None:
    (back,) = (decode(json.dumps(each).encode()) for each in house.records() if each["camera"] == "back")
    assert isinstance(back, Result)
    window = Window(browser.new_context(locale="en-GB", reduced_motion="reduce").new_page())
    page = window.page
    page.goto(address(house))
    card = page.locator(".card", has_text="front, gate")
    card.click()
    titles = page.locator("#details .told section:has(.top5) h3")
    expect(titles).to_have_text(["door", "gate"])
    expect(page.locator("#details .facts")).to_contain_text("gate, the surest of 2")
    page.get_by_role("button", name="Model's view").click()
    expect(page.locator("#details .look img.there")).to_have_attribute("src", re.compile("/seen$"))
    page.keyboard.press("Escape")
    page.get_by_role("button", name="What the model sees of back").click()
    expect(page.locator("#details-title")).to_have_text(shown_label(back))
    expect(page.locator("#details .look img.there")).to_have_attribute("src", re.compile("/seen$"))
    page.keyboard.press("Escape")
    assert window.complaints == []
