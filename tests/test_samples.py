"""The sample photos get their labels through the daemon, the command line and Python alike."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from daemons import SAMPLES, dropsight
from dropsight import ImageInferenceRuntime


def accepted() -> dict[str, set[int]]:
    with (SAMPLES / "expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["accepted_ids"]]
    return {row["file"]: {int(number) for number in row["accepted_ids"].split("|")} for row in rows}


def answers_of_run(folder: Path) -> dict[str, tuple[int, float]]:
    (folder / "inbox").mkdir()
    for name in accepted():
        shutil.copy(SAMPLES / name, folder / "inbox")
    done = dropsight("run", "--watch", "inbox", "--mqtt", "none", "--once", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = (folder / "logs" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {record["image_path"]: (record["predicted_class"], record["confidence"]) for record in records}


def answers_of_classify() -> dict[str, tuple[int, float]]:
    done = dropsight("classify", "--json", *(str(SAMPLES / name) for name in accepted()))
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {
        Path(result["image_path"]).name: (result["predicted_class"], result["confidence"])
        for result in results
    }


def answers_of_python() -> dict[str, tuple[int, float]]:
    runtime = ImageInferenceRuntime("builtin:efficientnet_lite0")
    results = {name: runtime.predict(SAMPLES / name) for name in accepted()}
    return {name: (result.predicted_class, result.confidence) for name, result in results.items()}


@pytest.mark.slow
def test_all_samples_but_at_most_one_get_an_accepted_label_the_same_in_three_ways(tmp_path: Path) -> None:
    by_run = answers_of_run(tmp_path)
    assert by_run == answers_of_classify() == answers_of_python()
    wrong = [name for name, classes in accepted().items() if by_run[name][0] not in classes]
    assert len(wrong) <= 1, wrong


@pytest.mark.slow
def test_the_daemon_averages_the_views_that_its_config_names(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    shutil.copy(SAMPLES / "panda.jpg", tmp_path / "inbox")
    views = ["original", "horizontal_flip", "rotate_90"]
    environ = {"DROPSIGHT_INFERENCE__TTA": str(views), "DROPSIGHT_MQTT": "null"}
    done = dropsight("run", "--once", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "logs" / "results.jsonl").read_text())
    mine = ImageInferenceRuntime(use_tta=True, tta_transforms=views).predict(SAMPLES / "panda.jpg")
    assert record["tta"] == mine.tta == 3
    assert record["top_5_predictions"] == mine.top_5_predictions
