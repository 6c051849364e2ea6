"""The benchmarks run, and print what docs/performance.md is made of. No figure is judged here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contenders import fill
from daemons import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_benchmark_drops_are_files_of_one_name_each(tmp_path: Path) -> None:
    """As a camera's; of hard links dropsight files copies, and that would be measured."""
    (photo := tmp_path / "photo.jpg").write_bytes(b"a picture")
    fill(inbox := tmp_path / "inbox", [photo])
    (dropped,) = inbox.iterdir()
    assert (dropped.read_bytes(), dropped.stat().st_nlink) == (b"a picture", 1)


def test_throughput_is_compared_in_a_table_in_json_and_in_a_figure(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("matplotlib")
    file, figure = tmp_path / "t.json", tmp_path / "t.png"
    table = script(
        "bench_pipeline.py", "--rounds", "1", "--share", "0.01", "--cases", "640x480.jpg", "1920x1080.png",
        "--json", str(file), "--figure", str(figure),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(file.read_text())
    assert found["machine"]["cores"] >= 1
    assert found["without_mediapipe"]
    assert [row["case"] for row in found["rows"]] == ["640x480.jpg", "1920x1080.png"]
    for row in found["rows"]:
        assert set(row["contenders"]) == {"yardstick", "run --once", "batch", "own loop"}
        assert all(entry["images_per_second"] > 0 for entry in row["contenders"].values())
        assert row["contenders"]["yardstick"]["to_yardstick"] == 1
        assert row["case"] in table
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_archives_are_measured_beside_the_bare_machine_and_memory_by_their_size() -> None:
    pytest.importorskip("ai_edge_litert")
    sizes = ("--images", "80", "--rounds", "1", "--listed", "200", "--classified", "100")
    found = json.loads(script("bench_archive.py", *sizes, "--without-ray"))
    assert found["images_per_second"]["local"] > 0
    assert found["local_to_yardstick"] > 0
    assert found["embeddings_to_local"] > 0
    assert 0 < found["bytes_a_row"]["local"] < found["bytes_a_row"]["embeddings"]
    assert [each["files"] for each in found["listing"]] == [20, 200]
    assert [each["files"] for each in found["classifying"]] == [10, 100]
    assert all(each["driver_peak_mib"] > 0 for each in found["listing"] + found["classifying"])


def test_latency_is_told_a_rate() -> None:
    found = json.loads(script("bench_latency.py", "--rates", "20", "--seconds", "0.5"))
    assert found["raw_ms"] > 0
    assert 0 < found["20"]["p50_ms"] <= found["20"]["p99_ms"]


def test_start_memory_and_idling_are_told_beside_bare_processes() -> None:
    pytest.importorskip("ai_edge_litert")
    found = json.loads(script("bench_start.py", "--rounds", "1", "--idle", "0.1"))
    assert found["ready_seconds"] > 0
    assert found["memory_mib"] > found["interpreter_alone"]["memory_mib"] > 0
    assert found["all_imports"]["ready_ratio"] > 0


def test_the_cost_of_an_image_among_many_is_told() -> None:
    found = json.loads(script("bench_backlog.py", "--images", "60", "--few", "30"))
    assert [run["images"] for run in found["runs"]] == [30, 60, 30]
    assert found["cost_ratio"] > 0


def test_how_long_the_first_result_takes_is_told_by_how_much_lies_there() -> None:
    few, more = json.loads(script("bench_first_result.py", "--images", "40", "--few", "5"))["runs"]
    assert (few["done"], more["done"]) == (5, 40)
    assert more["first_result_seconds"] > 0
    assert more["folders_at_the_end"]["images"] == 0


def test_ways_to_run_a_model_are_told_apart() -> None:
    pytest.importorskip("ai_edge_litert.compiled_model")
    found = json.loads(script("bench_runtimes.py", "--rounds", "1", "--images", "32"))
    assert all(way["images_per_second"] > 0 for way in found["ways"].values())


def test_a_hundred_dashboards_are_weighed_against_none() -> None:
    pytest.importorskip("uvicorn")
    assert "median ratio" in script("bench_flood.py", "--rounds", "1", "--images", "10")
    assert "median ratio" in script("bench_web.py", "--rounds", "1", "--images", "10", "--streams", "4")


def test_what_carries_an_image_is_counted_in_files_hops_and_calls() -> None:
    told = script("bench_calls.py", "--images", "5", "25")
    form = r"(\d+) files, (\d+) hops .*\nall: (\d+) calls in Python, \d+ of native functions"
    found = re.match(form, told)
    assert found, told
    files, hops, calls = map(int, found.groups())
    assert files < hops < calls


def test_a_profile_sets_each_librarys_share_beside_the_bare_machines() -> None:
    pytest.importorskip("ai_edge_litert")
    if shutil.which("perf") is None:
        pytest.skip("no perf here (apt-get install linux-perf)")
    table = script("bench_profile.py", "640x480.jpg", "--images", "20", "60")
    assert "the interpreter (XNNPACK)" in table
    assert table.splitlines()[-1].startswith("together")


def test_what_rules_cost_is_told_as_a_share_of_an_image() -> None:
    few = json.loads(script("bench_events.py", "--records", "3000", "--images", "3"))
    assert [run["rules"] for run in few["runs"]] == [0, 1, 20]
    assert few["runs"][0]["changes"] == 0
    assert few["image_us"] > 0


def test_alarms_of_camera_days_are_counted_with_rules_off_and_on() -> None:
    few = ("--visits", "12", "--visits-a-day", "12", "--empty", "20", "--wrong", "10")
    lines = {line[:34].strip(): line[34:].split() for line in script("camera_days.py", *few).splitlines()}
    without, grouped, by_rules = map(float, lines["wrong"])
    assert min(without, grouped) > by_rules == 0, "a single wrong picture is no event"
    assert float(lines["repeats a visit"][0]) > float(lines["repeats a visit"][-1])
    assert "visits missed" in lines
