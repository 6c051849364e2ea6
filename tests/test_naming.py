"""Groups, answers that are none, and sets of classes: what an answer is called."""

import shutil
from math import log
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemons import SAMPLES
from dropsight import ImageInferenceRuntime
from dropsight.config import Config, Inference, load
from dropsight.errors import ConfigError, ModelError
from dropsight.inference.bursts import Burst, Photo, result_of
from dropsight.inference.clips import ClipSettings, _group_sums
from dropsight.inference.planning import Plan
from dropsight.inference.ranking import predictions
from dropsight.inference.wording import GroupSums, Namer, Wording, flatness, is_flatter, without_effect
from dropsight.models.backends import locate, open_model
from dropsight.models.labels import read_groups, read_labels
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import SetSizes
from dropsight.models.spec import Group
from dropsight.records import Result, decode, encode, shown_confidence, shown_label
from dropsight.service.reloading import only_the_model_differs
from test_words import answered

SPEC = open_model("builtin:efficientnet_lite0").spec
LABELS = ("tabby", "tiger cat", "beagle", "pug", "truck")
PETS: tuple[Group, ...] = (Group("cat", (0, 1)), Group("dog", (2, 3)))
OURS = replace(SPEC, labels=LABELS, groups=PETS)


def named(
    *shares: float,
    unknown: float | None = None,
    least: float | None = None,
    groups: tuple[Group, ...] = PETS,
) -> Wording:
    merged = np.array(shares, np.float32)
    namer = Namer(LABELS, GroupSums(groups) if groups else None, unknown, least)
    return namer.name(merged, predictions(merged, LABELS, 5))


def test_the_built_in_groups_hold_each_of_the_thousand_classes_once() -> None:
    members = [number for group in SPEC.groups for number in group.classes]
    assert sorted(members) == list(range(1000))
    assert len({group.name for group in SPEC.groups}) == len(SPEC.groups)
    of = {group.name: {SPEC.labels[number] for number in group.classes} for group in SPEC.groups}
    assert of["cat"] == {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}
    assert of["fox"] == {"red fox", "kit fox", "Arctic fox", "grey fox"}
    assert {"Chihuahua", "Mexican hairless"} <= of["dog"]
    assert "timber wolf" not in of["dog"]
    people_ask_about = (
        "bird bear squirrel rabbit snake lizard insect cattle car truck bus bicycle motorcycle boat"
    )
    assert {*people_ask_about.split(), "aircraft", "food", "cup", "bottle"} <= set(of)


def test_a_photo_of_a_cat_reads_cat_by_all_its_classes_also_in_the_result_of_the_library() -> None:
    with ImageInferenceRuntime(threads=1) as runtime:
        found = runtime.predict(SAMPLES / "chelsea.jpg")
    assert (found.label, shown_label(found)) == ("tiger cat", "cat")
    assert found.confidence < 0.5
    assert shown_confidence(found) > 0.9
    assert found.groups == pytest.approx({"cat": shown_confidence(found), "big cat": 0.02}, abs=0.01)


def test_a_group_adds_up_classes_below_the_top_ones_too_and_the_surest_is_named() -> None:
    merged = np.array([0.3, 0.25, 0.2, 0.2, 0.05], np.float32)
    best = predictions(merged, LABELS, 1)
    found = Namer(LABELS, GroupSums(PETS), None, None).name(merged, best)
    assert (found.label, found.group, found.group_confidence) == ("tabby", "cat", 0.55)
    assert found.groups == {"cat": 0.55, "dog": 0.4}


def test_a_group_that_the_best_class_is_not_in_is_not_shown() -> None:
    """Where they disagree, the class is right more often than the group."""
    beagle, truck = named(0.3, 0.25, 0.35, 0.05, 0.05), named(0.3, 0.05, 0.02, 0.01, 0.6)
    assert (beagle.label, beagle.group or None) == ("beagle", None)
    assert beagle.groups == {"cat": 0.55, "dog": 0.4}
    assert (truck.label, truck.group or None) == ("truck", None)
    assert named(0.3, 0.25, 0.3, 0.05, 0.1).group == "cat"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 256), min_size=5, max_size=5).filter(any),
    st.sampled_from([PETS, (*PETS, Group("all", (0, 1, 2, 3, 4)))]),
)
def test_a_group_that_is_shown_has_the_largest_sum_and_is_as_sure_as_the_label(
    steps: list[int], groups: tuple[Group, ...]
) -> None:
    shares = np.array(steps, np.float32) / max(sum(steps), 256)
    found = named(*shares, groups=groups)
    sums = {group.name: float(shares[list(group.classes)].sum()) for group in groups}
    if found.group:
        assert found.group_confidence == pytest.approx(max(sums.values()), abs=1e-5)
        assert (found.group_confidence or 0) >= float(shares.max()) - 1e-5
        assert found.predicted_class in {each.name: each.classes for each in groups}[found.group]
    told = found.groups or {}
    assert told == pytest.approx({name: share for name, share in sums.items() if share >= 0.01}, abs=1e-5)
    assert list(told.values()) == sorted(told.values(), reverse=True)


def test_flatness_is_the_entropy_by_what_there_can_be_and_an_integer_s_lost_rest_counts() -> None:
    assert flatness(np.full(8, 1 / 8, np.float32)) == pytest.approx(1)
    assert flatness(np.array([1, 0, 0, 0], np.float32)) == 0
    assert flatness(np.array([0.5, 0.5, 0, 0], np.float32)) == pytest.approx(0.5)
    rest = -(0.5 * log(0.5) + 0.5 * log(0.5 / 3)) / log(
        4
    )  # by hand: the half that is lost, among three zeros
    assert flatness(np.array([0.5, 0, 0, 0], np.float32)) == pytest.approx(rest)
    assert flatness(np.array([0.9, 0.9, 0, 0], np.float32)) == pytest.approx(0.5)  # of a clip
    assert flatness(np.zeros(4, np.float32)) == 1


def test_an_answer_that_is_too_flat_is_unknown_and_says_what_it_would_be() -> None:
    found = named(0.3, 0.25, 0.2, 0.15, 0.1, unknown=0.9)
    assert (found.predicted_class, found.label, found.would_be) == (-1, "unknown", "tabby")
    assert not found.groups
    assert not found.group
    assert named(0.9, 0.05, 0.05, 0, 0, unknown=0.9).label == "tabby"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 256), min_size=2, max_size=40),
    st.sampled_from([1, 64, 200, 256, 300]),
    st.integers(0, 300),
    st.integers(1, 50),
    st.sampled_from([-1e-2, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 1e-2]),
    st.sampled_from([0.0, 0.1]),
)
def test_whether_an_answer_is_too_flat_is_told_alike_by_a_few_classes_and_by_all(
    steps: list[int], scale: int, more: int, top_k: int, away: float, least: float
) -> None:
    """Sums below and above 1, as of integer models and clips; thresholds just above and below it."""
    shares = np.array([*steps, *[min(steps)] * more], np.float32)
    shares *= np.float32(scale / 256 / max(shares.sum(), 1))
    best, *others = predictions(shares, [""] * len(shares), top_k)
    likely = [best, *[each for each in others if each.confidence >= least]]
    for threshold in (flatness(shares) + away, 0.3, 0.65):
        assert is_flatter(shares, threshold, likely) == (flatness(shares) > threshold)


def test_a_prediction_set_holds_what_is_likely_enough_and_the_best_always() -> None:
    assert named(0.3, 0.35, 0.25, 0.05, 0.05, least=0.3).prediction_set == ["tiger cat", "tabby"]
    assert named(0.3, 0.35, 0.25, 0.05, 0.05, least=0.5).prediction_set == ["tiger cat"]


def test_unknown_is_off_by_default_and_auto_takes_the_model_s_own_threshold() -> None:
    assert Namer.of(SPEC, Inference()).unknown is None
    assert Namer.of(SPEC, Inference(unknown="auto")).unknown == SPEC.unknown == 0.65
    assert Namer.of(SPEC, Inference(unknown=0.3)).unknown == 0.3
    without = replace(SPEC, unknown=None)
    assert "dropsight calibrate fits one" in str(without_effect(without, Inference(unknown="auto")))
    several = replace(SPEC, thresholds=(0.5,) * 1000)
    assert "do not exclude each other" in str(without_effect(several, Inference(unknown=0.5)))
    assert without_effect(SPEC, Inference(unknown="auto")) is None


def test_noise_is_unknown_and_a_cat_is_none_the_less() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    with ImageInferenceRuntime(threads=1, unknown="auto") as runtime:
        nothing, cat = runtime.predict(noise), runtime.predict(SAMPLES / "chelsea.jpg")
    assert (nothing.label, nothing.predicted_class) == ("unknown", -1)
    assert nothing.would_be == nothing.predictions[0].label
    assert nothing.confidence == nothing.predictions[0].confidence
    assert shown_label(nothing) == "unknown"
    assert not cat.would_be
    assert cat.label == "tiger cat"


def test_of_a_clip_groups_are_added_up_frame_by_frame() -> None:
    """A tabby, then a tiger cat, each at 0.9: a cat at 0.9, not at 1.8."""
    plan = Plan("", OURS, None, None, Inference())  # type: ignore[arg-type] # not prepared, not bounded
    rows = np.array([[0.9, 0, 0, 0, 0.1], [0, 0.9, 0, 0, 0.1]], np.float32)
    for how, cat in (("max", 0.9), ("mean", 0.9), ("vote", 1.0)):
        sums = _group_sums(np.array([0.0, 1.0]), rows, plan, ClipSettings(aggregate=how))  # type: ignore[arg-type] # one of the three
        assert sums is not None
        assert sums.tolist() == pytest.approx([cat, 0])


def photo(seq: int, *shares: float, unknown: float | None = None) -> Photo:
    merged = np.array(shares, np.float32)
    ranked = predictions(merged, LABELS, 5)
    wording = Namer(LABELS, GroupSums(PETS), unknown, None).name(merged, ranked)
    record = answered(
        id=str(seq), predictions=ranked, confidence=ranked[0].confidence, **msgspec.structs.asdict(wording)
    )
    return Photo(seq, float(seq), record)


def burst_of(*photos: Photo) -> Result:
    burst = Burst(2.0, 0.0)
    burst.add(photos)
    return result_of(burst, how="mean", top_k_photos=3, at=9.0)


def test_a_burst_is_called_by_the_groups_of_its_photos_and_unknown_where_all_of_them_are() -> None:
    found = burst_of(
        photo(1, 0.5, 0.3, 0.1, 0.1, 0), photo(2, 0.3, 0.5, 0.1, 0.1, 0), photo(3, 0.6, 0, 0, 0, 0.4)
    )
    assert shown_label(found) == "cat"
    assert shown_confidence(found) == pytest.approx(2.2 / 3, abs=1e-5)
    assert found.groups == pytest.approx({"cat": 2.2 / 3, "dog": 0.4 / 3}, abs=1e-5)
    flat = photo(1, 0.3, 0.25, 0.2, 0.15, 0.1, unknown=0.9)
    assert flat.record.predicted_class == -1
    nothing = burst_of(flat, photo(2, 0.25, 0.3, 0.2, 0.15, 0.1, unknown=0.9))
    assert (nothing.label, nothing.predicted_class) == ("unknown", -1)
    assert nothing.would_be in {"tabby", "tiger cat"}
    assert nothing.burst
    assert nothing.burst.segments[0].label == "unknown"
    mixed = burst_of(flat, photo(2, 0.9, 0.1, 0, 0, 0))
    assert (mixed.label, mixed.would_be or None) == ("tabby", None)
    assert decode(encode(nothing)) == nothing


def model_with(folder: Path, sidecar: dict[str, object], labels: str | None = None) -> Path:
    model = folder / "m.tflite"
    if not model.exists():
        shutil.copy(locate("builtin:efficientnet_lite0"), model)
    names = "\n".join(SPEC.labels) if labels is None else labels
    (folder / "names.txt").write_text(names)
    model.with_suffix(".yaml").write_text(yaml.safe_dump({"labels": "names.txt", **sidecar}))
    return model


def test_groups_come_from_the_config_the_sidecar_or_a_column_of_the_labels_in_this_order(
    tmp_path: Path,
) -> None:
    def groups(
        sidecar: dict[str, object], labels: str | None = None, **said: object
    ) -> dict[str, tuple[int, ...]]:
        spec = open_model(str(model_with(tmp_path, sidecar, labels)), said=ModelOverrides(**said)).spec  # type: ignore[arg-type] # groups
        return {group.name: group.classes for group in spec.groups}

    table = "class;group;colour\n" + "".join(
        f"{name};{'pet' if number in {151, 281} else ''};x\n" for number, name in enumerate(SPEC.labels)
    )
    assert groups({}, table) == {"pet": (151, 281)}
    cats = {"cat": ["tabby", "*cat", "284-285"], "dog": "151-268", "one": 5}
    wanted = {"cat": (281, 282, 283, 284, 285, 358, 383), "dog": tuple(range(151, 269)), "one": (5,)}
    assert groups({"groups": cats}, table) == wanted
    assert groups({"groups": cats}, groups={"x": ("tench", 3)}) == {"x": (0, 3)}
    assert groups({"groups": cats}, groups="off") == {}
    assert groups({}, groups=None) == {}
    assert "cat" in groups({})
    other = "\n".join(f"class {number}" for number in range(1000))
    assert groups({}, other) == {}
    for faulty, told in (
        ({"cat": ["tabbi"]}, "groups.cat: the model has no class tabbi; did you mean tabby?"),
        ({"cat": ["tbaby"]}, "groups.cat: the model has no class tbaby; did you mean tabby?"),
        ({"cat": "7-1000"}, "groups.cat: 7-1000: its classes are 0 to 999"),
        ({"a:b": "1"}, "a group's name has"),
        ({"none": []}, "groups.none: names no class"),
    ):
        with pytest.raises(ModelError, match="groups") as caught:
            groups({"groups": faulty})
        assert told in str(caught.value)


def test_the_sidecar_brings_the_threshold_and_the_set_s_that_records_are_named_by(tmp_path: Path) -> None:
    sets = {"coverage": 0.9, "least": 0.2}
    spec = open_model(str(model_with(tmp_path, {"unknown": 0.4, "prediction_set": sets}))).spec
    assert (spec.unknown, spec.sets) == (0.4, SetSizes(0.9, 0.2))
    namer = Namer.of(spec, Inference(unknown="auto"))
    assert (namer.unknown, namer.least) == (0.4, 0.2)


def test_a_labels_table_with_groups_may_have_columns_of_its_own() -> None:
    text = "index,class,group,latin\n1,tiger cat,cat,x\n0,tabby,cat,y\n2,truck,,z\n"
    assert read_labels(text) == ("tabby", "tiger cat", "truck")
    assert read_groups(text) == ("cat", "cat", "")
    assert read_groups("tabby\ntiger cat\n") == ()


def test_off_may_be_written_bare_and_what_is_neither_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("groups: off\ninference: {unknown: off}\n")
    assert (load(file).groups, load(file).inference.unknown) == ("off", "off")
    file.write_text('groups: {cat: [tabby, 3], dog: "151-268"}\ninference: {unknown: 0.5}\n')
    assert load(file).groups == {"cat": ("tabby", 3), "dog": "151-268"}
    assert load(file).inference.unknown == 0.5
    file.write_text("groups: 7\ninference: {unknown: 2}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert "groups: cannot be 7; give keys of its own, auto or off or null" in str(caught.value)
    assert "unknown: cannot be 2; give auto or off or a number above 0, at most 1" in str(caught.value)


def test_other_groups_and_another_threshold_are_swapped_in_as_another_model_is() -> None:
    mine = Config()
    other = msgspec.structs.replace(mine, groups={"cat": "281-285"}, inference=Inference(unknown="auto"))
    assert only_the_model_differs(other, mine)
    said = ModelOverrides.of(other.model, other.groups)
    assert ModelOverrides.decode(said.encode()) == said  # as it is told to the process that tries the model
