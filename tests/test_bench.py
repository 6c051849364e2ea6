"""`dropsight bench`: what it measures, and that the config it writes is the same but for its keys."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemons import ROOT, dropsight
from dropsight.commands.splits import candidates
from dropsight.config import load
from dropsight.config.editing import with_values
from dropsight.errors import ConfigError
from dropsight.files.disk import exchange

KEYS: dict[tuple[str, ...], int | float | str] = {
    ("inference", "workers"): 3,
    ("inference", "top_k"): 5,
    ("model", "threads"): 2,
}
CONFIGS = {
    "empty": "",
    "another section": "device: me\n",
    "comments": "# mine\ninference: # all of it\n  top_k: 3  # three\n  workers: auto # for now\n",
    "flow": "inference: {top_k: 3}\nmodel: {}\n",
    "no newline": "model:\n  resize: crop",
    "null": "inference:\nmodel: null\ndevice: x\n",
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_keys_are_set_and_all_else_stays(text: str) -> None:
    edited = with_values(text, KEYS)
    found = yaml.safe_load(edited)
    assert found["inference"]["workers"] == 3
    assert found["inference"]["top_k"] == 5
    assert found["model"]["threads"] == 2
    before = yaml.safe_load(text) or {}
    for section, values in before.items():
        for key, value in (values or {}).items() if isinstance(values, dict) else ():
            if (section, key) not in KEYS:
                assert found[section][key] == value
    for comment in ("# mine", "# all of it", "# three", "# for now"):
        assert edited.count(comment) == text.count(comment)


def test_the_shipped_config_can_be_tuned(tmp_path: Path) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text(with_values((ROOT / "config" / "dropsight.yaml").read_text(), KEYS))
    config = load(file)
    assert (config.inference.workers, config.inference.top_k, config.model.threads) == (3, 5, 2)


def test_a_section_that_is_no_mapping_is_told() -> None:
    with pytest.raises(ConfigError, match="inference: contains no keys"):
        with_values("inference: [1]\n", KEYS)


@given(st.integers(1, 64))
def test_no_split_asks_for_more_invoking_threads_than_cores(cores: int) -> None:
    splits = candidates(cores)
    assert len(set(splits)) == len(splits)
    assert all(split.workers * split.threads <= cores for split in splits)
    assert any(split.workers == cores for split in splits)


@pytest.mark.slow
def test_bench_measures_stages_and_the_daemon_s_throughput() -> None:
    done = dropsight("bench", "--json", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["stage_ms"]) == {
        "read",
        "decode",
        "preprocess",
        "inference",
        "postprocess",
        "record",
        "total",
    }
    assert all(stage["p50"] <= stage["p95"] <= stage["p99"] for stage in found["stage_ms"].values())
    (split,) = found["splits"]
    assert split["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tune_writes_the_best_split_into_the_config(tmp_path: Path) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text("# mine\ndevice: me\nmqtt: null\n")
    file.chmod(0o640)
    done = dropsight("bench", "-c", str(file), "--tune", "--seconds", "0.3", seconds=350)
    assert done.returncode == 0, done.stderr
    assert "best" in done.stdout
    assert file.read_text().startswith("# mine\ndevice: me\nmqtt: null\n")
    config = load(file)
    assert "auto" not in (config.inference.workers, config.model.threads)
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_config_that_is_tuned_keeps_its_owner_its_rights_and_the_link_that_leads_to_it(
    tmp_path: Path,
) -> None:
    """It may hold the broker's password, for the service's group alone."""
    kept, link, seen = tmp_path / "kept.yaml", tmp_path / "c.yaml", list[tuple[int, bytes]]()
    kept.write_bytes(b"before")
    kept.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(kept, 4711, 4712)
    link.symlink_to(kept.name)
    (tmp_path / "kept.yaml.part").symlink_to(tmp_path / "elsewhere")
    was = kept.stat()
    exchange(link, b"after", check=lambda part: seen.append((part.stat().st_mode & 0o777, part.read_bytes())))
    now = kept.stat()
    assert (link.is_symlink(), kept.read_bytes(), seen) == (True, b"after", [(0o640, b"after")])
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)

    def refuse(_: Path) -> None:
        raise ConfigError(["no"])

    with pytest.raises(ConfigError):
        exchange(link, b"never", check=refuse)
    assert kept.read_bytes() == b"after"
    assert {each.name for each in tmp_path.iterdir()} == {"kept.yaml", "c.yaml"}
