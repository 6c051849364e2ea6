"""A model of several heads in the daemon: every one of them in the log, on MQTT and in info."""

import json
import shutil
from pathlib import Path

import pytest

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight
from tiny_tflite import Tensor, tiny

IMAGE: Tensor = ("float32", (1, 32, 32, 3))


@pytest.mark.broker
def test_every_head_goes_into_the_log_and_the_same_to_mqtt_with_its_labels_in_info(tmp_path: Path) -> None:
    model, labels = tmp_path / "birds.tflite", tmp_path / "sexes.csv"
    model.write_bytes(tiny([IMAGE], [("float32", (1, 3)), ("float32", (1, 2))]))
    labels.write_text("id,name\n0,female\n1,male\n")
    heads = {"kind": 0, "sex": {"output": "out1", "labels": str(labels)}}
    with mosquitto(tmp_path) as broker, Subscriber(broker.port) as heard:
        house = House(
            tmp_path,
            {
                "model": {"path": str(model), "heads": heads},
                "mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}"},
            },
        )
        shutil.copy(PHOTOS[0], house.inbox)
        done = dropsight("run", "-c", str(house.config), "--once")
        assert done.returncode == 0, done.stderr
        (record,) = house.records()
        assert {name: each["label"] for name, each in record["heads"].items()} == {
            "kind": "class 0",
            "sex": "female",
        }
        assert record["heads"]["sex"]["predictions"][1] == {"class": 1, "label": "male", "confidence": 0.5}
        wait_until(lambda: bool(heard.topics("/result/")))
        (result,) = map(json.loads, heard.topics("/result/"))
        info = json.loads(heard.topics("/info")[-1])
    assert result == record
    assert info["heads"] == {"kind": ["class 0", "class 1", "class 2"], "sex": ["female", "male"]}
