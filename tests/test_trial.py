"""The process in which a suspect image is tried."""

from pathlib import Path

import pytest

from daemons import PHOTOS
from dropsight.daemon.trial import tried
from dropsight.models.registry import open_model


@pytest.mark.parametrize("module", ["typer.py", "json.py", "dropsight.py"])
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
