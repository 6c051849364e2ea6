"""What is known, who has it, and that the counters always add up."""

import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import wait_until
from dropsight.config import Watch
from dropsight.intake.backlog import LEFT_FOR_OTHERS, Backlog
from dropsight.intake.candidate import Candidate, digest_of, digest_of_open
from dropsight.intake.clip_lane import MOST_CLIPS
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import Order
from dropsight.intake.turns import MOST_LARGE, RESTS

ORDERS: tuple[Order, ...] = ("oldest", "newest", "fair")
FOLDER = DropFolder.open(Watch(path=Path("/in")))
STEPS = st.lists(
    st.tuples(st.sampled_from(["hint", "take", "postpone", "done", "failed", "drop"]), st.integers(0, 4))
)


def adds_up(backlog: Backlog) -> bool:
    found = backlog.counters()
    together = found.queued + found.postponed + found.in_hand
    return (
        found.seen == found.done + found.failed + found.waiting + found.expired and found.waiting == together
    )


@given(STEPS)
def test_seen_is_done_and_failed_and_waiting_after_every_step(steps: list[tuple[str, int]]) -> None:
    backlog, in_hand = Backlog(capacity=3), list[Candidate]()
    for step, number in steps:
        if step == "hint":
            backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
        elif step == "take" and backlog.counters().queued:
            candidate = backlog.take()
            assert candidate
            in_hand.append(candidate)
        elif step == "postpone" and in_hand:
            backlog.postpone(in_hand.pop(), seconds=1000)
        elif step == "drop" and in_hand:
            backlog.drop(in_hand.pop())
        elif step in {"done", "failed"} and in_hand:
            backlog.finish(in_hand.pop(), "ok" if step == "done" else "failed")
        assert adds_up(backlog)


def test_a_path_is_handed_out_once_however_many_hints_there_are() -> None:
    backlog = Backlog()
    for _ in range(3):
        assert backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    backlog.take()
    assert backlog.counters().queued == 0


def test_a_group_is_taken_in_order_and_leaves_enough_for_others() -> None:
    backlog = Backlog()
    for number in range(LEFT_FOR_OTHERS + 5):
        backlog.offer(FOLDER, f"/in/{number}.jpg", since=float(number))
    taken = [[candidate.path for candidate in backlog.take_group(4)] for _ in range(3)]
    assert taken == [[f"/in/{number}.jpg" for number in group] for group in (range(4), [4], [5])]
    assert backlog.counters().in_hand == 6
    backlog.stop()
    assert backlog.take_group(4) == []


def test_large_images_take_turns_and_whoever_meets_a_second_one_takes_another() -> None:
    backlog = Backlog()
    for number in range(4):
        backlog.offer(FOLDER, f"/in/{number}.jpg", since=float(number))
    first, second, third = (backlog.take() for _ in range(3))
    assert first
    assert second
    assert third
    assert backlog.may_decode_large(first)
    assert not backlog.may_decode_large(third)
    assert not backlog.may_decode_large(second)
    assert adds_up(backlog)
    assert backlog.counters().queued == 3
    fourth = backlog.take()
    assert fourth
    assert fourth.path == "/in/3.jpg"
    backlog.decoded(first)
    assert backlog.take() is second  # the oldest of them
    assert backlog.may_decode_large(second)
    backlog.drop(second)  # gone before it was decoded
    assert backlog.take() is third
    assert backlog.counters().in_hand == 3
    assert adds_up(backlog)


@pytest.mark.parametrize("order", ORDERS)
def test_a_flood_of_older_images_in_one_inbox_keeps_no_other_waiting_whatever_the_order(order: Order) -> None:
    """With `oldest` it was worked off first, for minutes; what had no place in the queue waited longer."""
    backlog = Backlog(capacity=64, order=order)
    other = DropFolder.open(Watch(path=Path("/other")))
    for number in range(64):
        assert backlog.hint(FOLDER, f"/in/cam/{number}.jpg", closed=True)
    late = [f"/other/cam/{number}.jpg" for number in range(8)]
    for path in late:
        backlog.hint(other, path, closed=True)
    taken = [candidate.path for _ in range(17) if (candidate := backlog.take())]
    assert set(late) <= set(taken)
    assert adds_up(backlog)


def test_a_large_image_for_which_the_line_has_no_place_holds_no_worker() -> None:
    """It used to wait for its turn with one: many of them, and no image was taken any more."""
    backlog = Backlog()
    for number in range(MOST_LARGE + 3):
        backlog.offer(FOLDER, f"/in/{number}.jpg", since=float(number))
    first, *others, last = (backlog.take() for _ in range(MOST_LARGE + 2))
    assert first
    assert last
    assert backlog.may_decode_large(first)
    assert not any(backlog.may_decode_large(each) for each in others if each)
    assert not backlog.may_decode_large(last)
    assert backlog.counters().postponed == 1
    assert adds_up(backlog)
    small = backlog.take()
    assert small
    assert small.path == f"/in/{MOST_LARGE + 2}.jpg"
    backlog.decoded(first)
    assert backlog.take() is others[0]


@pytest.mark.parametrize("order", ORDERS)
def test_whoever_fills_the_line_of_large_ones_keeps_no_other_inbox_out_of_it(order: Order) -> None:
    """Of 10 slow ones of another inbox, two were put off again and again, for more than 80 s."""
    backlog = Backlog(order=order)
    other = DropFolder.open(Watch(path=Path("/other")))
    for number in range(MOST_LARGE + 10):
        backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
    held, *others = (backlog.take() for _ in range(MOST_LARGE + 10))
    assert held
    assert backlog.may_decode_large(held)
    assert not any(backlog.may_decode_large(each) for each in others if each)
    backlog.hint(other, "/other/1.jpg", closed=True)
    newcomer = backlog.take()
    assert newcomer
    assert not backlog.may_decode_large(newcomer)
    assert backlog.counters().postponed == 10  # nine that had no place, and one that had to go
    assert adds_up(backlog)
    backlog.finish(held, "ok")
    taken = [backlog.take()]
    for _ in range(2):
        last = taken[-1]
        assert last
        backlog.finish(last, "ok")
        taken.append(backlog.take())
    assert newcomer in taken
    assert adds_up(backlog)


@pytest.mark.parametrize(("named", "in_truth"), [("jpg", "mp4"), ("mp4", "jpg")])
def test_however_many_files_bear_names_of_the_other_kind_no_lane_has_more_than_its_places(
    named: str, in_truth: str
) -> None:
    """Somebody with 30,000 clips named .jpg had 12,000 of them held in memory, before all clips of others."""
    clips = DropFolder.open(Watch(path=Path("/in")), clips=["*.mp4"])
    backlog = Backlog(capacity=8)
    for number in range(3 * MOST_CLIPS):
        backlog.hint(clips, f"/in/evil/{number}.{named}", closed=True)
        candidate = backlog.take() if named == "jpg" else backlog.take_clip()
        assert candidate
        backlog.other_lane(candidate)
        assert adds_up(backlog)
    most = MOST_CLIPS if in_truth == "mp4" else backlog.capacity
    assert backlog.counters().waiting == most
    for _ in range(most):
        candidate = backlog.take_clip() if in_truth == "mp4" else backlog.take()
        assert candidate
        backlog.finish(candidate, "ok")
    assert backlog.overflow.due.is_set()  # those that had no place are looked for


def test_a_sign_of_life_wakes_a_postponed_path() -> None:
    backlog = Backlog()
    backlog.hint(FOLDER, "/in/a.jpg", closed=False)
    candidate = backlog.take()
    assert candidate
    backlog.postpone(candidate, seconds=1000)
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    assert backlog.take() is candidate
    assert candidate.closed


def test_a_hint_for_a_path_in_hand_is_looked_at_afterwards_if_the_file_is_there(tmp_path: Path) -> None:
    backlog, path = Backlog(), tmp_path / "a.jpg"
    path.touch()
    backlog.hint(FOLDER, str(path), closed=True)
    candidate = backlog.take()
    assert candidate
    backlog.hint(FOLDER, str(path), closed=True)
    backlog.finish(candidate, "ok")
    assert backlog.counters().queued == 1


def wait_and_offer(backlog: Backlog, path: str) -> None:
    while not (backlog.offer(FOLDER, path, since=0.0) or backlog.stopped):
        backlog.wait_for_room()


def test_another_image_of_one_name_that_only_a_walk_finds_is_looked_at_afterwards(tmp_path: Path) -> None:
    """A disk was mounted while the last image of the one before was filed: 60 s, twice of 1,200 times."""
    backlog, path = Backlog(), tmp_path / "a.jpg"
    path.write_bytes(b"of another disk")
    assert backlog.hint(FOLDER, str(path), closed=True)
    before = backlog.take()
    assert before
    assert backlog.offer(FOLDER, str(path), since=0.0)
    backlog.finish(before, "ok")
    assert backlog.counters().queued == 1
    other = backlog.take()
    assert other
    assert backlog.offer(FOLDER, str(path), since=0.0)
    path.unlink()
    backlog.finish(other, "ok")
    assert backlog.counters().waiting == 0


def test_a_full_backlog_refuses_hints_and_lets_scans_wait_for_room() -> None:
    backlog = Backlog(capacity=1)
    assert backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    assert not backlog.hint(FOLDER, "/in/b.jpg", closed=True)
    assert backlog.overflow.called() == {FOLDER}
    scan = threading.Thread(target=wait_and_offer, args=(backlog, "/in/b.jpg"))
    scan.start()
    candidate = backlog.take()
    assert candidate
    backlog.finish(candidate, "ok")
    scan.join(60)
    assert backlog.counters().queued == 1


def test_stop_ends_every_wait() -> None:
    backlog = Backlog(capacity=1)
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    scan = threading.Thread(target=wait_and_offer, args=(backlog, "/in/b.jpg"))
    scan.start()
    backlog.stop()
    scan.join(60)
    assert not scan.is_alive()
    assert backlog.take() is None
    wait_until(lambda: adds_up(backlog))


def test_what_a_walk_finds_has_a_place_beside_another_inbox_that_has_filled_the_queue() -> None:
    backlog = Backlog(capacity=8)
    for number in range(8):
        assert backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
    other = DropFolder.open(Watch(path=Path("/other")))
    assert backlog.offer(other, "/other/1.jpg", since=0.0)
    assert backlog.overflow.called() == {FOLDER}
    assert not backlog.offer(FOLDER, "/in/8.jpg", since=0.0)
    assert backlog.counters().queued == 8
    assert adds_up(backlog)


def test_a_scan_that_waits_for_room_is_woken_for_a_quarter_of_it_and_gets_less_all_the_same() -> None:
    backlog = Backlog(capacity=8)
    for number in range(8):
        assert backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
    scan = threading.Thread(target=wait_and_offer, args=(backlog, "/in/late.jpg"))
    scan.start()
    taken = [backlog.take(), backlog.take()]
    for candidate in taken:
        assert candidate
        backlog.finish(candidate, "ok")
    scan.join(60)
    assert backlog.counters().queued == 7
    assert backlog.hint(FOLDER, "/in/8.jpg", closed=True)
    again = threading.Thread(target=wait_and_offer, args=(backlog, "/in/later.jpg"))
    again.start()
    # The rest is held by its writers: no quarter of it will ever be free.
    while backlog.counters().queued > 1:
        held = backlog.take()
        assert held
        backlog.postpone(held, seconds=1000)
    last = backlog.take()
    assert last
    backlog.finish(last, "ok")
    again.join(60)
    assert not again.is_alive()


def test_whoever_asks_how_much_waits_may_ask_while_cameras_come_and_go() -> None:
    """`fair` has a line a camera, which comes with its first image and goes with its last."""
    backlog, switching = Backlog(order="fair"), sys.getswitchinterval()
    over = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not over.is_set():
            backlog.hint(FOLDER, f"/in/{number % 100}/{number}.jpg", closed=True)
            number += 1
            if backlog.counters().queued > 50 and (candidate := backlog.take()):
                backlog.finish(candidate, "ok")

    other = threading.Thread(target=come_and_go)
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        for _ in range(5000):
            assert backlog.depth() <= backlog.capacity
    finally:
        sys.setswitchinterval(switching)
        over.set()
        other.join()


def test_a_slow_disk_keeps_nobody_waiting_who_asks_the_backlog() -> None:
    answers: list[bool] = []

    def look(_: str) -> bool:
        asking = threading.Thread(target=lambda: answers.append(adds_up(backlog)))
        asking.start()
        asking.join(60)
        return bool(answers)

    backlog = Backlog(exists=look)
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    candidate = backlog.take()
    assert candidate
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    backlog.finish(candidate, "ok")
    assert answers == [True]
    assert backlog.counters().queued == 1


def test_what_is_heard_of_a_path_while_its_file_is_looked_for_is_not_lost() -> None:
    def vanish_and_come_back(path: str) -> bool:
        backlog.hint(FOLDER, path, closed=True)
        return False

    backlog = Backlog(exists=vanish_and_come_back)
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    candidate = backlog.take()
    assert candidate
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    backlog.finish(candidate, "ok")
    assert backlog.counters().queued == 1


def put(backlog: Backlog, camera: str, count: int) -> list[str]:
    paths = [f"/in/{camera}/{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        assert backlog.hint(FOLDER, path, closed=True), number
    return paths


def postpone_all(backlog: Backlog) -> None:
    while backlog.counters().queued:
        candidate = backlog.take()
        assert candidate
        backlog.postpone(candidate, seconds=1000)


def test_what_is_postponed_leaves_its_room_to_others_and_a_camera_has_a_quarter_of_the_places() -> None:
    backlog = Backlog(capacity=8)
    for camera in ("flood", "flood too"):
        put(backlog, camera, 8)
        postpone_all(backlog)
        assert backlog.room() == 8
        assert adds_up(backlog)
    assert backlog.counters().postponed == 4
    assert backlog.overflow.due.is_set()
    assert backlog.crowded() == [
        f"{camera}: 2 files are held open by their writers, still change, are large, or wait for a sidecar"
        for camera in ("flood", "flood too")
    ]
    assert backlog.overflow.take() == {FOLDER: True}
    (path,) = put(backlog, "other", 1)
    candidate = backlog.take()
    assert candidate
    assert candidate.path == path


def test_what_has_no_place_among_the_postponed_is_taken_anew_when_it_is_heard_of() -> None:
    backlog = Backlog(capacity=4)
    paths = put(backlog, "cam", 3)
    postpone_all(backlog)
    assert backlog.counters().waiting == 1
    assert backlog.hint(FOLDER, paths[2], closed=True)
    candidate = backlog.take()
    assert candidate
    assert candidate.path == paths[2]
    backlog.hint(FOLDER, paths[0], closed=True)
    first = backlog.take()
    assert first
    backlog.finish(first, "ok")
    assert backlog.crowded() == []
    backlog.postpone(candidate, seconds=1000)
    assert backlog.counters().postponed == 1


def test_what_has_no_memory_though_it_is_alone_keeps_others_waiting_for_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 HEIC that never fit one was alone half of the time: another inbox's images came ever later."""
    now, alone = 0.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    backlog = Backlog()
    hostile, other = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("hostile", "other"))
    for number in range(600):
        for large in range(300):  # as walks find what has no place among the postponed
            backlog.hint(hostile, f"{hostile.root}/cam/{large}.heic", closed=True)
        backlog.hint(other, f"{other.root}/cam/{number}.jpg", closed=True)
        while (candidate := backlog.take()) and candidate.folder is hostile:
            now += 1
            alone += backlog.turns.closed
            backlog.postpone(candidate, seconds=5, alone=True)
        assert candidate
        now += 1
        backlog.finish(candidate, "ok")
    assert 0 < alone <= now / RESTS


def test_another_inbox_s_image_finds_a_place_though_those_that_were_put_off_have_come_back(
    tmp_path: Path,
) -> None:
    """One of the hostile ones went for it, and it was refused all the same, as there were still too many."""
    backlog = Backlog(capacity=4, order="fair")
    hostile, other = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("hostile", "other"))
    for number in range(4):
        backlog.hint(hostile, f"{hostile.root}/{number}/a.jpg", closed=True)
    for _ in range(4):
        candidate = backlog.take()
        assert candidate
        backlog.postpone(candidate, seconds=1000)
    for number in range(4, 8):
        backlog.hint(hostile, f"{hostile.root}/{number}/a.jpg", closed=True)
    for number in range(4):  # each comes back at a sign of life, as when it is due
        backlog.hint(hostile, f"{hostile.root}/{number}/a.jpg", closed=True)
    assert backlog.depth() == 8
    backlog.hint(other, f"{other.root}/cam/a.jpg", closed=True)
    assert backlog.depth() == 8
    taken = [backlog.take() for _ in range(2)]
    assert f"{other.root}/cam/a.jpg" in [each.path for each in taken if each]


def test_a_file_that_was_not_ready_at_its_turn_goes_behind_those_that_wait() -> None:
    """One that is touched again and again would always be the oldest."""
    backlog = Backlog()
    backlog.offer(FOLDER, "/in/touched.jpg", since=0.0)
    touched = backlog.take()
    assert touched
    backlog.postpone(touched, seconds=1000)
    backlog.offer(FOLDER, "/in/later.jpg", since=1.0)
    backlog.hint(FOLDER, "/in/touched.jpg", closed=True)
    assert [candidate.path for candidate in (backlog.take(), backlog.take()) if candidate] == [
        "/in/later.jpg",
        "/in/touched.jpg",
    ]


def test_what_is_on_record_and_cannot_be_filed_leaves_its_room_to_others() -> None:
    backlog = Backlog(capacity=4)
    put(backlog, "closed", 4)
    candidates = [backlog.take() for _ in range(4)]
    for candidate in candidates:
        assert candidate
        backlog.set_aside(candidate)
    assert (backlog.room(), backlog.aside_of(FOLDER, "closed")) == (4, 4)
    for candidate in candidates:
        assert candidate
        backlog.finish(candidate, "ok")
    assert backlog.aside_of(FOLDER, "closed") == 0
    assert adds_up(backlog)


def test_the_digest_of_an_open_file_gets_on_piece_by_piece_and_has_an_end_though_its_writer_goes_on(
    tmp_path: Path,
) -> None:
    """A clip of gigabytes on a slow disk was taken for a hanging daemon."""
    path, content = tmp_path / "a.mp4", bytes(range(256)) * 10_000
    path.write_bytes(content)
    pieces: list[bytes] = []

    def write_on() -> None:
        with path.open("ab") as file:
            file.write(content[: 2**21])
        pieces.append(b"")

    with path.open("rb") as file:
        assert digest_of_open(file.fileno(), gets_on=write_on) == digest_of(content)
    assert len(pieces) == 3
