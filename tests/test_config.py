"""The settings: file, environment, flags, faults."""

import contextlib
import os
import re
import socket
from pathlib import Path
from subprocess import DEVNULL

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemons import ROOT, command, dropsight
from dropsight.bounded import CONFIG_BYTES, MODEL_BYTES
from dropsight.config import Web, dump, format_size, load, parse_size, password, schema, token
from dropsight.errors import ConfigError, ModelError
from dropsight.models.backends import open_model
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import read_sidecar
from processes import begin

SHIPPED = ROOT / "config" / "dropsight.yaml"


def written(folder: Path, text: str) -> Path:
    path = folder / "dropsight.yaml"
    path.write_text(text)
    return path


def faults_of(path: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    return caught.value.faults


def test_the_shipped_config_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    assert load(SHIPPED) == load(None)


def test_the_shipped_config_has_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parent)

    def keys(value: object, above: str = "") -> set[str]:
        if isinstance(value, list):
            return {key for each in value for key in keys(each, above)}
        if not isinstance(value, dict):
            return {above}
        return {key for name, each in value.items() for key in keys(each, f"{above}.{name}")}

    assert keys(yaml.safe_load(SHIPPED.read_text())) == keys(yaml.safe_load(dump(load(None))))


def test_what_is_dumped_can_be_loaded_and_is_the_same(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, "device: x\nwatch: [{path: in, after: keep}]\nlog: {max_bytes: 1.5MiB}\n")
    )
    assert load(written(tmp_path, dump(config))) == config


def test_paths_start_from_the_file_s_folder(tmp_path: Path) -> None:
    config = load(written(tmp_path, "watch: [{path: in}]\nmodel: {path: m.tflite}"))
    assert config.watch[0].path == tmp_path / "in"
    assert config.watch[0].processed == tmp_path / "processed"
    assert config.model.path == str(tmp_path / "m.tflite")


def test_the_environment_overrides_the_file_and_a_flag_both(tmp_path: Path) -> None:
    path = written(tmp_path, "mqtt: {url: 'mqtt://file'}")
    environ = {"DROPSIGHT_MQTT__URL": "mqtt://environment", "DROPSIGHT_INFERENCE__TOP_K": "3"}
    config = load(path, environ=environ)
    assert config.mqtt
    assert (config.mqtt.url, config.inference.top_k) == ("mqtt://environment", 3)
    config = load(path, environ=environ, overrides={"mqtt.url": "mqtt://flag"})
    assert config.mqtt
    assert config.mqtt.url == "mqtt://flag"


def test_null_turns_broker_and_web_off(tmp_path: Path) -> None:
    config = load(written(tmp_path, "mqtt: null\nweb: null"))
    assert (config.mqtt, config.web) == (None, None)


def test_every_fault_is_told_at_once_with_its_file_and_key(tmp_path: Path) -> None:
    path = written(tmp_path, "device: ''\nlog: {backups: -1, max_byte: 3}\nwatch: [{after: burn}]\n")
    faults = faults_of(path)
    assert len(faults) == 4
    assert all(fault.startswith(f"{path}: ") for fault in faults)
    assert any("did you mean log.max_bytes?" in fault for fault in faults)
    assert any("delete, keep or move" in fault for fault in faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "fix the YAML"),
        ("just words", "contains no keys"),
        ("mqtt:\n\turl: mqtt://hübsch", ":2:1: is a tab, where YAML wants spaces; fix the YAML there"),
        ("device: a\ndevice: b", "given twice, in lines 1 and 2"),
        ("mqtt: {url: 'http://x'}", "unknown scheme"),
        ("watch: [{path: in}, {path: in/deep}]", "lies inside watch.0.path"),
        ("watch: [{path: a/in, processed: a}]", "contains watch.0.path"),
        ("mqtt: {password_file: x}", "give mqtt.username"),
        ("model: {normalization: {mean: [1], std: [0]}}", "above 0"),
        ("limits: {max_bytes: lots}", "a size such as 10MiB"),
        ("watch: [{path: in, patterns: ['front/*.jpg']}]", "watch.0.patterns.0: matches no file"),
        ("watch: [{path: in, patterns: ['*.jpg', '.*']}]", "watch.0.patterns.1: matches no file"),
        ('mqtt: {base_topic: "a\\0b"}', "without +, # and control characters"),
        ("mqtt: {url: 'mqtt://bob:pa#ss@hub'}", "has a /, ? or # in its password"),
        ("mqtt: {url: 'mqtt://bob:pa/ss@hub'}", "has a /, ? or # in its password"),
        ("mqtt: {url: 'mqtt://bob:1?ss@hub'}", "has a /, ? or # in its password"),
        ("inference: {tta: [sideways]}", "inference.tta.0"),
        ("web: off", "web: cannot be false; null turns it off"),
        (
            "events: {name: fox}",
            "events: cannot be a mapping; give a list of rules, each with name and labels",
        ),
        ("mqtt: false", "mqtt: cannot be false; null turns it off"),
        ("web: {listen: 8080}", 'web.listen: cannot be 8080; give HOST:PORT, such as "127.0.0.1:8080"'),
        ("mqtt: {broker: hub}", "mqtt.broker: unknown key; did you mean mqtt.url?"),
        ("mqtt: {colour: red}", "mqtt.colour: unknown key; known here: url, "),
        ("web: {workers: 2}", "web.workers: unknown key; did you mean inference.workers?"),
        (
            "model: {threads: 100000}",
            "model.threads: cannot be 100000; give a whole number from 1 to 64",
        ),
        ("model: {threads: 64}\ninference: {workers: 64}", "makes 4096 threads; give at most 512 in all"),
    ],
)
def test_each_kind_of_fault_says_the_way_out(tmp_path: Path, text: str, words: str) -> None:
    (fault,) = faults_of(written(tmp_path, text))
    assert words in fault


@pytest.mark.parametrize("folder", [Path("/"), ROOT, ROOT / "daemon"])
def test_a_folder_around_programs_is_an_inbox_only_where_its_pictures_stay(
    tmp_path: Path, folder: Path
) -> None:
    """With /, some ten thousand pictures of the system's and others' were filed within a minute."""
    (fault,) = faults_of(written(tmp_path, f"watch: [{{path: {folder}, after: move}}]"))
    assert "watch.0.path: holds programs" in fault
    assert load(written(tmp_path, f"watch: [{{path: {folder}, after: keep}}]"))
    assert load(written(tmp_path, f"watch: [{{path: {folder}, recursive: false}}]"))
    if folder != Path("/"):
        assert load(written(tmp_path, f"watch: [{{path: {folder}, ignore: ['drop*']}}]"))


def test_an_unknown_variable_is_told_with_the_nearest_and_ignored(tmp_path: Path) -> None:
    environ = {"DROPSIGHT_MQTT_URL": "mqtt://x", "DROPSIGHT_ZZZ": "1"}
    done = dropsight("config", cwd=tmp_path, environ=environ)
    assert done.returncode == 0
    lines = sorted(line.partition("DROPSIGHT")[2] for line in done.stderr.splitlines())
    assert lines == [
        "_MQTT_URL: unknown variable, ignored; did you mean DROPSIGHT_MQTT__URL?",
        "_ZZZ: unknown variable, ignored; unset it",
    ]


def test_the_variables_that_kubernetes_sets_for_services_are_no_settings(tmp_path: Path) -> None:
    environ = {
        "DROPSIGHT_SERVICE_HOST": "10.0.0.1",
        "DROPSIGHT_SERVICE_PORT_HTTP": "8080",
        "DROPSIGHT_PORT": "tcp://10.0.0.1:8080",
        "DROPSIGHT_PORT_8080_TCP_ADDR": "10.0.0.1",
        "DROPSIGHT_WEB_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    }
    done = dropsight("config", cwd=tmp_path, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    assert "cannot be read" in faults_of(tmp_path / "gone.yaml")[0]


def test_secrets_are_read_from_their_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    text = "mqtt: {url: 'mqtt://bob:swordfish@host', username: bob, password_file: secret}"
    config = load(written(tmp_path, text))
    assert config.mqtt
    assert password(config.mqtt) == "hunter2"
    assert not re.search("hunter2|swordfish", dump(config))


@pytest.mark.parametrize("saved", [b"\xef\xbb\xbfhunter2\r\n", b"hunter2\n\n", b"hunter2"])
def test_a_password_is_read_as_editors_leave_it(tmp_path: Path, saved: bytes) -> None:
    (tmp_path / "secret").write_bytes(saved)
    config = load(written(tmp_path, "mqtt: {username: bob, password_file: secret}"))
    assert config.mqtt
    assert password(config.mqtt) == "hunter2"


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    limits = load(written(tmp_path, "limits: {max_bytes: 1e9, max_pixels: 2e6}")).limits
    assert (limits.max_bytes, limits.max_pixels) == (10**9, 2 * 10**6)
    assert "a whole number" in faults_of(written(tmp_path, "limits: {max_pixels: 1.5e0}"))[0]


@pytest.mark.slow
def test_a_folder_given_as_a_file_or_a_log_among_images_is_refused_and_one_of_ours_in_an_inbox_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "inbox" / "front").mkdir(parents=True)
    (tmp_path / "inbox" / "front" / "a.jpg").write_bytes(b"")
    path = written(tmp_path, "mqtt: null\nlog: {path: inbox/front/results.jsonl}")
    for verb in ("check", "run"):
        done = dropsight(verb, "-c", str(path))
        assert done.returncode == 2
        assert "contains images of a camera (a.jpg), which would be skipped" in done.stdout + done.stderr
    (tmp_path / "kept").mkdir(mode=0o755)
    path = written(tmp_path, "mqtt: null\nstore: {path: kept}")
    for verb in ("check", "run"):  # it was no journal, waited for without an end, and closed to others
        done = dropsight(verb, "-c", str(path))
        assert done.returncode == 2
        assert f"store.path: {tmp_path / 'kept'} is a folder" in done.stdout + done.stderr
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o755
    path = written(tmp_path, "mqtt: null\nweb: null\nwatch: [{path: inbox, processed: inbox/done}]")
    told = f"{tmp_path / 'inbox' / 'done'}, in {tmp_path / 'inbox'}, is dropsight's"
    assert told in dropsight("check", "-c", str(path)).stdout
    assert told in dropsight("run", "-c", str(path), "--once").stderr


def test_the_schema_knows_every_key() -> None:
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == list(yaml.safe_load(SHIPPED.read_text()))


@given(st.integers(1, 2**50))
def test_a_size_survives_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


def test_the_variables_of_the_scripts_are_no_settings(tmp_path: Path) -> None:
    """A demo started with another Python ended on an unknown variable."""
    environ = {
        "DROPSIGHT_PYTHON": "python3.13",
        "DROPSIGHT_TEST_HA_PYTHON": "python3.13",
        "DROPSIGHT_TEST_LIGHT": "1",
    }
    done = dropsight("config", cwd=tmp_path, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_query_in_a_websocket_url_reaches_the_broker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        path = written(tmp_path, f"web: null\nmqtt: {{url: 'ws://127.0.0.1:{port}/mqtt?key=1'}}")
        process = begin(command("check", "-c", str(path)), stdout=DEVNULL)
        connection, _ = broker.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /mqtt?key=1 HTTP/1.1\r\n")
        assert process.wait(60) == 1


LAUGHS = "a: &a [1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("device: x\n# " + "x" * CONFIG_BYTES, "cannot be read (more than 1,048,576 bytes)"),
        ("device: " + "[" * 100_000, "exceeded maximum nesting depth"),
        ('device: !!int ""', "is not valid YAML"),
        ("store: {max_records: 1" + ":59" * 20_000 + "}", "store.max_records: cannot be so large a number"),
        ("store: {max_records: 9223372036854775808}", "store.max_records: cannot be 9223372036854775808"),
        ("limits: {max_bytes: 9999999TiB}", 'limits.max_bytes: cannot be "9999999TiB"'),
        ("limits: {max_bytes: " + "9" * 100_000 + "GiB}", "limits.max_bytes: cannot be"),
        ("watch: [" + "{path: a}, " * 10_000 + "]", "watch: names 10000 folders, at most 256 are watched"),
        ("a: &a [" + "x, " * 9 + "x]\ndevice: [" + "*a, " * 9 + "*a]", "device: cannot be a list"),
        (f"{LAUGHS}device: {{*k : 1}}", "found unhashable key"),
        ("watch: &w [*w]", "watch.0: cannot be a list"),
        ('device: !!python/object/apply:os.system ["true"]', "could not determine a constructor"),
    ],
)
def test_no_config_of_whatever_size_and_depth_is_more_than_a_line(
    tmp_path: Path, text: str, says: str
) -> None:
    """A reload with it ends no daemon, and takes neither its memory nor its time."""
    file = tmp_path / "dropsight.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as told:
        load(file)
    assert says in str(told.value)


def test_a_name_that_leads_to_a_file_without_an_end_is_a_fault(tmp_path: Path) -> None:
    """The config, a secret, labels, a sidecar or a model: none is read beyond its bound."""
    endless = Path("/dev/zero")
    with pytest.raises(ConfigError, match="more than 1,048,576 bytes"):
        load(endless)
    with pytest.raises(ConfigError, match=r"token_file: /dev/zero cannot be read .more than 65,536 bytes"):
        token(Web(token_file=endless))
    (tmp_path / "m.yaml").symlink_to(endless)
    with pytest.raises(ModelError, match=r"m\.yaml: cannot be read: .*more than 65,536 bytes"):
        read_sidecar(tmp_path / "m.tflite")
    with pytest.raises(ModelError, match="labels /dev/zero: cannot be read: more than 16,777,216 bytes"):
        open_model("builtin:efficientnet_lite0", said=ModelOverrides(labels=endless))
    large = tmp_path / "large.tflite"
    large.write_bytes(b"\x1c\0\0\0TFL3")
    os.truncate(large, MODEL_BYTES + 1)
    with pytest.raises(ModelError, match=r"large\.tflite: cannot be read: more than 2,147,483,648 bytes"):
        open_model(large)
