"""What is known, who has it, and that the counters always add up."""

import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from brokers import wait_until
from dropsight.config import Watch
from dropsight.service.backlog import LEFT_FOR_OTHERS, Backlog, Candidate
from dropsight.service.dropfolder import DropFolder

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


def test_a_full_backlog_refuses_hints_and_lets_scans_wait_for_room() -> None:
    backlog = Backlog(capacity=1)
    assert backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    assert not backlog.hint(FOLDER, "/in/b.jpg", closed=True)
    scan = threading.Thread(target=backlog.offer, args=(FOLDER, "/in/b.jpg"), kwargs={"since": 0.0})
    scan.start()
    candidate = backlog.take()
    assert candidate
    backlog.finish(candidate, "ok")
    scan.join(10)
    assert backlog.counters().queued == 1


def test_stop_ends_every_wait() -> None:
    backlog = Backlog(capacity=1)
    backlog.hint(FOLDER, "/in/a.jpg", closed=True)
    answers: list[object] = []
    scan = threading.Thread(target=lambda: answers.append(backlog.offer(FOLDER, "/in/b.jpg", since=0.0)))
    scan.start()
    backlog.stop()
    scan.join(10)
    assert answers == [False]
    assert backlog.take() is None
    wait_until(lambda: adds_up(backlog))


def test_a_scan_that_waits_for_room_is_woken_for_a_quarter_of_it_and_gets_less_all_the_same() -> None:
    backlog = Backlog(capacity=8)
    for number in range(8):
        assert backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
    scan = threading.Thread(target=backlog.offer, args=(FOLDER, "/in/late.jpg"), kwargs={"since": 0.0})
    scan.start()
    taken = [backlog.take(), backlog.take()]
    for candidate in taken:
        assert candidate
        backlog.finish(candidate, "ok")
    scan.join(10)
    assert backlog.counters().queued == 7
    assert backlog.hint(FOLDER, "/in/8.jpg", closed=True)
    again = threading.Thread(target=backlog.offer, args=(FOLDER, "/in/later.jpg"), kwargs={"since": 0.0})
    again.start()
    # The rest is held by its writers: no quarter of it will ever be free.
    while backlog.counters().queued > 1:
        held = backlog.take()
        assert held
        backlog.postpone(held, seconds=1000)
    last = backlog.take()
    assert last
    backlog.finish(last, "ok")
    again.join(10)
    assert not again.is_alive()
