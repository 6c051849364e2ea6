"""What the config says of images over MQTT, which source it gets, and what docs/mqtt-images.md says of it."""

import re
from pathlib import Path

import msgspec
import pytest

from arriving import TOPICS
from daemons import ROOT
from dropsight.config import Config, Limits, Watch, load
from dropsight.config.filters import levels
from dropsight.errors import ConfigError
from dropsight.intake.folder import DropFolder
from dropsight.intake.landing import Landing
from dropsight.service.reloading import only_the_model_differs

PAGE = (ROOT / "docs" / "mqtt-images.md").read_text()


def written(folder: Path, text: str) -> Path:
    path = folder / "dropsight.yaml"
    path.write_text(text)
    return path


def test_what_arrives_has_an_inbox_of_its_own_unless_another_is_given(tmp_path: Path) -> None:
    text = f"watch: [{{path: in}}, {{mqtt: {TOPICS}}}, {{mqtt: b/+, path: in-b}}]"
    config = load(written(tmp_path, text))
    assert [each.path.name for each in config.watch] == ["in", "inbox-mqtt", "in-b"]
    assert [each.mqtt for each in config.watch] == [None, TOPICS, "b/+"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("watch: [{mqtt: cameras/#}]", "matches everything below"),
        ("watch: [{mqtt: cameras/+x}]", "a part of a level"),
        ("watch: [{mqtt: $SYS/+}]", "begins with \\$"),
        ("watch: [{mqtt: ''}]", "give a topic filter such as cameras/\\+/image"),
        ("watch: [{mqtt: +/+/+/+/+/+/+/+/+}]", "has 9 levels by \\+"),
        ("watch: [{mqtt: dropsight/+/thumbnail/+}]", "what dropsight itself publishes"),
        ("watch: [{mqtt: +/+/+/+}]", "what dropsight itself publishes"),
        (
            "watch: [{mqtt: a/+}, {mqtt: +/b, path: b}]",
            "watch.0.mqtt have topics in common",
        ),
        ("watch: [{mqtt: a/+}, {mqtt: b/+}]", "the same folder as watch.0.path; watch it once, give another"),
        ("watch: [{mqtt: a/+}]\nmqtt: null", "the broker of the mqtt section, which is null"),
        ("watch: [{mqtt: a/+, recursive: false}]", "watch.0.recursive: is false"),
    ],
)
def test_a_filter_that_would_not_do_is_refused_with_the_way_out(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        load(written(tmp_path, text))


# As the commented config of an earlier version had them.
EARLIER = ["*.jpg", "*.jpeg", "*.png", "*.webp", "*.bmp", "*.tif", "*.tiff"]
BEGINNINGS = {
    ".jpg": b"\xff\xd8\xff",
    ".png": b"\x89PNG\r\n\x1a\n",
    ".webp": b"RIFF0000WEBP",
    ".bmp": b"BM",
    ".tiff": b"II*\0",
    ".gif": b"GIF89a",
    ".jp2": b"\xff\x4f\xff\x51",
    ".avif": b"\0\0\0\x14ftypavif\0\0\0\0",
    ".heic": b"\0\0\0\x14ftypheic\0\0\0\0",
}


def test_whatever_arrives_has_its_ending_and_is_taken_under_patterns_that_do_not_name_it(
    tmp_path: Path,
) -> None:
    """What is dropped into the same inbox is chosen by them as ever."""
    (watch,) = load(written(tmp_path, f"watch: [{{mqtt: {TOPICS}, patterns: {EARLIER}}}]")).watch
    watch.path.mkdir()
    folder = DropFolder.open(watch)
    for ending, data in (*BEGINNINGS.items(), (".jpg", b"no picture"), (".jpg", b"")):
        before = {*watch.path.rglob("*.*")}
        Landing(folder).land(["front"], data)
        (landed,) = {*watch.path.rglob("*.*")} - before
        assert landed.suffix == ending
        assert folder.wants(str(landed))
    assert len(list(folder.images())) == len(BEGINNINGS) + 2
    assert folder.wants(str(watch.path / "dropped.jpg"))
    assert not folder.wants(str(watch.path / "dropped.gif"))


def test_the_page_s_config_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert [each.mqtt for each in load(written(tmp_path, example)).watch] == [None, TOPICS]


@pytest.mark.parametrize("row", [line for line in PAGE.splitlines() if "`mqtt: " in line])
def test_the_page_names_the_camera_that_the_record_will_name(tmp_path: Path, row: str) -> None:
    topic, camera = re.findall(r"`([^`]+)` is `([^`]+)`", row)[0]
    said = dict(part.split(": ") for part in re.findall(r"`(\w+: [^`]+)`", row))
    text = "watch: [{" + ", ".join(f"{key}: {value}" for key, value in said.items()) + "}]"
    (watch,) = load(written(tmp_path, text)).watch
    watch.path.mkdir()
    folder, names = DropFolder.open(watch), levels(said["mqtt"], topic)
    assert names is not None
    Landing(folder).land(names, b"\xff\xd8\xff")
    assert [folder.camera(path) for path in folder.images()] == [camera]


@pytest.mark.parametrize(("topics", "goes_on"), [(None, True), (TOPICS, False)])
def test_a_source_that_was_made_with_other_limits_is_made_anew(topics: str | None, *, goes_on: bool) -> None:
    """Folders are not: whoever examines an image has the limits in force."""
    config = msgspec.structs.replace(Config(), watch=(Watch(mqtt=topics),))
    larger = msgspec.structs.replace(config, limits=Limits(max_bytes=2**27))
    assert only_the_model_differs(larger, config) is goes_on
