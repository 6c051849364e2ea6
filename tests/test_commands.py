"""Each command as a user calls it."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import mosquitto, wait_until
from daemons import PHOTOS, SAMPLES, House, command, dropsight, dropsight_in_here, running
from dropsight.commands.batch import batch
from dropsight.inference.batch_file import BatchFile
from dropsight.inference.runtime import ImageInferenceRuntime
from processes import begin, end

COMMANDS = ["run", "demo", "classify", "batch", "evaluate", "calibrate"]
COMMANDS += ["inspect", "check", "config", "status", "archive", "compare"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example(name: str) -> None:
    done = dropsight(name, "--help")
    assert done.returncode == 0
    assert f"Example: dropsight {name}" in done.stdout


def test_classify_prints_label_and_confidence() -> None:
    done = dropsight("classify", str(SAMPLES / "chelsea.jpg"), "--top", "2")
    assert done.returncode == 0
    group, first, second = done.stdout.splitlines()
    assert group.endswith("%  cat")
    assert first.endswith("%    tiger cat")
    assert "%" in second


def test_classify_names_an_unreadable_file_and_exits_1_and_tells_of_warnings(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"8BPS")
    unended = tmp_path / "unended.jpg"
    unended.write_bytes((SAMPLES / "panda.jpg").read_bytes()[:-2])
    done = dropsight("classify", str(bad), str(unended))
    assert done.returncode == 1
    assert "Photoshop is not supported" in done.stderr
    assert f"{unended}: warning: no end-of-image marker" in done.stderr
    assert "giant panda" in done.stdout


def test_batch_writes_results_in_the_documented_shape(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTOS[0], tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").write_bytes(b"")
    done = dropsight("batch", str(tmp_path / "photos"), "-o", str(tmp_path / "out.json"), "--tta")
    assert done.returncode == 0, done.stderr
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["total_images"] == 2
    assert out["tta_enabled"] is True
    assert out["model_format"] == "tflite"
    good, bad = out["results"]
    assert good["tta"] == 5
    assert len(good["top_5_predictions"]) == 5
    assert bad["error"]["code"] == "empty"


def test_a_damaged_place_of_the_disk_costs_a_batch_the_file_that_lies_there_alone(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out.json"
    photos.mkdir()
    (photos / "a.jpg").symlink_to("/proc/self/mem")  # a regular file whose first byte is EIO
    shutil.copy(PHOTOS[0], photos / "b.jpg")
    done = dropsight("batch", str(photos), "-o", str(out))
    assert done.returncode == 0, done.stderr
    damaged, good = json.loads(out.read_text())["results"]
    assert damaged["error"] == {"code": "unreadable", "message": "cannot be read: Input/output error"}
    assert good["top_5_predictions"]


@pytest.mark.slow
def test_inspect_says_where_labels_and_normalization_came_from() -> None:
    done = dropsight("inspect", "builtin:efficientnet_lite0")
    assert done.returncode == 0
    assert "scale 0.0078125, zero point -1" in done.stdout
    assert "imagenet_labels.txt" in done.stdout
    assert "(pixel - 127) / 128" in done.stdout
    facts = json.loads(dropsight("inspect", "builtin:efficientnet_lite0", "--json").stdout)
    assert facts["activation"] == "softmax"


@pytest.mark.broker
def test_check_tries_everything_and_prints_a_line_a_finding(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    with mosquitto(tmp_path) as broker:
        environ = {"DROPSIGHT_MQTT__URL": broker.url, "DROPSIGHT_WEB__LISTEN": "127.0.0.1:0"}
        done = dropsight("check", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", name] for name in ("config", "folders", "model", "kernels", "image", "broker", "web", "clips")
    ]


def test_check_exits_1_when_the_broker_is_away(tmp_path: Path) -> None:
    done = dropsight("check", cwd=tmp_path, environ={"DROPSIGHT_MQTT__URL": "mqtt://127.0.0.1:1"})
    assert done.returncode == 1
    assert "FAIL  broker   mqtt://127.0.0.1:1 cannot be reached: Connection refused; start the" in done.stdout


def test_config_prints_what_a_config_file_may_hold(tmp_path: Path) -> None:
    printed = dropsight("config", cwd=tmp_path, environ={"DROPSIGHT_DEVICE": "porch"})
    assert "device: porch" in printed.stdout
    assert "settle_seconds: 2.0" in printed.stdout
    schema = json.loads(dropsight("config", "--schema").stdout)
    assert "mqtt" in schema["properties"]


@pytest.mark.slow
def test_status_shows_counts_latencies_and_queues(tmp_path: Path) -> None:
    with running(tmp_path, stats={"interval_seconds": 0.2}) as house:
        shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
        wait_until(lambda: house.finished() == 1)
        shown = dropsight("status", "-c", str(house.config))
        assert shown.returncode == 0, shown.stderr
        assert "1 done, 0 failed, 0 waiting" in shown.stdout
        assert "inference" in shown.stdout
        status = json.loads(dropsight("status", "-c", str(house.config), "--json").stdout)
        assert status["stats"]["latency_ms"]["window"]["total"]["count"] == 1
        assert status["stats"]["cameras"] == {"default": 1}
        wait_until(lambda: "1 done" in house.daemon_log(), what="the periodic line")


@pytest.mark.parametrize(
    "said",
    [b"\xff\xfe{}", b"[" * 100_000, b'{"ok": true, "result": ' + b"[" * 100_000],
    ids=["bytes", "deep", "within"],
)
def test_what_is_no_answer_of_the_daemon_is_a_line_and_exit_1(tmp_path: Path, said: bytes) -> None:
    House(tmp_path, {})
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "state" / "dropsight.sock"))
        door.listen()

        def serve() -> None:
            for _ in range(3):
                visitor, _ = door.accept()
                with visitor:
                    visitor.recv(4_096)
                    visitor.sendall(said + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        for question in (["status"], ["status", "--json"], ["resume"]):
            done = dropsight_in_here(*question, "-c", "dropsight.yaml", cwd=tmp_path)
            assert done.returncode == 1
            assert [line[:40] for line in done.stderr.splitlines()] == [
                "dropsight: the daemon's answer is not va"
            ]


@pytest.mark.slow
def test_the_demo_classifies_photos_and_ends_by_itself() -> None:
    done = dropsight("demo", "--seconds", "2")
    assert done.returncode == 0, done.stderr
    assert "mosquitto_sub -p" in done.stdout
    assert "The dashboard is at http://127.0.0.1:" in done.stdout
    assert "%" in done.stdout
    assert "outbox" not in done.stderr


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_that_is_written_as_it_comes_is_the_file_that_python_writes_whole(
    tmp_path: Path, count: int
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    with ImageInferenceRuntime(use_tta=False) as runtime, BatchFile(tmp_path / "streamed.json") as streamed:
        results = list(runtime.results([PHOTOS[0], tmp_path / "bad.jpg", PHOTOS[1]][:count]))
        for result in results:
            streamed.add(result)
        runtime.summarize(results, total_ms=5.0).write(tmp_path / "whole.json")
        streamed.finish(runtime.summarize((), total_ms=5.0, count=streamed.count))
    assert (tmp_path / "streamed.json").read_text() == (tmp_path / "whole.json").read_text()
    assert streamed.failed == (count > 1)


@pytest.mark.slow
def test_batch_stopped_by_ctrl_c_leaves_a_valid_file_with_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3000):
        (tmp_path / "photos" / f"{number:04}.jpg").write_bytes(PHOTOS[0].read_bytes())
    out = tmp_path / "out.json"
    screen, terminal = pty.openpty()  # where a progress bar is drawn, which says how far it is
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = begin(command("batch", str(tmp_path / "photos"), "-o", str(out)), stderr=terminal)
    try:
        shown = b""
        while not re.search(rb" [1-9]\d*/3000", shown):
            shown += os.read(screen, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        end(process)
        os.close(screen)
        os.close(terminal)
    results = json.loads(out.read_text())
    assert 0 < results["total_images"] < 3000
    assert results["total_images"] == len(results["results"])


def test_ctrl_c_stops_batch_even_where_python_passes_over_exceptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageInferenceRuntime.results

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(self: ImageInferenceRuntime, *args: Any, **options: Any) -> Iterator[object]:
        for number, result in enumerate(whole(self, *args, **options)):
            if number == 1:
                Finalized()
            yield result

    monkeypatch.setattr(ImageInferenceRuntime, "results", interrupted)
    out = tmp_path / "out.json"
    assert batch(PHOTOS[:4], out, model=None, tta=False, batch_size=1) == 130
    assert json.loads(out.read_text())["total_images"] == 2
