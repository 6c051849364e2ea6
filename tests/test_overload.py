"""When images come faster than they can be classified: who is next, who is too old, what steps aside."""

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Watch
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock, is_set_by_timesyncd
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import Lineup, LineupByAge, Order, first, lineup

FOLDER = DropFolder.open(Watch(path=Path("/in")))
DAY = 86_400.0


@dataclass(eq=False)
class Image:
    camera: str
    since: float
    folder: str = "inbox"


IMAGES = st.lists(st.builds(Image, st.sampled_from("abc"), st.floats(0, 1e6)), max_size=40)


@given(IMAGES)
def test_a_lineup_by_age_hands_out_the_oldest_or_the_newest_first(images: list[Image]) -> None:
    for newest in (False, True):
        line: LineupByAge[Image] = LineupByAge(newest=newest)
        for image in images:
            line.push(image)
        taken = [line.pop().since for _ in images]
        assert taken == sorted(taken, reverse=newest)


@given(IMAGES)
def test_fair_cameras_take_turns_each_with_its_oldest(images: list[Image]) -> None:
    line: Lineup[Image] = lineup("fair")
    for image in images:
        line.push(image)
    taken = [line.pop() for _ in images]
    for camera in "abc":
        mine = [image.since for image in taken if image.camera == camera]
        assert mine == sorted(mine)
    waiting = {camera: sum(image.camera == camera for image in images) for camera in "abc"}
    fewest = min((count for count in waiting.values() if count), default=0)
    cameras = sum(1 for count in waiting.values() if count)
    for turn in range(fewest):
        assert len({image.camera for image in taken[turn * cameras : (turn + 1) * cameras]}) == cameras


def test_any_number_of_made_up_cameras_have_no_more_turns_than_another_inbox() -> None:
    line: Lineup[Image] = lineup("fair")
    for number in range(1000):
        line.push(Image(f"made-up-{number}", 0.0))
    other = [Image("front", 1.0, "another"), Image("back", 2.0, "another")]
    for image in other:
        assert line.last(image) is not None  # there is always one to make room for it
        line.push(image)
    assert [image for image in (line.pop() for _ in range(4)) if image.folder == "another"] == other


@given(st.lists(st.builds(Image, st.sampled_from("abc"), st.floats(0, 1e6), st.sampled_from("xy"))))
def test_who_makes_room_is_of_the_line_with_the_most_and_can_be_taken_out(images: list[Image]) -> None:
    line: Lineup[Image] = lineup("fair")
    for image in images:
        line.push(image)
    left = list(images)
    while last := line.last(Image("d", 0.0, "z")):
        inboxes = Counter(image.folder for image in left)
        assert inboxes[last.folder] == max(inboxes.values())
        line.remove(last)
        left.remove(last)
        assert len(line) == len(left)
    assert {id(line.pop()) for _ in left} == set(map(id, left))


@given(IMAGES, st.sampled_from(["oldest", "newest"]), st.integers(1, 10))
def test_a_bounded_walk_finds_the_first_of_all(images: list[Image], order: Order, limit: int) -> None:
    found = list(
        first(((each.since, each) for each in images), order, limit=limit, camera_of=lambda each: each.camera)
    )
    ages = sorted((image.since for image in images), reverse=order == "newest")
    assert [since for since, _ in found] == ages[:limit]


def test_a_fair_walk_has_room_for_every_camera_beside_one_that_floods() -> None:
    flood = [(float(number), Image("flood", float(number))) for number in range(1000)]
    rare = [(5000.0, Image("rare", 5000.0))]
    found = list(first([*flood, *rare], "fair", limit=10, camera_of=lambda each: each.camera))
    assert "rare" in {image.camera for _, image in found[:2]}


def test_newest_first_takes_in_a_new_image_beside_a_full_queue_and_counts_still_add_up() -> None:
    backlog = Backlog(capacity=2, order="newest")
    for number in range(3):
        told = backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
        assert told is (number < 2)  # a scan is due for what was put out
    assert backlog.counters().seen == 2
    taken = [backlog.take(), backlog.take()]
    assert [candidate.path for candidate in taken if candidate] == ["/in/2.jpg", "/in/1.jpg"]


def test_oldest_first_leaves_a_new_image_outside_a_full_queue() -> None:
    backlog = Backlog(capacity=2)
    for number in range(3):
        backlog.hint(FOLDER, f"/in/{number}.jpg", closed=True)
    taken = backlog.take()
    assert taken
    assert taken.path == "/in/0.jpg"


def paused_with(house: House, camera: str, count: int) -> None:
    for number in range(count):
        target = house.inbox / camera / f"{number:02}.jpg"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(PHOTOS[number % len(PHOTOS)], target)
    wait_until(lambda: house.counters()["waiting"] >= count)


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_images_are_taken_in_the_order_of_the_config(tmp_path: Path, order: Order) -> None:
    # A new folder would be walked beside its events, whose images are a few milliseconds younger.
    (tmp_path / "inbox" / "cam").mkdir(parents=True)
    with running(tmp_path, queue={"order": order}, inference={"workers": 1}) as house:
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: len(house.records()) == 1)  # and the first scan is over
        assert house.ask("pause")["ok"]
        paused_with(house, "cam", 8)
        assert house.status()["paused"]
        assert house.ask("resume")["ok"]
        wait_until(lambda: len(house.records()) == 9)
        taken = [record["image_path"] for record in house.records()[1:]]
        # Several decode workers, so neighbours may overtake each other.
        oldest_half = {f"cam/{number:02}.jpg" for number in range(4)}
        first_half = set(taken[:4]) if order == "oldest" else set(taken[4:])
        assert len(first_half & oldest_half) >= 3


@pytest.mark.broker
def test_images_beyond_max_age_are_filed_logged_counted_and_published_as_expired(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        house = House(tmp_path, {"queue": {"max_age": 0.0001}, "mqtt": {"url": broker.url}})
        shutil.copy(PHOTOS[0], house.inbox)
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        wait_until(lambda: len(subscriber.topics("/expired/default")) == 1)
    (record,) = house.records()
    assert record["status"] == "expired"
    assert record["age_seconds"] > record["max_age_seconds"] == 0.0001
    assert (house.failed / PHOTOS[0].name).exists()
    assert (house.failed / f"{PHOTOS[0].name}.reason.json").exists()


def test_an_image_is_as_old_as_its_last_byte(tmp_path: Path) -> None:
    """What took longer than max_age to come, as a clip written in place, expired once it was whole."""
    image = Path(shutil.copy(PHOTOS[0], tmp_path))
    begun = time.monotonic() - 3600
    folder = DropFolder.open(Watch(path=tmp_path))
    candidate = Candidate(folder, str(image), closed=True, ready_at=begun, since=begun)
    assert candidate.came_at(image.stat(), lambda stamp: time.time() - stamp) > begun + 1800


def test_expired_images_are_counted_apart(tmp_path: Path) -> None:
    with running(tmp_path, queue={"max_age": 0.0001}) as house:
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.counters()["expired"] == 1)
        assert house.finished() == 0


@pytest.mark.slow
def test_test_time_augmentation_steps_aside_under_pressure_and_the_record_says_so(tmp_path: Path) -> None:
    tta = ["original", "horizontal_flip"]
    with running(tmp_path, inference={"tta": tta}) as house:
        house.ask("pause")
        paused_with(house, "cam", 60)
        house.ask("resume")
        house.until(lambda: house.finished() == 60)
        views = {(record["tta"], record.get("tta_stepped_aside")) for record in house.records()}
        assert views == {(1, True), (2, None)}


@pytest.mark.slow
def test_a_single_run_keeps_all_views_however_much_waits(tmp_path: Path) -> None:
    house = House(tmp_path, {"inference": {"tta": ["original", "horizontal_flip"]}})
    for number in range(50):
        shutil.copyfile(PHOTOS[0], house.inbox / f"{number}.jpg")
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert {record["tta"] for record in house.records()} == {2}


class Hands:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self, state: Path | None = None, *, wall: float = 2e9) -> None:
        self.wall, self.monotonic, self._state = wall, 500.0, state
        self.network_at, self.boots = 0.0, 0
        self.start(boot="first")

    def start(self, *, boot: str) -> None:
        """Begin another life, of the machine too where the boot is another."""
        kept = self._state / "clock.json" if self._state else None
        self.clock = Clock(
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
            kept=kept,
            boot=boot,
            is_set=lambda since: self.network_at >= since,
        )

    def reboot(self, *, after: float) -> None:
        """Switch it off, and on again after so much time by its clock."""
        self.boots += 1
        self.wall, self.monotonic = self.wall + after, 0.0
        self.start(boot=f"boot {self.boots}")

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds
        self.clock.look()

    def set_by(self, seconds: float, *, network: bool = False) -> None:
        self.wall += seconds
        if network:
            self.network_at = self.wall
        self.clock.look()

    def boot_in_1970(self) -> float:
        """Boot without a clock; return what time it is."""
        now, self.wall, self.monotonic = self.wall, 10.0, 10.0
        self.boots += 1
        self.start(boot=f"boot {self.boots}")
        return now


@given(st.floats(-400 * DAY, 400 * DAY), st.floats(0, DAY), st.floats(0, DAY))
def test_a_file_is_as_old_as_it_is_whatever_the_wall_clock_does(
    jump: float, before: float, after: float
) -> None:
    hands = Hands()
    hands.pass_by(10.0)
    stamp = hands.wall
    hands.pass_by(before)
    hands.set_by(jump)
    hands.pass_by(after)
    age = hands.clock.age_seconds(stamp)
    # Where the new time runs over the old one's stamps again, a file may look younger, never older.
    assert -1e-3 <= age <= before + after + 5
    if jump > before + 20:
        assert age == pytest.approx(before + after, abs=5)


def test_a_file_from_an_earlier_life_keeps_the_age_it_had_at_the_start() -> None:
    hands = Hands()
    stamp = hands.wall - 3 * DAY
    hands.set_by(30 * DAY)
    hands.pass_by(60.0)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3 * DAY + 60)


@pytest.mark.parametrize("boot", ["first", "second"])
def test_a_file_of_before_a_jump_is_as_old_in_the_next_life(tmp_path: Path, boot: str) -> None:
    """Of the process, or of the whole machine; the machine's own clock of the second one starts anew."""
    hands = Hands(tmp_path)
    hands.pass_by(60.0)
    stamp = hands.wall
    hands.pass_by(60.0)
    hands.set_by(30 * DAY)
    hands.pass_by(3_600.0)
    if boot == "second":
        hands.monotonic = 10.0
    hands.start(boot=boot)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)
    hands.set_by(-5 * DAY)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)


def test_a_jump_while_the_daemon_was_down_is_seen_at_its_start(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    stamp = hands.wall + 10.0
    hands.pass_by(60.0)
    hands.wall += 30 * DAY
    hands.start(boot="first")
    assert hands.clock.age_seconds(stamp) == pytest.approx(50, abs=5)


def test_of_a_time_before_the_release_nothing_is_known(tmp_path: Path) -> None:
    """A life without a clock in which none was ever set."""
    hands = Hands(tmp_path, wall=60.0)
    stamp = hands.wall
    hands.pass_by(DAY)
    assert hands.clock.age_seconds(stamp) == pytest.approx(DAY)
    hands.wall, hands.monotonic = 2e9, 10.0
    hands.start(boot="second")
    hands.pass_by(60.0)
    assert hands.clock.age_seconds(stamp) == pytest.approx(60)


def test_a_clock_far_ahead_after_a_boot_makes_nothing_old_until_the_network_has_set_it(
    tmp_path: Path,
) -> None:
    """The battery of its clock was empty: all that was filed was deleted within seconds of the start."""
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.pass_by(3_600.0)
    hands.reboot(after=1_500 * DAY)
    assert hands.clock.doubt
    hands.pass_by(60.0)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)
    hands.start(boot="boot 1")
    assert hands.clock.doubt
    hands.set_by(-1_500 * DAY)
    assert not hands.clock.doubt
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)


@pytest.mark.parametrize("confirmed", ["network", "day"])
def test_after_months_without_power_the_time_counts_once_the_clock_is_confirmed(
    tmp_path: Path, confirmed: str
) -> None:
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.pass_by(3_600.0)
    hands.reboot(after=90 * DAY)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_600, abs=5)
    hands.set_by(0.0, network=confirmed == "network")
    hands.pass_by(60.0 if confirmed == "network" else DAY)
    assert not hands.clock.doubt
    assert hands.clock.age_seconds(stamp) > 90 * DAY


def test_a_clock_ahead_boot_after_boot_is_in_doubt_each_time(tmp_path: Path) -> None:
    """What time it is in such a life is no evidence for the next one."""
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.reboot(after=1_500 * DAY)
    hands.pass_by(3_600.0)
    hands.reboot(after=60.0)
    assert hands.clock.doubt
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_600, abs=5)


@pytest.mark.parametrize("boot", ["first", "another"])
def test_a_clock_that_jumps_far_ahead_is_in_doubt_in_the_next_life(tmp_path: Path, boot: str) -> None:
    """Somebody had set it to another year: what was filed before was deleted at the next start."""
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.pass_by(3_600.0)
    hands.start(boot="second")
    hands.set_by(1_500 * DAY)
    hands.start(boot=boot)
    assert hands.clock.doubt
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_600, abs=5)
    hands.set_by(-1_500 * DAY)
    assert not hands.clock.doubt


@pytest.mark.parametrize("confirmed", ["network", "day"])
@pytest.mark.parametrize("started", ["in 1970", "where it stood"])
def test_a_clock_that_was_behind_and_is_set_right_counts_ages_rightly_without_a_restart(
    tmp_path: Path, started: str, confirmed: str
) -> None:
    """What was filed before that boot had no age until the next start, or lacked the time without power."""
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.pass_by(3_600.0)
    if started == "in 1970":
        behind = hands.boot_in_1970() - hands.wall
    else:
        behind = 0.0
        hands.reboot(after=0.0)
    hands.pass_by(60.0)
    assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)
    hands.set_by(behind + 2 * DAY, network=confirmed == "network")
    if confirmed == "day":
        assert hands.clock.age_seconds(stamp) == pytest.approx(3_660, abs=5)
        hands.pass_by(DAY)
    assert not hands.clock.doubt
    assert hands.clock.age_seconds(stamp) == pytest.approx(hands.wall - stamp, abs=5)


def test_what_came_between_boot_and_start_by_a_clock_that_was_behind_has_its_age(tmp_path: Path) -> None:
    """What waits is not too old once the clock is set."""
    hands = Hands(tmp_path)
    hands.reboot(after=0.0)
    hands.pass_by(50.0)
    stamp = hands.wall
    hands.pass_by(50.0)
    (tmp_path / "clock.json").unlink()
    hands.start(boot="boot 1")
    hands.set_by(20 * DAY, network=True)
    assert hands.clock.age_seconds(stamp) == pytest.approx(50, abs=5)


FAR = 1_500 * DAY


def in_1970(hands: Hands) -> None:
    """It was known no more what time it had been."""
    now = hands.boot_in_1970()
    hands.wall, hands.monotonic = now + FAR, 10.0
    hands.start(boot="the next")


def from_1970(hands: Hands) -> None:
    hands.set_by(hands.boot_in_1970() - hands.wall + FAR)
    hands.start(boot="boot 1")


def long_after_the_boot(hands: Hands) -> None:
    """A start took the time since the boot for that without a jump."""
    hands.reboot(after=60.0)
    hands.pass_by(2 * DAY)
    hands.set_by(FAR)
    hands.start(boot="boot 1")


def while_nobody_looked(hands: Hands) -> None:
    hands.reboot(after=60.0)
    hands.wall += FAR
    hands.start(boot="boot 1")


def after_the_network_had_set_it(hands: Hands) -> None:
    """The file that tells so stays."""
    hands.reboot(after=60.0)
    hands.set_by(1.0, network=True)
    hands.set_by(FAR)
    hands.start(boot="boot 1")


def bit_by_bit(hands: Hands) -> None:
    hands.reboot(after=60.0)
    for _ in range(50):
        hands.set_by(FAR / 50)
    hands.start(boot="boot 1")


@pytest.mark.parametrize(
    "jump",
    [in_1970, from_1970, long_after_the_boot, while_nobody_looked, after_the_network_had_set_it, bit_by_bit],
)
def test_a_clock_set_years_ahead_makes_nothing_old_by_whatever_way(
    tmp_path: Path, jump: Callable[[Hands], None]
) -> None:
    """All that was filed was deleted."""
    hands = Hands(tmp_path)
    stamp = hands.wall
    jump(hands)
    hands.pass_by(60.0)
    assert hands.clock.doubt
    assert hands.clock.age_seconds(stamp) < 3 * DAY


def test_timesyncd_s_word_is_of_no_clock_that_was_set_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "synchronized"
    monkeypatch.setattr("dropsight.intake.clock.SYNCHRONIZED", told)
    assert not is_set_by_timesyncd(0.0)
    told.touch()
    set_at = told.stat().st_mtime
    assert is_set_by_timesyncd(set_at - 1.0)
    assert not is_set_by_timesyncd(set_at + DAY)


def test_a_short_time_without_power_is_no_doubt(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    stamp = hands.wall
    hands.reboot(after=1_800.0)
    assert not hands.clock.doubt
    assert hands.clock.age_seconds(stamp) == pytest.approx(1_800, abs=5)


def test_what_arrives_by_a_clock_in_doubt_has_its_age(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.reboot(after=1_500 * DAY)
    stamp = hands.wall
    hands.pass_by(100.0)
    hands.set_by(-1_500 * DAY)
    hands.pass_by(100.0)
    assert hands.clock.age_seconds(stamp) == pytest.approx(200, abs=5)


def faking(stamp: Path) -> dict[str, str]:
    """Have a process read the wall clock with the offset that the file tells at the moment."""
    return {
        "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def house_with_a_proved_model(tmp_path: Path, settings: Mapping[str, Any]) -> House:
    """Under libfaketime every `time.sleep` fails, as the wait for the trial of a new model would."""
    house = House(tmp_path, settings)
    house.start()
    assert house.stop() == 0
    return house


needs_faketime = pytest.mark.skipif(not Path("/usr/bin/faketime").exists(), reason="needs faketime")


@pytest.mark.slow
@needs_faketime
@pytest.mark.parametrize("clock", ["jumped", "none"])
def test_what_was_filed_by_a_wrong_clock_outlives_the_next_start(tmp_path: Path, clock: str) -> None:
    """One that jumped while nobody looked, or that was never set: its stamps are of 1970."""
    stamp = tmp_path / "clock"
    stamp.write_text("+0d")
    house = house_with_a_proved_model(
        tmp_path, {"watch": [{"path": "inbox", "retention": {"days": 14, "max_files": 1}}]}
    )
    house.spawn(**faking(stamp))
    try:
        wait_until(house.answers)
        for number in range(2):
            shutil.copyfile(PHOTOS[number], house.inbox / f"{number}.jpg")
            wait_until((house.processed / f"{number}.jpg").exists)
        assert house.stop() == 0
        if clock == "none":
            with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as journal:
                journal.execute("UPDATE shelf SET filed_at = 60 + seq")
                journal.commit()
        else:
            stamp.write_text("+60d")
        house.spawn(**faking(stamp))
        wait_until(lambda: "beyond the retention" in house.daemon_log())
        assert [path.name for path in house.processed.iterdir()] == ["1.jpg"]
    finally:
        house.kill()


@pytest.mark.slow
@needs_faketime
def test_what_waits_is_not_too_old_since_the_clock_jumped_in_an_earlier_life(tmp_path: Path) -> None:
    stamp = tmp_path / "clock"
    stamp.write_text("+0d")
    house = house_with_a_proved_model(tmp_path, {"queue": {"max_age": 43_200}})
    house.spawn(**faking(stamp))
    try:
        wait_until(house.answers)
        house.ask("pause")
        shutil.copyfile(PHOTOS[1], house.inbox / "waits.jpg")
        assert house.stop() == 0
        stamp.write_text("+60d")
        house.spawn(**faking(stamp))
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok"
    finally:
        house.kill()


@pytest.mark.slow
@needs_faketime
def test_a_daemon_whose_clock_jumps_a_year_ahead_and_back_goes_on_in_order(tmp_path: Path) -> None:
    stamp = tmp_path / "clock"
    stamp.write_text("+0d")
    environ = faking(stamp)
    house = house_with_a_proved_model(tmp_path, {"watch": [{"path": "inbox", "retention": {"days": 14}}]})
    house.spawn(**environ)
    try:
        wait_until(house.answers)
        for number, offset in enumerate(["+0d", "+365d", "-365d", "+0d"]):
            stamp.write_text(offset)
            shutil.copyfile(PHOTOS[number], house.inbox / f"{number}.jpg")
            wait_until(lambda number=number: len(house.records()) == number + 1)  # type: ignore[misc]
        records = house.records()
        assert [record["image_path"] for record in records] == [f"{number}.jpg" for number in range(4)]
        assert all(0 <= record["latency_ms"]["total"] < 60_000 for record in records)
        assert {record["time"][:4] for record in records} == {
            str(int(records[0]["time"][:4]) + years) for years in (-1, 0, 1)
        }
        assert house.stop() == 0
        assert len(list(house.processed.iterdir())) == 4
    finally:
        house.kill()
