"""What goes wrong at the start: one clear line, the right exit code."""

import shutil
from pathlib import Path

import pytest

from brokers import free_port, mosquitto, wait_until
from daemons import PHOTOS, dropsight, running


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("mqtt: {prot: 5}", "mqtt.prot", "mqtt.protocol"),
        ("mqtt: {host: broker}", "mqtt.host", "mqtt.url"),
        ("notify: {phone: {url: 'ntfy://x'}}", "notify.phone.url", "notify.phone.targets_file"),
    ],
)
def test_an_unknown_config_key_is_one_line_with_the_key_that_is_meant_and_exit_2(
    tmp_path: Path, text: str, key: str, meant: str
) -> None:
    config = tmp_path / "dropsight.yaml"
    config.write_text(text)
    done = dropsight("run", "-c", str(config))
    assert done.returncode == 2
    assert done.stderr == f"dropsight: {config}: {key}: unknown key; did you mean {meant}?\n"


def test_a_missing_model_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = dropsight("run", "--watch", "inbox", "--model", "gone.tflite", "--once", cwd=tmp_path)
    assert done.returncode == 2
    folders, line = done.stderr.splitlines()
    assert "created missing folders" in folders
    assert "gone.tflite: no such model" in line


@pytest.mark.parametrize("key", ["path", "processed", "failed"])
def test_a_folder_that_cannot_be_written_is_one_line_naming_its_key_and_exit_2(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "dropsight.yaml"
    config.write_text(f"watch: [{{{key}: file/folder}}]\nmqtt: null\n")
    done = dropsight("run", "-c", str(config), "--once")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dropsight: watch.0.{key}: {tmp_path}/file/folder cannot be written")


def test_a_log_that_cannot_be_written_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = dropsight("run", "--log", "/proc/nowhere/x.jsonl", "--mqtt", "none", "--once", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "log.path" in line


@pytest.mark.broker
def test_a_refused_password_is_one_line_without_the_secret_and_exit_1_of_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "inbox").mkdir()
    shutil.copy(PHOTOS[0], tmp_path / "inbox")
    with mosquitto(tmp_path, extra="allow_anonymous false\n") as broker:
        config = tmp_path / "dropsight.yaml"
        login = f"{{url: '{broker.url}', username: bob, password_file: secret}}"
        config.write_text(f"mqtt: {login}\n")
        done = dropsight("run", "-c", str(config), "--once")
    assert done.returncode == 1
    refusals = [line for line in done.stderr.splitlines() if "refuses the login" in line]
    assert len(refusals) == 1
    assert "mqtt.password_file" in refusals[0]
    assert "hunter2" not in done.stderr
    assert len((tmp_path / "logs" / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.broker
def test_a_refused_password_does_not_stop_the_daemon_from_logging(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, extra="allow_anonymous false\n") as broker,
        running(tmp_path, mqtt={"url": broker.url, "username": "bob"}) as house,
    ):
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.finished() == 1)
        wait_until(lambda: "refuses the login" in house.status()["troubles"].get("mqtt", ""))
        assert house.stop() == 0


def test_once_without_a_broker_logs_everything_and_says_what_waits(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    shutil.copy(PHOTOS[0], tmp_path / "inbox")
    done = dropsight("run", "--mqtt", f"mqtt://127.0.0.1:{free_port()}", "--once", cwd=tmp_path)
    assert done.returncode == 0
    assert "1 record is queued in the outbox" in done.stderr
    assert "cannot be reached: Connection refused" in done.stderr


def test_status_without_a_daemon_says_so_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    done = dropsight("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "no dropsight is running" in done.stderr


def test_a_wrong_option_exits_2() -> None:
    assert dropsight("run", "--wrong").returncode == 2
