"""Names that are not UTF-8, or mean harm to a terminal, through every output."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, command, dropsight
from dropsight.names import as_json, as_name, as_shown, as_text
from webs import ANY_PORT, address, ask

LATIN1 = os.fsdecode("Tür".encode("latin-1"))
LINE_ENDS = "\x85\x9b\u061c\u2028\u2029\u202e"
FORGED = "x\n12:00:00 ERROR forged \x1b[2J\u202e.jpg"


def test_every_name_has_a_text_and_its_text_leads_back() -> None:
    assert as_text(LATIN1) == r"T\xfcr"
    assert as_name(as_text(LATIN1)) == LATIN1
    assert as_text("Tür") == as_name("Tür") == "Tür"
    assert as_shown(FORGED) == r"x\n12:00:00 ERROR forged \x1b[2J\u202e.jpg"
    assert json.loads(as_json({LATIN1: [LATIN1, 1.5, None]})) == {r"T\xfcr": [r"T\xfcr", 1.5, None]}


def test_no_sign_of_a_name_makes_two_lines_of_a_record_or_orders_a_terminal(tmp_path: Path) -> None:
    """Viewers, and Python's `splitlines`, end a line at six signs that JSON need not escape."""
    names = [f"{number}{sign}12:00:00 ERROR forged" for number, sign in enumerate(LINE_ENDS)]
    house = House(tmp_path, {})
    try:
        for name in names:
            (house.inbox / name).mkdir()
            (house.inbox / name / f"{name}.jpg").write_bytes(b"no picture")
        house.start()
        house.until(lambda: house.finished() == len(names))
        log = (tmp_path / "logs" / "results.jsonl").read_text()
        shown = dropsight("logs", "--json", "-c", str(house.config)).stdout
        for text in (log, shown):
            assert not set(LINE_ENDS) & set(text)
            paths = {json.loads(line)["image_path"] for line in text.splitlines()}
            assert paths == {f"{name}/{name}.jpg" for name in names}
    finally:
        house.kill()


def test_an_error_about_a_name_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    name = f"x{LINE_ENDS}ERROR forged.tflite"
    (tmp_path / name).write_bytes(b"no model")
    for arguments in (["inspect", name], ["check", "-c", f"{name}.yaml"]):
        said = dropsight(*arguments, cwd=tmp_path)
        assert said.returncode
        assert not set(LINE_ENDS) & set(said.stderr + said.stdout)
        assert not [line for line in said.stderr.splitlines() if "forged" in line and r"\u2028" not in line]


def test_a_name_of_several_lines_in_a_traceback_is_in_one(tmp_path: Path) -> None:
    program = """if True:
        import logging
        from dropsight.commands import logs
        logs.set_up(debug=False)
        try:
            raise ValueError("a\\u2028b\\x1bc")
        except ValueError:
            logging.exception("an error")
    """
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.stderr.splitlines()[-1] == r"ValueError: a\u2028b\x1bc"


def test_a_name_is_shown_where_no_descriptor_is_left(tmp_path: Path) -> None:
    """Codecs are files that are opened when first asked for: lines of the log were lost to tracebacks."""
    program = """if True:
        import resource
        from dropsight.names import as_shown
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        print(as_shown("a\\n\\x1b\\u2028b"))
    """
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (said.stdout, said.stderr) == ("a\\n\\x1b\\u2028b\n", "")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="making a file immutable needs root")
def test_a_house_a_camera_and_a_file_of_latin_1_names_go_through_every_output(tmp_path: Path) -> None:
    """A file that cannot be moved, too: its name is in a trouble."""
    root = tmp_path / LATIN1
    root.mkdir()
    with mosquitto(tmp_path) as broker:
        settings = {"mqtt": {"url": broker.url}, "web": ANY_PORT, "explain": {"below_confidence": 1.0}}
        house = House(root, settings)
        stuck = house.inbox / LATIN1 / f"{LATIN1}.jpg"
        stuck.parent.mkdir()
        shutil.copy(PHOTOS[0], stuck)
        subprocess.run(["chattr", "+i", stuck], check=True)
        shutil.copy(PHOTOS[0], house.inbox / LATIN1 / f"{LATIN1}2.jpg")
        shutil.copy(PHOTOS[1], house.inbox / FORGED)
        (house.inbox / f"{LATIN1}.jpg").write_bytes(b"no image")
        try:
            with Subscriber(broker.port) as heard:
                for _ in range(2):
                    house.start()
                    wait_until(lambda: len(heard.topics("/result/")) == 3 and bool(heard.topics("/info")))
                    wait_until(lambda: r"T\xfcr" in "".join(house.status()["troubles"].values()))
                    shown = dropsight(
                        "status", "-c", str(house.config), environ={"PYTHONIOENCODING": "ascii"}
                    )
                    assert shown.returncode == 0, shown.stderr
                    assert r"T\xfcr/inbox" in shown.stdout
                    assert "\x1b" not in shown.stdout
                    url = address(house)
                    for path in ("/", "/api/stats", "/api/results", "/readyz", "/metrics"):
                        assert ask(url, path).status in {200, 503}
                    assert house.ask("stats")["ok"]
                    wait_until(lambda: any(house.processed.rglob(f"{LATIN1}2.*.why.jpg")))
                    assert house.stop() == 0
            records = {record["image_path"]: record for record in house.records()}
            assert set(records) == {r"T\xfcr/T\xfcr.jpg", r"T\xfcr/T\xfcr2.jpg", r"T\xfcr.jpg", FORGED}
            assert records[r"T\xfcr/T\xfcr2.jpg"]["camera"] == r"T\xfcr"
            overlay = Path(as_name(records[r"T\xfcr/T\xfcr2.jpg"]["explanation"]))
            assert overlay.exists()
            assert list(json.loads((root / "state" / "cameras.json").read_text())) >= [r"T\xfcr"]
            log = house.daemon_log()
            assert "Traceback" not in log
            assert "\x1b" not in log
            assert not any(line.startswith("12:00:00 ERROR forged") for line in log.splitlines())
        finally:
            house.kill()
            subprocess.run(["chattr", "-i", stuck], check=False)


@pytest.mark.slow
def test_commands_say_any_name_on_any_terminal(tmp_path: Path) -> None:
    for name in (LATIN1, FORGED, "日本"):
        (tmp_path / name).write_bytes(b"no image")
        for arguments in (
            ["classify", name],
            ["classify", "--json", name],
            ["batch", name, "-o", "out.json"],
        ):
            done = subprocess.run(
                command(*arguments),
                cwd=tmp_path,
                env={**os.environ, "PYTHONIOENCODING": "ascii"},
                capture_output=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 1, done.stderr
            assert b"Traceback" not in done.stderr
            assert b"\x1b" not in done.stderr + done.stdout
