"""What follows the journal: a place of its own each, all of it in order, at least once."""

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.journal.failure_share import Flood
from dropsight.journal.marks import History, Mark
from dropsight.journal.pruning import Pruner
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal, Row
from dropsight.status.troubles import Troubles
from receivers import Receiver, Turn


def filled(path: Path, records: int, *, filed: int | None = None) -> Journal:
    store = Journal(path)
    rows = [Row(f"{number:032}", b"/in/x.jpg", 1, number, "front", "ok", b"{}") for number in range(records)]
    seqs = [seq for seq in store.add(rows) if seq]
    store.settle(totals=[], filed=seqs[:filed], cursors={})
    return store


def pruned(store: Journal, *marks: Mark, max_records: int = 10) -> list[int]:
    """Prune a journal of 1,000 records once, and tell the first that each follower may still get."""
    reader = JournalReader(store.path)
    pruner = Pruner(store, reader, History(max_records, marks), Flood(Troubles(logging.getLogger())))
    pruner.prune_if_due(newest=1000, settled=1000)
    firsts = [reader.oldest(after=mark.seq) for mark in marks]
    reader.close()
    store.close()
    return firsts


def mark(name: str, *, at: int, bound: int) -> Mark:
    return Mark(name, bound, who=name, bound=f"{name}.max_backlog", seq=at)


def test_what_is_filed_only_after_a_pruning_goes_though_no_more_records_come(tmp_path: Path) -> None:
    """As the last of a flood, which stayed beyond the bound until somebody dropped as many again."""
    store = filled(tmp_path / "journal.db", 1000, filed=900)
    reader = JournalReader(store.path)
    pruner = Pruner(store, reader, History(10), Flood(Troubles(logging.getLogger())))
    pruner.prune_if_due(newest=1000, settled=1000)
    assert reader.oldest(after=0) == 891
    store.settle(totals=[], filed=range(901, 1001), cursors={})
    pruner.note_filed(100)
    pruner.prune_if_due(newest=1000, settled=1000)
    assert reader.oldest(after=0) == 991
    reader.close()
    store.close()


def test_records_are_kept_for_the_slowest_follower_up_to_its_own_bound(tmp_path: Path) -> None:
    quick, slow = mark("quick", at=990, bound=50), mark("slow", at=100, bound=300)
    assert pruned(filled(tmp_path / "journal.db", 1000), quick, slow) == [991, 701]
    assert (quick.dropped, slow.dropped) == (0, 600)
    assert (quick.outstanding(1000), slow.outstanding(1000)) == (10, 300)


def test_what_is_kept_for_one_is_not_lost_to_another_with_a_lower_bound(tmp_path: Path) -> None:
    """What was thrown away is counted for each that did not have it, and for no other."""
    patient, hasty = mark("patient", at=500, bound=1000), mark("hasty", at=200, bound=50)
    assert pruned(filled(tmp_path / "journal.db", 1000), patient, hasty) == [501, 501]
    assert (patient.dropped, hasty.dropped) == (0, 300)


def test_two_followers_at_one_place_lose_the_same(tmp_path: Path) -> None:
    marks = mark("a", at=100, bound=50), mark("b", at=100, bound=80)
    assert pruned(filled(tmp_path / "journal.db", 1000), *marks) == [921, 921]
    assert [each.dropped for each in marks] == [820, 820]


def test_what_is_on_its_way_to_a_follower_is_not_dropped_and_so_not_counted_twice(tmp_path: Path) -> None:
    """It was delivered all the same: it counted as both."""
    slow = mark("slow", at=100, bound=300)
    other = mark("other", at=105, bound=300)
    slow.taken, other.taken = 140, 164
    store = filled(tmp_path / "journal.db", 1000)
    reader = JournalReader(store.path)
    pruner = Pruner(store, reader, History(10, (slow, other)), Flood(Troubles(logging.getLogger())))
    pruner.prune_if_due(newest=1000, settled=1000)
    assert [each.seq for each in reader.pending(100, 65)] == [*range(101, 165), 701]
    assert [(each.dropped, each.outstanding(1000)) for each in (slow, other)] == [(536, 300)] * 2
    reader.close()
    store.close()


def test_a_follower_that_is_new_begins_with_what_comes_and_one_that_is_gone_is_forgotten(
    tmp_path: Path,
) -> None:
    store = filled(tmp_path / "journal.db", 7)
    store.follow(["old"])
    store.add([Row("x", b"/in/x.jpg", 1, 1, "front", "ok", b"{}")])
    store.settle(totals=[], filed=[], cursors={"log": 3})
    store.follow(["old", "new"])
    assert (store.cursor("old"), store.cursor("new"), store.cursor("log")) == (7, 8, 3)
    assert store.forget_others(["new"]) == {"old": 1}
    assert (store.cursor("old"), store.cursor("new"), store.cursor("log")) == (0, 8, 3)
    store.close()


def waiting_for_hub(house: House) -> bool:
    followers = house.status()["stats"]["followers"]
    return "webhook:hub" in followers and followers["webhook:hub"]["waiting"] == 1


@pytest.mark.slow
def test_a_config_that_is_refused_takes_nothing_from_a_receiver_and_one_without_it_says_what(
    tmp_path: Path,
) -> None:
    """As the first was tried, the receiver had lost its place in the journal, and 20 of 20 records."""
    with Receiver() as receiver:
        receiver.judge = lambda _: Turn(503)
        hub = {"url": receiver.url, "name": "hub"}
        with running(tmp_path, webhooks=[hub]) as house:
            shutil.copy(PHOTOS[0], house.inbox / "a.jpg")
            wait_until(lambda: waiting_for_hub(house))
            reload(house, webhooks=[{**hub, "name": "other", "headers_file": str(tmp_path / "none")}])
            wait_until(lambda: "config not reloaded" in house.daemon_log())
            wait_until(lambda: waiting_for_hub(house))
            reload(house, webhooks=[])
            lost = "webhook:hub is no longer in the config: it does not get 1 record that waits for it"
            wait_until(lambda: lost in house.daemon_log())


def reload(house: House, **settings: object) -> None:
    house.configure(settings)
    assert house.process
    os.kill(house.process.pid, signal.SIGHUP)
