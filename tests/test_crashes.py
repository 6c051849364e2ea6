"""The first three promises, across kills at any instant; and images that do the killing."""

import gzip
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import HASTILY, PHOTOS, House, dropsight, running
from dropsight.config import Watch
from dropsight.crashpoints import VARIABLE
from dropsight.errors import DropsightError
from dropsight.intake import in_hand as notes
from dropsight.intake.backlog import LEFT_FOR_OTHERS, Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import (
    CONVICTED,
    CONVICTED_BY_CRASHES,
    CONVICTED_BY_REBOOTS,
    InHand,
    Stage,
    Suspect,
)
from dropsight.intake.starts import DEATHS, CrashNote, Starts
from dropsight.intake.turns import Turns
from dropsight.intake.walk_guard import WalkGuard
from dropsight.status.troubles import Troubles
from torture import torture

POISON = f"{VARIABLE}=in_decoding:poison".split("=")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_every_named_step_and_at_random_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    found = torture(tmp_path / "torture", kills=20, images=500, seed=1)
    assert found.is_clean(), found.report()
    assert [how for how in found.ends if how != "killed"] == []


@pytest.mark.slow
def test_an_image_that_kills_the_process_is_refused_after_its_second_death(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    (house.inbox / "bad.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
    try:
        house.spawn(**dict([POISON]))
        assert house.ended() == -signal.SIGSEGV
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox)
        house.spawn(**dict([POISON]))
        wait_until(lambda: len(house.records()) == 4)
        assert house.stop() == 0
    finally:
        house.kill()
    (refused,) = (record for record in house.records() if record["status"] == "failed")
    assert refused["image_path"] == "bad.jpg"
    assert refused["error"]["code"] == "unreadable"
    assert "twice" in refused["error"]["message"]
    assert (house.failed / "bad.jpg").exists()


@pytest.mark.slow
def test_of_a_crowd_only_what_was_at_hand_is_suspected(tmp_path: Path) -> None:
    """Though workers take several at a time: two of them hold an image each."""
    house = House(tmp_path, {"inference": {"workers": 2}})
    for number in range(120):
        ending = b"poison" if number == 40 else b""
        (house.inbox / f"{number:03}.jpg").write_bytes(PHOTOS[number % len(PHOTOS)].read_bytes() + ending)
    try:
        house.spawn(**dict([POISON]))
        assert house.ended() == -signal.SIGSEGV
        assert len(house.records()) < 120 - LEFT_FOR_OTHERS
        house.spawn(**dict([POISON]))
        house.until(lambda: len(house.records()) == 120)
        assert house.stop() == 0
    finally:
        house.kill()
    assert [each["image_path"] for each in house.records() if each["status"] == "failed"] == ["040.jpg"]
    # A young one that does not decode has another try.
    tried = {line for line in house.daemon_log().splitlines() if "trying it alone first" in line}
    assert 1 <= len({line.partition("WARNING ")[2] for line in tried}) <= 2


@pytest.mark.slow
def test_an_image_that_kills_the_interpreter_is_refused_as_the_model_s_error(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    plain = np.full((300, 300, 3), 127, np.uint8)
    (house.inbox / "plain.png").write_bytes(cv2.imencode(".png", plain)[1].tobytes())
    try:
        house.spawn(**{VARIABLE: "in_invoking"})
        assert house.ended() == -signal.SIGSEGV
        shutil.copy(PHOTOS[0], house.inbox)
        house.spawn(**{VARIABLE: "in_invoking"})
        wait_until(lambda: len(house.records()) == 2)
        assert house.stop() == 0
    finally:
        house.kill()
    (refused,) = (record for record in house.records() if record["status"] == "failed")
    assert (refused["image_path"], refused["error"]["code"]) == ("plain.png", "model_error")
    assert "twice" in refused["error"]["message"]


@pytest.mark.slow
def test_an_innocent_image_that_was_in_hand_at_two_deaths_is_classified(tmp_path: Path) -> None:
    """Each time the process was killed for another reason; the trial acquits it."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    for _ in range(2):
        dies_with(tmp_path / "state" / "in-hand", house.inbox / PHOTOS[0].name, "invoke")
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0
    assert "trying it alone first" in done.stderr
    assert [record["status"] for record in house.records()] == ["ok"]
    assert InHand(tmp_path / "state" / "in-hand").suspect(str(house.inbox / PHOTOS[0].name)) is None


def dies_with(note: Path, image: Path, stage: Stage) -> None:
    """Leave the note of a process that died with this image in hand."""
    content = InHand(note)
    content.note(3, str(image), stage)
    left = note.read_bytes()
    content.close()
    note.write_bytes(left)


def test_a_suspect_stays_one_across_lives_until_it_is_acquitted(tmp_path: Path) -> None:
    note = tmp_path / "in-hand"
    dies_with(note, Path("a.jpg"), "decode")
    for _ in range(2):
        later = InHand(note)
        assert later.suspect("a.jpg") == Suspect("decode", 1)
        later.note(3, "b.jpg", "invoke")
        later.close()
    dies_with(note, Path("a.jpg"), "invoke")
    last = InHand(note)
    assert last.suspect("a.jpg") == Suspect("invoke", 2)
    last.acquit("a.jpg")
    last.close()
    assert InHand(note).suspect("a.jpg") is None


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["decode", "record"])
def test_a_good_image_that_was_in_hand_at_two_kills_is_classified_once_a_start_has_lasted(
    tmp_path: Path, stage: Stage
) -> None:
    """It was refused for good, whoever had ended the daemon: a failing power supply, somebody, a watchdog."""
    house = House(tmp_path, {})
    house.under = HASTILY
    shutil.copy(PHOTOS[0], house.inbox / "good.jpg")
    shutil.copy(PHOTOS[1], house.inbox / "other.jpg")
    for _ in range(2):
        dies_with(tmp_path / "state" / "in-hand", house.inbox / "good.jpg", stage)
    try:
        house.start()
        house.until(lambda: len(house.records()) == 2)
        assert house.stop() == 0
    finally:
        house.kill()
    assert [(each["image_path"], each["status"]) for each in house.records()] == [
        ("other.jpg", "ok"),
        ("good.jpg", "ok"),
    ]
    assert "good.jpg was in hand at 2 ends of the daemon: it waits" in house.daemon_log()


def test_what_the_machine_s_reboots_had_in_hand_is_blamed_after_many_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power that fails is nobody's fault; an image that hangs a machine is to have an end all the same."""
    note, boot = tmp_path / "in-hand", tmp_path / "boot_id"
    monkeypatch.setattr(notes, "BOOT_ID", boot)
    for number in range(CONVICTED_BY_REBOOTS):
        boot.write_text(f"boot {number}\n")
        dies_with(note, Path("a.jpg"), "decode")
        boot.write_text(f"boot {number + 1}\n")
        in_hand = InHand(note)
        suspect = in_hand.suspect("a.jpg")
        assert suspect == Suspect("decode", 0, number + 1)
        assert suspect.is_guilty is (number + 1 == CONVICTED_BY_REBOOTS)
        assert in_hand.may_try(suspect) is (number == 0)
        in_hand.settle(lasted=True)
        assert in_hand.may_try(suspect)
        in_hand.close()


def test_deaths_of_the_daemon_and_of_the_machine_are_told_apart_and_notes_of_before_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, boot = tmp_path / "in-hand", tmp_path / "boot_id"
    monkeypatch.setattr(notes, "BOOT_ID", boot)
    key = notes._key("a.jpg")  # noqa: SLF001
    note.write_bytes((b"decode 1 " + key).ljust(63) + b"\n")  # nobody noted the boot
    boot.write_text("one\n")
    assert InHand(note).suspect("a.jpg") == Suspect("decode", 1)
    dies_with(note, Path("a.jpg"), "invoke")
    assert InHand(note).suspect("a.jpg") == Suspect("invoke", 2)
    dies_with(note, Path("a.jpg"), "invoke")
    boot.write_text("two\n")
    assert InHand(note).suspect("a.jpg") == Suspect("invoke", 2, 1)
    boot.unlink()  # hidden: it may have been anything
    dies_with(note, Path("a.jpg"), "record")
    assert InHand(note).suspect("a.jpg") == Suspect("record", 3, 1)


@pytest.mark.parametrize(
    ("number", "is_its_own"),
    [(signal.SIGSEGV, True), (signal.SIGFPE, True), (signal.SIGILL, True), (signal.SIGABRT, False)],
)
def test_a_fault_of_the_process_s_own_is_told_from_a_kill_and_from_the_watchdog(
    tmp_path: Path, *, number: signal.Signals, is_its_own: bool
) -> None:
    code = f"""
import os
from dropsight.intake.starts import CrashNote
with CrashNote(__import__("pathlib").Path({str(tmp_path)!r})):
    os.kill(os.getpid(), {int(number)})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -number
    with CrashNote(tmp_path) as note:
        assert note.of_its_own is is_its_own
    assert not list(tmp_path.iterdir())
    with CrashNote(tmp_path) as note:
        assert not note.of_its_own


def test_two_crashes_of_the_process_s_own_blame_the_image_at_once_and_kills_in_between_do_not_count(
    tmp_path: Path,
) -> None:
    note = tmp_path / "in-hand"
    dies_with(note, Path("a.jpg"), "examine")
    for crashes, is_guilty in ((1, False), (2, True)):
        content = InHand(note)
        content.note(3, "a.jpg", "examine")
        left = note.read_bytes()
        content.close()
        note.write_bytes(left)
        after = InHand(note, crashed=True)
        suspect = after.suspect("a.jpg")
        assert suspect == Suspect("examine", crashes + 1, crashes=crashes)
        assert (suspect.is_guilty, after.may_try(suspect), suspect.is_untouchable) == (
            is_guilty,
            is_guilty,
            False,
        )


def test_what_ended_walks_is_passed_by_until_a_life_has_lasted_and_for_good_after_four_deaths(
    tmp_path: Path,
) -> None:
    """Somebody else may have ended the lives before, and it would lie there for ever."""
    note = tmp_path / "in-hand"
    for _ in range(CONVICTED - 1):
        dies_with(note, Path("a.jpg"), "find")
    for has_lasted, is_looked_at in ((False, False), (True, True), (True, False)):
        in_hand = InHand(note)
        in_hand.settle(lasted=has_lasted)
        troubles = Troubles(logging.getLogger())
        finding = WalkGuard(in_hand, troubles, Starts(tmp_path, troubles))
        assert finding.begin("a.jpg") is is_looked_at
        # And there it ends.


def test_a_damaged_list_of_what_was_in_hand_accuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "in-hand").write_bytes(b"\0\xff decode nonsense" * 5000)
    found = InHand(tmp_path / "in-hand")
    found.close()
    assert b"nonsense" not in (tmp_path / "in-hand").read_bytes()


def test_what_a_thread_of_a_former_life_has_in_hand_is_noted_nowhere(tmp_path: Path) -> None:
    """A worker that a share had held up wrote into the journal: its descriptor had the number by then."""
    former = InHand(tmp_path / "in-hand")
    descriptors = Path("/proc/self/fd").iterdir()
    number = next(int(each.name) for each in descriptors if each.resolve() == tmp_path / "in-hand")
    former.close()
    with (tmp_path / "journal.db").open("wb") as journal:
        assert journal.fileno() == number
        former.note(1, "/in/a.jpg", "decode")
        former.clear(1)
        former.note_all(2, ["/in/a.jpg"], "record")
        former.acquit_all()
    assert (tmp_path / "journal.db").read_bytes() == b""


def until_it_lives(house: House, crash: str, *, left: Sequence[str], trouble: str = "") -> int:
    """Start the daemon again and again, as systemd does; return how often it died before this was left.

    What is left for good is a trouble: an image that kills it in a moment is still there, too.
    """

    def is_at_rest() -> bool:
        try:
            troubles = house.status()["troubles"]
        except DropsightError:
            return False
        return names(house.waiting()) == left and (not trouble or trouble in troubles)

    for deaths in range(8):
        house.spawn(**{VARIABLE: crash})
        wait_until(lambda: dead(house) or is_at_rest())
        if not dead(house):
            return deaths
        assert house.ended() == -signal.SIGSEGV
    raise AssertionError(house.daemon_log())


def dead(house: House) -> bool:
    assert house.process
    return house.process.poll() is not None


def names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["in_examining", "in_recording"])
def test_an_image_that_crashes_the_process_at_whatever_stage_is_refused_at_the_third_start(
    tmp_path: Path, point: str
) -> None:
    """Of those in hand beside it, each is alone in hand the next time, and so beyond suspicion."""
    house = House(tmp_path, {"inference": {"workers": 2}})
    for name in ("1.jpg", "2.jpg", "bad.jpg", "4.jpg"):
        shutil.copy(PHOTOS[0], house.inbox / name)
    try:
        assert until_it_lives(house, f"{point}:bad.jpg", left=[]) == CONVICTED_BY_CRASHES
        assert house.stop() == 0
    finally:
        house.kill()
    by_name = {record["image_path"]: record for record in house.records()}
    assert len(house.records()) == len(by_name) == 4
    assert [name for name, record in by_name.items() if record["status"] == "failed"] == ["bad.jpg"]
    assert by_name["bad.jpg"]["error"]["code"] == "internal_error"
    assert "twice" in by_name["bad.jpg"]["error"]["message"]
    assert "Segmentation fault" in house.daemon_log()
    assert "most recent call first" in house.daemon_log()


@pytest.mark.slow
def test_a_picture_that_another_process_has_is_not_to_blame_for_crashes_of_ours(tmp_path: Path) -> None:
    """A HEIC that was in hand at two of them, whoever caused these, was refused for good."""
    house = House(tmp_path, {"inference": {"workers": 1}})
    house.under = HASTILY
    pixels = np.random.default_rng(3).integers(0, 256, (900, 900, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "good.jp2"), pixels)
    shutil.move(tmp_path / "good.jp2", house.inbox)
    try:
        for module in (b"dropsight.images.apart", b"\0classify\0"):
            house.spawn()
            other = house.stopped_decoder(module)
            assert house.stop(signal.SIGSEGV) == -signal.SIGSEGV
            os.kill(other, signal.SIGKILL)
        house.start()
        wait_until(lambda: not house.waiting())
        assert house.stop() == 0
    finally:
        house.kill()
    assert [record["status"] for record in house.records()] == ["ok"]


@pytest.mark.slow
def test_an_image_whose_filing_kills_the_process_stays_where_it_is(tmp_path: Path) -> None:
    """It is on record, and filed at each start before anything else: every start would end there."""
    house = House(tmp_path, {})
    for name in ("1.jpg", "2.jpg", "bad.jpg", "4.jpg"):
        shutil.copy(PHOTOS[0], house.inbox / name)
    try:
        assert until_it_lives(house, "in_filing_away:bad.jpg", left=["bad.jpg"], trouble="filing") == 2
        assert "filing it away crashed the process" in house.status()["troubles"]["filing"]
        wait_until(house.taking)
        assert house.stop() == 0
    finally:
        house.kill()
    assert len([record for record in house.records() if record["status"] == "ok"]) == 4


@pytest.mark.slow
def test_what_ends_the_process_before_anybody_has_it_in_hand_makes_no_crash_loop(tmp_path: Path) -> None:
    """After three short lives, whatever is looked at is noted: two more, and it is passed by."""
    house = House(tmp_path, {})
    for name in ("1.jpg", "2.jpg", "bad.jpg", "4.jpg", "5.jpg"):
        shutil.copy(PHOTOS[0], house.inbox / name)
    try:
        assert until_it_lives(house, "in_find:bad.jpg", left=["bad.jpg"], trouble="internal") == DEATHS + 2
        troubles = house.status()["troubles"]
        assert "bad.jpg is skipped" in troubles["internal"]
        assert "one at a time" in troubles["start"]
        assert house.stop() == 0
    finally:
        house.kill()
    assert [record["status"] for record in house.records()] == ["ok"] * 4


@pytest.mark.slow
def test_after_three_kills_from_outside_all_images_are_classified_one_by_one(tmp_path: Path) -> None:
    """Whoever kills the service, as a watchdog or a loss of power does, costs no image its place."""
    house = House(tmp_path, {"inference": {"workers": 2}})
    try:
        for _ in range(DEATHS):
            house.start()
            house.kill()
        for number in range(20):
            shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
        house.start()
        assert "one at a time" in house.status()["troubles"]["start"]
        house.until(lambda: len(house.records()) == 20 and not house.waiting())
        assert house.stop() == 0
        house.start()
        assert "start" not in house.status()["troubles"]
    finally:
        house.kill()
    assert {record["status"] for record in house.records()} == {"ok"}


def test_one_by_one_none_is_handed_out_before_the_one_before_it_is_done(tmp_path: Path) -> None:
    folder = DropFolder.open(Watch(path=tmp_path))
    (tmp_path / "starts").write_text(str(DEATHS))
    starts = Starts(tmp_path, Troubles(logging.getLogger()))
    backlog = Backlog(turns=Turns(InHand(tmp_path / "in-hand"), starts))
    handed: queue.SimpleQueue[Candidate | None] = queue.SimpleQueue()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        backlog.hint(folder, str(tmp_path / name), closed=True)
    takers = [threading.Thread(target=lambda: handed.put(backlog.take())) for _ in range(3)]
    for taker in takers:
        taker.start()
    for leave in (
        lambda candidate: backlog.finish(candidate, "ok"),
        lambda candidate: backlog.postpone(candidate, seconds=1000),
        backlog.drop,
    ):
        candidate = handed.get(timeout=60)
        assert candidate
        assert handed.empty()
        leave(candidate)
    for taker in takers:
        taker.join()


def test_a_suspect_waits_until_it_is_alone_and_others_until_it_is_done(tmp_path: Path) -> None:
    dies_with(tmp_path / "in-hand", tmp_path / "b.jpg", "record")
    folder = DropFolder.open(Watch(path=tmp_path))
    backlog = Backlog(turns=Turns(InHand(tmp_path / "in-hand")))
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        backlog.hint(folder, str(tmp_path / name), closed=True)
    first = backlog.take()
    assert first
    handed: queue.SimpleQueue[Candidate | None] = queue.SimpleQueue()
    taker = threading.Thread(target=lambda: handed.put(backlog.take()))
    taker.start()
    wait_until(lambda: backlog.depth() != 2)
    assert handed.empty()
    backlog.finish(first, "ok")
    second = handed.get(timeout=60)
    assert second
    assert second.path.endswith("b.jpg")
    taker.join()
    backlog.set_aside(second)
    assert backlog.take()


def test_whoever_truncates_what_lies_in_the_state_folder_ends_nothing(tmp_path: Path) -> None:
    """Mapped memory would turn it into the end of the process, by SIGBUS."""
    with running(tmp_path) as house:
        assert house.process
        shutil.copyfile(PHOTOS[0], house.inbox / "before.jpg")
        wait_until(lambda: len(house.records()) == 1)
        state = tmp_path / "state"
        for name in ("in-hand", "journal.db-shm"):
            (state / name).open("ab").close()
            os.truncate(state / name, 0)
        for number, photo in enumerate(PHOTOS):
            shutil.copyfile(photo, house.inbox / f"{number}.jpg")
        house.until(lambda: len(house.records()) == 1 + len(PHOTOS) and not house.waiting())
        mapped = Path(f"/proc/{house.process.pid}/maps").read_text()
        assert str(state) not in mapped
        assert house.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("copy", ["results.jsonl.1", "results.jsonl-20261130", "results-20261130.jsonl.gz"])
def test_lines_that_logrotate_copied_away_before_a_crash_are_not_written_again(
    tmp_path: Path, copy: str
) -> None:
    """It was not looked for where `dateext` has them, and came twice."""
    house = House(tmp_path, {})
    try:
        shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
        house.spawn(**{VARIABLE: "after_line"})
        assert house.ended() == -signal.SIGKILL
        log = tmp_path / "logs" / "results.jsonl"
        before = log.read_bytes()
        assert before.count(b"\n") == 1
        (log.with_name(copy)).write_bytes(gzip.compress(before) if copy.endswith(".gz") else before)
        os.truncate(log, 0)
        house.start()
        wait_until(lambda: not house.waiting())
        shutil.copyfile(PHOTOS[1], house.inbox / "b.jpg")
        wait_until(lambda: bool(house.records()))
        assert [record["image_path"] for record in house.records()] == ["b.jpg"]
    finally:
        house.kill()
