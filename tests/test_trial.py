"""The process in which a suspect image is tried, and memory that runs out."""

import resource
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import PHOTOS, running
from dropsight.classify.trial import tried
from dropsight.crashpoints import VARIABLE
from dropsight.errors import ImageError, MachineError, MemoryShortError
from dropsight.images.company import COMPANY
from dropsight.intake.in_hand import Suspect, Verdict
from dropsight.intake.trying_alone import TRIALS, Suspects
from dropsight.models.backends import open_model

MIB = 2**20


@pytest.mark.parametrize("module", ["argparse.py", "json.py", "dropsight.py"])
def test_a_trial_runs_no_code_from_where_the_daemon_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """Whoever may write there, like an uploader, would run code as the service."""
    mark = tmp_path / "ran"
    (tmp_path / module).write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    assert tried(str(PHOTOS[0]), open_model("builtin:efficientnet_lite0").spec) == "survived"
    assert not mark.exists()


def test_a_trial_finds_an_image_that_was_named_from_where_the_daemon_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cat.jpg").write_bytes(PHOTOS[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    assert tried("cat.jpg", open_model("builtin:efficientnet_lite0").spec) == "survived"
    assert "cat.jpg was in hand" in caplog.text


def large_picture(path: Path) -> Path:
    """48 megapixels, which a decoder needs whole: 144 MB."""
    small = np.random.default_rng(0).integers(0, 40, (600, 800, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (8000, 6000), interpolation=cv2.INTER_NEAREST))
    return path


@pytest.mark.slow
def test_a_trial_that_takes_more_memory_than_there_is_says_nothing_of_the_image(tmp_path: Path) -> None:
    path, spec = str(large_picture(tmp_path / "large.png")), open_model("builtin:efficientnet_lite0").spec
    assert tried(path, spec, room=400 * MIB) == "starved"
    assert tried(path, spec) == "survived"


@pytest.mark.slow
def test_a_trial_that_the_kernel_ends_for_want_of_memory_says_nothing_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the first to go: what decides is that somebody killed it, not that it fell."""
    spec = open_model("builtin:efficientnet_lite0").spec
    monkeypatch.setenv(VARIABLE, "in_invoke:1")
    assert tried(str(PHOTOS[0]), spec) == "starved"
    (tmp_path / "bad.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
    monkeypatch.setenv(VARIABLE, "in_decoding:poison")
    assert tried(str(tmp_path / "bad.jpg"), spec) == "died"


class Starving:
    """A trial that gets too little memory."""

    def try_alone(self, _path: str) -> Verdict:
        return "starved"


def test_a_suspect_that_starves_its_trials_is_refused_in_the_end() -> None:
    """Else the service would wait for ever for memory that it never gets."""
    suspects = Suspects(Starving())
    suspect = Suspect("decode", 1)
    for _ in range(TRIALS - 1):
        with pytest.raises(MachineError, match="more memory than there is"):
            suspects.try_alone("a.jpg", suspect)
    with pytest.raises(ImageError, match="more memory than there is") as refused:
        suspects.try_alone("a.jpg", suspect)
    assert refused.value.code == "unreadable"


def test_a_trial_that_starves_while_a_clip_is_decoded_says_nothing_of_the_image() -> None:
    suspects = Suspects(Starving())
    for _ in range(TRIALS + 1):
        with COMPANY.joined(), pytest.raises(MemoryShortError, match="waits"):
            suspects.try_alone("a.jpg", Suspect("decode", 1))
    with pytest.raises(MachineError, match="more memory than there is"):
        suspects.try_alone("a.jpg", Suspect("decode", 1))


@pytest.mark.slow
def test_a_sound_picture_waits_for_memory_and_lets_others_pass(tmp_path: Path) -> None:
    """It was once recorded as damaged."""
    with running(tmp_path, inference={"workers": 1}) as house:
        assert house.process
        shutil.copyfile(PHOTOS[0], house.inbox / "first.jpg")
        wait_until(lambda: len(house.records()) == 1)
        pid = house.process.pid
        facts = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        room = int(facts["VmData"].split()[0]) * 1024 + 60 * MIB
        resource.prlimit(pid, resource.RLIMIT_DATA, (room, resource.RLIM_INFINITY))
        large_picture(tmp_path / "large.png").rename(house.inbox / "large.png")
        wait_until(lambda: "memory" in house.status()["troubles"].get("machine", ""))
        shutil.copyfile(PHOTOS[1], house.inbox / "second.jpg")
        wait_until(lambda: len(house.records()) == 2)
        resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: len(house.records()) == 3)
        assert {record["status"] for record in house.records()} == {"ok"}
        assert house.stop() == 0
