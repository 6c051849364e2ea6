"""The clip that the demo drops: made where it runs, of what is installed."""

import signal
import subprocess
from pathlib import Path

import pytest

from daemons import command
from dropsight import VideoInferenceRuntime
from dropsight.demo import clip
from dropsight.demo.clip import ClipMaker, write
from dropsight.demo.show import _drop_clip
from processes import begin, end


@pytest.mark.slow
def test_the_clip_of_the_demo_shows_a_panda_crossing_a_scene(tmp_path: Path) -> None:
    with ClipMaker(tmp_path) as maker, VideoInferenceRuntime() as runtime:
        made = maker.clip()
        assert made
        result = runtime.predict(made)
    assert result.label == "giant panda"
    assert 4.0 <= result.clip.peak.time < 6.0
    first, last = result.clip.segments[0], result.clip.segments[-1]
    assert (first.label, last.label) == ("palace", "palace")


def test_where_opencv_writes_no_clips_the_demo_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clip, "_KINDS", [(".webm", "none")])
    assert not write(tmp_path)
    assert not list(tmp_path.iterdir())
    _drop_clip(None, tmp_path / "0003-clip")
    assert capsys.readouterr().out.startswith("There is no clip: ")


@pytest.mark.slow
def test_the_demo_drops_a_clip_among_its_photos(tmp_path: Path) -> None:
    demo = begin(command("demo", "--seconds", "300"), cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        assert demo.stdout
        with demo.stdout as told:
            line = next(line for line in told if b"-clip." in line)
            assert b"bear (clip, 9.0 s" in line
            demo.send_signal(signal.SIGINT)
            assert demo.wait(60) == 0
    finally:
        end(demo)
