"""Exit codes and their sentences: 2 for what was asked wrongly, before any work; 1 for what failed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brokers import mosquitto
from daemons import PHOTOS, SAMPLES, dropsight, faults
from dropsight.config import Mqtt, load
from dropsight.config.tree import Config
from dropsight.errors import ConfigError, DropsightError, ModelError, NoSuchModelError, SinkError
from dropsight.inference.runtime import ImageInferenceRuntime, run_image_inference
from dropsight.intake.inboxes import open_folders
from dropsight.models.backends import open_first
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.connecting import connect

PANDA = str(SAMPLES / "panda.jpg")
MISSING = "no/such"
MISSING_FILES = [
    ["classify", PANDA, MISSING],
    ["classify", PANDA, "--model", MISSING],
    ["batch", PANDA, MISSING, "-o", "out.json"],
    ["batch", PANDA, "--model", MISSING, "-o", "out.json"],
    ["batch", PANDA, "-o", f"{MISSING}/out.json"],
    ["explain", MISSING, "-o", "out.png"],
    ["explain", PANDA, "-o", f"{MISSING}/out.png"],
    ["explain", PANDA, "--model", MISSING, "-o", "out.png"],
    ["calibrate", MISSING],
    ["calibrate", ".", "--model", MISSING],
    ["evaluate", MISSING],
    ["evaluate", ".", "--model", MISSING],
    ["inspect", MISSING],
    ["inspect", "-c", MISSING],
    ["bench", "--images", MISSING],
    ["bench", "--model", MISSING],
    ["bench", "-c", MISSING],
    ["run", "-c", MISSING],
    ["run", "--once", "--mqtt", "none", "--model", MISSING],
    ["check", "-c", MISSING],
    ["config", "-c", MISSING],
    ["status", "-c", MISSING],
]
WRONG_KINDS = [
    (["classify", "."], ".: a folder; dropsight batch FOLDER -o results.json takes the images in it"),
    (["explain", ".", "-o", "out.png"], ".: a folder; give one image"),
    (["batch", PANDA, "-o", "."], ".: a folder; name a file in it"),
    (["evaluate", PANDA], "a file; give a folder with a sub-folder of photos for each class"),
    (["bench", "--images", PANDA], "a file; give a folder of images"),
    (["inspect", "builtin:nothing"], "builtin:nothing: no such model is bundled"),
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", MISSING_FILES, ids=" ".join)
def test_a_missing_file_is_2_and_one_line_that_names_it(arguments: Sequence[str], tmp_path: Path) -> None:
    done = dropsight(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = faults(done)
    assert line.startswith("dropsight: ")
    assert MISSING in line
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(("arguments", "sentence"), WRONG_KINDS, ids=lambda part: " ".join(part)[:40])
def test_a_file_of_another_kind_is_2_and_the_way_out(
    arguments: Sequence[str], sentence: str, tmp_path: Path
) -> None:
    done = dropsight(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = faults(done)
    assert sentence in line


@pytest.mark.slow
def test_batch_goes_on_over_files_that_cannot_be_read_and_is_1_where_none_can(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    some = dropsight("batch", "bad.jpg", PANDA, "-o", "some.json", cwd=tmp_path)
    assert "1 failed; written to some.json, with the error of each" in some.stdout
    none = dropsight("batch", "bad.jpg", "-o", "none.json", cwd=tmp_path)
    assert (some.returncode, none.returncode) == (0, 1)


def test_a_model_that_is_there_and_cannot_be_loaded_is_no_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"no model")
    with pytest.raises(NoSuchModelError):
        open_first([tmp_path / "gone", tmp_path / "away"])
    with pytest.raises(ModelError) as raised:
        open_first([tmp_path / "gone", tmp_path / "m.tflite"])
    assert raised.value.exit_code == DropsightError.exit_code


@pytest.mark.parametrize(
    ("key", "said", "sentence"),
    [
        ("watch", [], "watch: cannot be an empty list; give a list of folders to watch"),
        ("watch.0.patterns", [], "cannot be an empty list; give a list of file patterns"),
        ("device", ["a"], "device: cannot be a list; give a name"),
    ],
)
def test_an_empty_list_is_called_one(key: str, said: object, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load(None, overrides={key: said})


@pytest.mark.parametrize("key", ["watch.0.path", "watch.0.failed", "store.path", "log.path"])
def test_a_file_in_the_place_of_a_folder_is_called_that(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where all other folders are made
    (tmp_path / "file").touch()
    below = {"store.path": "file/journal.db", "log.path": "file/results.jsonl"}.get(key, "file")
    with pytest.raises(ConfigError) as raised:
        open_folders(_config(tmp_path, **{key: str(tmp_path / below)}))
    (fault,) = raised.value.faults
    assert fault.startswith(key)
    assert "cannot be" in fault
    assert "there is a file where a folder has to be; move it away, or name another place" in fault


@pytest.mark.slow
def test_a_model_has_its_zeros_left_out_and_its_best_kept(tmp_path: Path) -> None:
    """The built-in INT8 model gives most of its thousand classes nothing."""
    found = json.loads(dropsight("classify", PANDA, "--top", "20", "--json", cwd=tmp_path).stdout)[0]
    assert 0 < len(found["predictions"]) < 20
    assert all(each["confidence"] > 0 for each in found["predictions"])
    assert len(found["top_5_predictions"]) <= 5
    shown = dropsight("classify", PANDA, "--top", "20", cwd=tmp_path).stdout
    assert "giant panda" in shown
    assert " 0.0%" not in shown


def test_a_path_alone_is_one_image() -> None:
    batch = run_image_inference("builtin:efficientnet_lite0", PANDA)
    assert [result.image_path for result in batch.results] == [PANDA]
    runtime = ImageInferenceRuntime()
    assert runtime.predict_batch(PHOTOS[0]).total_images == 1
    assert runtime.predict_batch(PHOTOS[0].read_bytes()).total_images == 1


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"top_k": "five"}, TypeError, "top_k must be a whole number, not 'five'"),
        ({"top_k": 0}, ValueError, "top_k must be 1 or more, not 0"),
        ({"top_k": True}, TypeError, "top_k must be a whole number"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number"),
        ({"threads": -1}, ValueError, "threads must be 1 or more"),
        ({"temperature": "hot"}, TypeError, "temperature must be a number above 0, not 'hot'"),
        ({"temperature": float("nan")}, ValueError, "temperature must be above 0"),
        ({"temperature": 0}, ValueError, "temperature must be above 0"),
        ({"tta_transforms": "original"}, ValueError, "tta_transforms: 1 to 5, or a list of names"),
        (
            {"resize": "squash"},
            ValueError,
            "resize must be one of crop, stretch, letterbox, cover, not 'squash'",
        ),
        ({"model_format": "kears"}, ValueError, "model_format must be one of auto, tflite, keras"),
        ({"preprocess_fn": 5}, TypeError, "preprocess_fn must be a function"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_named(
    settings: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        ImageInferenceRuntime(**settings)


def _config(folder: Path, **overrides: object) -> Config:
    return load(None, overrides={"watch.0.path": str(folder / "inbox"), **overrides})


@pytest.mark.broker
def test_a_broker_that_goes_without_a_word_is_given_no_reason_by_us(tmp_path: Path) -> None:
    """By MQTT 3.1.1 no broker can give one, and the library's words for that mean nothing."""
    with mosquitto(tmp_path) as broker:
        there = Broker.of(load(None, overrides={"mqtt.url": broker.url}).mqtt or Mqtt())
        connection, _ = connect(there, ("3.1.1",), client_id="guest", will=None, keepalive=60)
        broker.kill()
        with pytest.raises(SinkError, match="connection lost: no reason was given"):
            connection.acknowledged(timeout=30)
        connection.close()
