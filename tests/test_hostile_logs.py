"""Logs of strangers, and names that strangers gave: what reads and shows them is neither ended nor led."""

import json
from pathlib import Path

import pytest

from dropsight.commands.following import shown
from dropsight.commands.replaying import print_replay
from dropsight.config import load
from dropsight.journal import log_files
from dropsight.journal.log_files import lines_of
from dropsight.records import Failure, decode

NAME = "x\x1b]0;\x07\u202e\n"
DEEP = (b'{"a":' * 100_000, b'{"status":"ok","x":' + b"[" * 100_000, b'{"camera":"\xe9"}')


def record(**more: object) -> bytes:
    said = {
        "status": "ok",
        "id": "a",
        "camera": NAME,
        "image_path": f"{NAME}/{NAME}.jpg",
        "label": NAME,
        "predicted_class": 1,
        "confidence": 0.9,
        "time": "2026-11-28T10:00:00Z",
        "predictions": [{"class": 1, "label": NAME, "confidence": 0.9}],
    }
    return json.dumps({**said, **more}).encode()


@pytest.mark.parametrize("line", DEEP)
def test_a_line_of_any_depth_or_bytes_is_a_record_of_which_nothing_is_known(line: bytes) -> None:
    assert isinstance(decode(line), Failure) or line.startswith(b'{"status"')
    assert decode(line).camera == ""


@pytest.mark.parametrize("more", [{}, {"status": "failed", "error": {"code": "empty", "message": NAME}}])
def test_a_line_of_the_log_does_nothing_to_a_terminal_but_its_own_colours(more: dict[str, object]) -> None:
    for coloured in (True, False):
        line = shown(record(time=NAME, **more), coloured=coloured)
        assert not {"\x07", "\u202e", "\n"} & set(line)
        assert line.count("\x1b") == (6 if coloured else 0)


def test_a_replay_of_any_log_comes_to_its_end_and_does_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line is too long to be a record's: it is not read into memory whole."""
    monkeypatch.setattr(log_files, "LONGEST_LINE", 1_000)
    (tmp_path / "c.yaml").write_text('events: [{name: cat, labels: ["*"], confirm: 1 of 1}]\n')
    log = tmp_path / "results.jsonl"
    odd = [record(time=time) for time in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "", "-1")]
    log.write_bytes(b"\n".join([record(), *odd, b"x" * 5_000, *DEEP[2:], b"{}", b""]))
    assert max(map(len, lines_of(log))) == 1_000
    print_replay(load(tmp_path / "c.yaml"), [log])
    said = capsys.readouterr().out
    assert r"x\x1b]0;\x07" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
