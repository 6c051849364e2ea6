"""Models by which several classes may be there at once: from when on each is, and who is told."""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import pytest
import yaml

from brokers import Subscriber, mosquitto, wait_until
from clips import make_clip, of_photos
from daemons import PHOTOS, House, dropsight, running
from dropsight import ImageInferenceRuntime, VideoInferenceRuntime
from dropsight.config import load
from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.overrides import ModelOverrides
from dropsight.records import decode
from dropsight.web.history import DayHistory
from tiny_tflite import Tensor, tiny
from webs import ANY_PORT, address, ask

IMAGE: Tensor = ("float32", (1, 32, 32, 3))
TAGS = ("cat", "dog", "red car")


def tags(folder: Path, *, sidecar: Mapping[str, Any] | None = None) -> Path:
    """Return a model by which each of its three tags is there with 50 %, once it has thresholds."""
    path = folder / "tags.tflite"
    path.write_bytes(tiny([IMAGE], [("float32", (1, 3))]))
    (folder / "labels.txt").write_text("\n".join(TAGS))
    if sidecar is not None:
        (folder / "tags.yaml").write_text(yaml.safe_dump(dict(sidecar)))
    return path


def least(path: Path, **thresholds: float) -> tuple[float, ...]:
    return open_model(path, said=ModelOverrides(thresholds=thresholds)).spec.thresholds


def test_thresholds_are_given_by_label_or_number_and_for_all_others(tmp_path: Path) -> None:
    path = tags(tmp_path)
    assert least(path, cat=0.3) == (0.3, 0.5, 0.5)
    assert least(path, **{"Red_Car": 0.9, "1": 0.2, "*": 0.6}) == (0.6, 0.2, 0.9)
    assert not open_model(path).spec.multi_label


def test_the_configs_thresholds_count_before_those_beside_the_model(tmp_path: Path) -> None:
    path = tags(tmp_path, sidecar={"thresholds": {"cat": 0.3, 1: 0.4, "*": 0.7}})
    assert open_model(path).spec.thresholds == (0.3, 0.4, 0.7)
    (tmp_path / "dropsight.yaml").write_text(f"model: {{path: {path}, thresholds: {{0: 0.1}}}}")
    said = ModelOverrides.of(load(tmp_path / "dropsight.yaml").model)
    assert open_model(path, said=ModelOverrides.decode(said.encode())).spec.thresholds == (0.1, 0.4, 0.7)
    assert least(path, cat=0.1) == (0.1, 0.4, 0.7)


def test_a_threshold_of_a_class_that_there_is_not_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"thresholds: the model has no class cta; did you mean cat\?"):
        least(tags(tmp_path), cta=0.3)
    with pytest.raises(ModelError, match=r"no class 3; give a label, a number, or \* for all others"):
        least(tags(tmp_path), **{"3": 0.3})


def test_thresholds_of_a_model_whose_classes_exclude_each_other_are_said_to_have_no_effect() -> None:
    spec = open_model("builtin:efficientnet_lite0", said=ModelOverrides(thresholds={"tabby": 0.3})).spec
    assert not spec.multi_label
    told = "thresholds: no effect, because its classes exclude each other"
    assert spec.faults == (told,)


def test_logits_with_thresholds_are_the_logistic_of_each_and_the_temperature_is_no_softmaxs(
    tmp_path: Path,
) -> None:
    """As PyTorch exports what was trained by BCEWithLogitsLoss: without an activation."""
    runtime = ImageInferenceRuntime(tags(tmp_path), thresholds={"cat": 0.4, "dog": 0.6}, temperature=3.0)
    found = runtime.predict(PHOTOS[0])
    assert [each.confidence for each in found.predictions] == [0.5, 0.5, 0.5]
    assert [each.label for each in found.present or ()] == ["cat", "red car"]
    assert found.multi_label is True
    alone = ImageInferenceRuntime(tags(tmp_path)).predict(PHOTOS[0])
    assert alone.present is msgspec.UNSET
    assert alone.confidence == pytest.approx(1 / 3, abs=1e-6)


def test_of_several_heads_those_have_thresholds_whose_classes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(tiny([IMAGE], [("float32", (1, 2)), ("float32", (1, 3))]))
    (tmp_path / "tags.txt").write_text("\n".join(TAGS))
    (tmp_path / "two.yaml").write_text(
        "heads: {kind: 0, tags: {output: 1, labels: tags.txt}}\nthresholds: {dog: 0.7}\n"
    )
    found = json.loads(ImageInferenceRuntime(path).predict(PHOTOS[0]).to_json())
    assert "present" not in found
    assert "present" not in found["heads"]["kind"]
    assert [each["label"] for each in found["heads"]["tags"]["present"]] == ["cat", "red car"]
    assert found["heads"]["tags"]["multi_label"] is True


def test_more_classes_are_present_than_top_k_ranks(tmp_path: Path) -> None:
    runtime = ImageInferenceRuntime(tags(tmp_path), thresholds={"*": 0.2}, top_k=1)
    found = runtime.predict(PHOTOS[0])
    assert (len(found.predictions), len(found.present or ())) == (1, 3)


def test_classify_and_batch_say_which_classes_are_present(tmp_path: Path) -> None:
    path = str(tags(tmp_path, sidecar={"thresholds": {"dog": 0.6}}))
    lines = dropsight("classify", str(PHOTOS[0]), "--model", path, "--top", "2").stdout.splitlines()
    assert [line.split("%")[1].split() for line in lines] == [
        ["cat", "present"],
        ["dog"],
        ["red", "car", "present"],
    ]
    done = dropsight("batch", str(PHOTOS[0]), "--model", path, "-o", "results.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [each["label"] for each in result["present"]] == ["cat", "red car"]


def test_of_a_clip_those_classes_are_present_that_reach_their_thresholds_over_its_frames(
    tmp_path: Path,
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", of_photos(PHOTOS[:1]) * 5)
    runtime = ImageInferenceRuntime(tags(tmp_path), thresholds={"dog": 0.6})
    with VideoInferenceRuntime(images=runtime) as videos:
        found = videos.predict(clip)
    assert [each.label for each in found.present or ()] == ["cat", "red car"]


def test_evaluate_counts_each_class_by_its_threshold_and_a_photo_in_two_folders_for_both(
    tmp_path: Path,
) -> None:
    """By this model, whatever the photo, there are a cat and a red car, and no dog."""
    path = tags(tmp_path, sidecar={"thresholds": {"dog": 0.6}})
    photos = tmp_path / "photos"
    for name, numbers in (("cat", (0, 1)), ("dog", (1,)), ("red car", (0,))):
        (photos / name).mkdir(parents=True)
        for number in numbers:
            shutil.copy(PHOTOS[number], photos / name / f"{name}{number}.jpg")
    done = dropsight("evaluate", str(photos), "--model", str(path))
    assert done.returncode == 0, done.stderr
    assert "2 photos, several classes at once: 50.0% with all of them right" in done.stdout
    report = json.loads(dropsight("evaluate", str(photos), "--model", str(path), "--json").stdout)
    assert report == {
        "photos": 2,
        "clips": 0,
        "multi_label": True,
        "all_right": 0.5,
        "classes": [
            {"label": "cat", "photos": 2, "clips": 0, "recall": 1.0, "precision": 1.0, "threshold": 0.5},
            {"label": "dog", "photos": 1, "clips": 0, "recall": 0.0, "precision": None, "threshold": 0.6},
            {"label": "red car", "photos": 1, "clips": 0, "recall": 1.0, "precision": 0.5, "threshold": 0.5},
        ],
    }
    refused = dropsight("calibrate", str(photos), "--model", str(path))
    assert refused.returncode == 1
    assert "multi-label), which one temperature cannot calibrate; set model.thresholds" in refused.stderr


def rendered(template: str, record: Mapping[str, Any]) -> str:
    """As by Home Assistant."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    return environment.from_string(template).render(value_json=record, this={"attributes": {}})


@pytest.mark.slow
@pytest.mark.broker
def test_log_mqtt_home_assistant_and_the_pages_say_which_classes_are_present(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as heard:
        model = {"path": str(tags(tmp_path)), "thresholds": {"dog": 0.6}}
        mqtt = {"url": f"mqtt://127.0.0.1:{broker.port}"}
        with running(tmp_path, model=model, mqtt=mqtt, web=ANY_PORT) as house:
            (house.inbox / "front").mkdir()
            shutil.copy(PHOTOS[0], house.inbox / "front")
            wait_until(lambda: bool(heard.topics("/result/") and heard.topics("/state/front")))
            wait_until(lambda: bool(heard.topics("/front/config")))
            (result,), state = (
                map(json.loads, heard.topics("/result/")),
                json.loads(heard.topics("/state/front")[-1]),
            )
            components = json.loads(heard.topics("/front/config")[-1])["components"]
            page = address(house)
            overview = json.loads(ask(page, "/api/stats").body)
            table = ask(page, "/api/export?format=csv").body.decode()
            found = {
                label: len(json.loads(ask(page, f"/api/results?label={label}").body)["results"])
                for label in ("cat", "car", "dog")
            }
        assert house.records() == [result]
    assert [each["label"] for each in result["present"]] == ["cat", "red car"]
    label = components["front_label"]
    assert rendered(label["value_template"], state) == "cat, red car"
    assert json.loads(rendered(label["json_attributes_template"], state))["labels"] == ["cat", "red car"]
    event = json.loads(rendered(components["front_image"]["value_template"], result))
    assert event["labels"] == ["cat", "red car"]
    assert rendered(label["value_template"], {**state, "present": []}) == "nothing"
    alone = {key: value for key, value in state.items() if key != "present"}
    assert rendered(label["value_template"], alone) == "cat"
    assert overview["day"]["classes"] == {"cat": 1, "red car": 1}
    assert overview["day"]["images"] == 1
    assert found == {"cat": 1, "car": 1, "dog": 0}
    (row,) = csv.DictReader(io.StringIO(table))
    assert row["present"] == "cat; red car"
    shown = dropsight("logs", "-c", str(house.config)).stdout
    assert "cat, red car" in shown


def test_the_terminal_says_nothing_where_none_of_the_classes_is_present(tmp_path: Path) -> None:
    house = House(tmp_path, {"model": {"path": str(tags(tmp_path)), "thresholds": {"*": 0.9}}})
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once", "-v")
    assert done.returncode == 0, done.stderr
    assert "50.0%  nothing" in done.stdout
    (record,) = house.records()
    assert record["present"] == []


def test_a_day_counts_a_picture_once_and_each_class_that_it_shows() -> None:
    days = DayHistory()
    found = [{"class": number, "label": label, "confidence": 0.9} for number, label in enumerate(TAGS[:2])]
    line = {"status": "ok", "camera": "a", "label": "cat", "present": found}
    days.add([decode(json.dumps(line).encode())])
    assert (days.day().images, days.day().classes) == (1, {"cat": 1, "dog": 1})
