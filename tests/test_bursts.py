"""Bursts: which photos belong together, what they show together, and that each is recorded once."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dropsight.config import Watch
from dropsight.errors import ImageError
from dropsight.inference.aggregating import aggregate
from dropsight.inference.bursts import (
    MOST_PHOTOS,
    MOST_SECONDS,
    PATIENCE_SECONDS,
    Burst,
    Grouping,
    Photo,
    result_of,
)
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal.photos import Gathering, PhotoRow
from dropsight.journal.recording import failure_instead
from dropsight.records import (
    BurstFacts,
    HeadAnswer,
    ImageFacts,
    Latency,
    Prediction,
    Record,
    Result,
    Status,
    burst_id,
    burst_in,
    captured_at,
    decode,
    encode,
    status_of,
    timestamp,
)
from dropsight.sinks.mqtt.announcing import fitted
from dropsight.sinks.mqtt.camera_session import SPARE_RECORD
from records import MODEL

WITHIN = 5.0
LABELS = ("cat", "dog", "fox", "owl")
EPOCH = 1_700_000_000.0
HEAD = {"cat": 0.6, "dog": 0.3}

times = st.lists(st.integers(0, 400).map(float), min_size=1, max_size=40)


def photo(number: int, at: float, likely: dict[str, float] = HEAD, *, camera: str = "front") -> Result:
    predictions = [Prediction(LABELS.index(label), label, share) for label, share in likely.items()]
    best = predictions[0]
    return Result(
        id=f"{number:032x}",
        time=timestamp(EPOCH),
        device="d",
        camera=camera,
        image_path=f"{camera}/{number}.jpg",
        predicted_class=best.class_index,
        label=best.label,
        confidence=best.confidence,
        top_5_predictions={str(each.class_index): each.confidence for each in predictions},
        predictions=predictions,
        image=ImageFacts(640, 480, 1_000 + number, "jpeg", timestamp(EPOCH + at)),
        model=MODEL,
        tta=1,
        temperature=1.0,
        latency_ms=Latency(wait=1.0, total=9.0),
    )


def burst_of(*photos: Result) -> Burst:
    burst = Burst(WITHIN, touched=0.0)
    burst.add([Photo(seq, captured_at(each), each) for seq, each in enumerate(photos)])
    return burst


def facts(record: Result) -> BurstFacts:
    found = burst_in(record)
    assert found
    return found


def chains(captured: Sequence[float]) -> list[list[float]]:
    """By definition: in the order of capture, a gap of more than `WITHIN` ends a burst."""
    found: list[list[float]] = []
    for at in sorted(captured):
        if found and at - found[-1][-1] <= WITHIN:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def captured(bursts: Sequence[Burst]) -> list[list[float]]:
    return sorted(sorted(photo.at for photo in burst.photos) for burst in bursts)


@given(times)
def test_photos_are_grouped_by_their_capture_in_whatever_order_they_arrive(at: list[float]) -> None:
    grouping = Grouping()
    for seq, each in enumerate(at):
        grouping.add("front", Photo(seq, each, photo(seq, each)), within=WITHIN, now=0.0)
    expected = chains(at)
    if all(len(chain) <= MOST_PHOTOS for chain in expected):
        assert captured(grouping.take_all()) == expected


@given(st.lists(st.floats(0, 3 * MOST_SECONDS), min_size=1, max_size=300), st.floats(0.5, 100))
def test_a_burst_has_its_bounds_and_every_photo_is_in_exactly_one(at: list[float], within: float) -> None:
    grouping = Grouping()
    for seq, each in enumerate(at):
        grouping.add("front", Photo(seq, each, photo(0, 0)), within=within, now=0.0)
    bursts = grouping.take_all()
    assert sorted(each.seq for burst in bursts for each in burst.photos) == list(range(len(at)))
    assert all(len(burst.photos) <= MOST_PHOTOS for burst in bursts)
    assert all(burst.ends - burst.begins <= MOST_SECONDS for burst in bursts)


def test_cameras_have_bursts_of_their_own() -> None:
    grouping = Grouping()
    for seq, camera in enumerate(("front", "back", "front", "back")):
        grouping.add(camera, Photo(seq, 0.0, photo(seq, 0)), within=WITHIN, now=0.0)
    assert [[each.seq for each in burst.photos] for burst in grouping.take_all()] == [[0, 2], [1, 3]]


def test_a_burst_is_over_when_nothing_more_of_it_can_be_on_its_way() -> None:
    grouping = Grouping()
    grouping.add("front", Photo(1, 0.0, photo(1, 0)), within=WITHIN, now=100.0)
    assert grouping.next_over() == 105.0
    assert not grouping.take_over(104.9)
    assert not grouping.take_over(106.0, waiting_since=104.0)  # which may be one of it
    assert grouping.earliest() == 1
    assert len(grouping.take_over(106.0, waiting_since=105.5)) == 1
    assert grouping.earliest() is None


def test_a_burst_waits_for_photos_that_are_to_be_classified_but_not_for_ever() -> None:
    grouping = Grouping()
    grouping.add("front", Photo(1, 0.0, photo(1, 0)), within=WITHIN, now=100.0)
    assert not grouping.take_over(104.0 + PATIENCE_SECONDS, waiting_since=0.0)
    assert grouping.take_over(105.0 + PATIENCE_SECONDS, waiting_since=0.0)


def test_a_full_burst_is_over_at_once() -> None:
    grouping = Grouping()
    for seq in range(MOST_PHOTOS + 1):
        grouping.add("front", Photo(seq, 0.0, photo(seq, 0)), within=WITHIN, now=0.0)
    (full,) = grouping.take_over(0.0, waiting_since=0.0)
    assert len(full.photos) == MOST_PHOTOS
    assert grouping.earliest() == MOST_PHOTOS


def test_a_burst_is_answered_by_the_function_that_answers_clips() -> None:
    shown = [{"cat": 0.9, "dog": 0.05}, {"dog": 0.8, "cat": 0.1}, {"dog": 0.6, "fox": 0.3}, {"owl": 0.5}]
    burst = burst_of(*(photo(number, number / 2, likely) for number, likely in enumerate(shown)))
    record = result_of(burst, how="top_k_mean", top_k_photos=2, at=EPOCH)
    rows = np.array([[each.get(label, 0.0) for label in LABELS] for each in shown], np.float32)
    expected = aggregate(np.arange(4) / 2, rows, "top_k_mean", top_k_frames=2)
    assert [each.label for each in record.predictions] == ["dog", "cat"]  # as many as its photos name
    for each in record.predictions:
        assert each.confidence == pytest.approx(expected[each.class_index], abs=1e-6)
    assert (record.label, record.predicted_class) == ("dog", 1)
    assert record.confidence == pytest.approx(0.7)
    assert record.top_5_predictions == {"1": pytest.approx(0.7), "0": pytest.approx(0.5)}


def test_a_burst_says_which_photo_shows_it_best_and_what_showed_when() -> None:
    shown = [{"cat": 0.9}, {"dog": 0.8, "cat": 0.1}, {"dog": 0.85}]
    records = [photo(number, 1.5 * number, likely) for number, likely in enumerate(shown)]
    record = result_of(burst_of(*reversed(records)), how="mean", top_k_photos=3, at=EPOCH + 60)
    found = facts(record)
    assert (record.kind, record.label, record.image_path) == ("burst", "dog", "front/2.jpg")
    assert (record.time, record.image) == (timestamp(EPOCH + 60), records[2].image)
    assert (found.count, found.photos) == (3, [each.id for each in records])
    assert (found.begin, found.end) == (timestamp(EPOCH), timestamp(EPOCH + 3))
    assert (found.peak.id, found.peak.image_path, found.peak.time) == (records[2].id, "front/2.jpg", 3.0)
    assert (found.peak.label, found.peak.confidence) == ("dog", 0.85)
    assert found.timeline == [(0.0, 0, 0.9), (1.5, 1, 0.8), (3.0, 1, 0.85)]
    assert [(each.label, each.begins, each.ends) for each in found.segments] == [
        ("cat", 0.0, 1.5),
        ("dog", 1.5, 3.0),
    ]


def test_each_answer_of_a_model_with_several_is_one_of_the_burst() -> None:
    def with_heads(number: int, kind: dict[str, float], weather: dict[str, float]) -> Result:
        record = photo(number, number, kind)
        heads = {"kind": record.predictions, "weather": photo(0, 0, weather).predictions}
        found = {name: HeadAnswer.of(likely) for name, likely in heads.items()}
        return msgspec.structs.replace(record, heads=found)

    burst = burst_of(
        with_heads(0, {"cat": 0.9}, {"fox": 0.7, "owl": 0.2}), with_heads(1, {"cat": 0.7}, {"owl": 0.8})
    )
    record = result_of(burst, how="mean", top_k_photos=3, at=EPOCH)
    assert isinstance(record.heads, dict)
    assert [each.label for each in record.heads.values()] == ["cat", "owl"]
    assert [each.confidence for each in record.heads.values()] == pytest.approx([0.8, 0.5])


def test_of_classes_that_may_be_there_at_once_a_burst_shows_what_any_of_its_photos_does() -> None:
    def with_present(number: int, present: dict[str, float]) -> Result:
        record = photo(number, number)
        return msgspec.structs.replace(record, multi_label=True, present=photo(0, 0, present).predictions)

    burst = burst_of(with_present(0, {"cat": 0.6, "owl": 0.9}), with_present(1, {"cat": 0.8}))
    record = result_of(burst, how="mean", top_k_photos=3, at=EPOCH)
    assert record.multi_label is True
    assert [(each.label, each.confidence) for each in record.present or ()] == [("owl", 0.9), ("cat", 0.8)]
    assert record.shows == ["owl", "cat"]
    assert "present" not in msgspec.json.decode(
        encode(result_of(burst_of(photo(0, 0)), how="mean", top_k_photos=3, at=EPOCH))
    )


def test_the_largest_burst_is_a_small_record_and_reads_as_it_was_written() -> None:
    shares = dict.fromkeys(LABELS, 0.25)
    burst = burst_of(*(photo(number, number * 9.0, shares) for number in range(MOST_PHOTOS)))
    record = result_of(burst, how="top_k_mean", top_k_photos=3, at=EPOCH)
    line = encode(record)
    assert len(line) < 8_000
    assert decode(line) == record
    assert status_of(record) == "burst"
    short = fitted(line, 1_500, SPARE_RECORD)
    assert short is not None
    assert decode(line).id in short.decode()
    assert f'"peak":{{"id":"{facts(record).peak.id}"'.encode() in short


def test_the_same_photos_are_the_same_burst_and_others_are_another() -> None:
    assert burst_id(["a", "b"]) == burst_id(["b", "a"])
    assert len({burst_id(["a", "b"]), burst_id(["a", "b", "c"]), burst_id(["ab"])}) == 3


class Books:
    """A journal in memory, and lives of the daemon that end at any step."""

    def __init__(self, inbox: Path) -> None:
        self.folder = DropFolder.open(Watch(path=inbox, burst_seconds=WITHIN))
        self.rows: list[PhotoRow] = []
        self.put: list[Result] = []
        self.mark = self.kept_mark = 0
        self.begin()

    def begin(self) -> None:
        """What was in memory is gone."""
        self.put, self.mark = [], self.kept_mark
        self.given: dict[str, Sequence[Photo]] = {}
        self.fall()

    def fall(self) -> None:
        """The thread ends by an internal error: the recorder has what it was given."""
        self.gathering = Gathering(self, [self.folder], self.mark, self.given)

    def record(self, record: Record) -> None:
        path = "" if burst_in(record) else f"{self.folder.root}/{record.image_path}"
        self.rows.append(PhotoRow(len(self.rows) + 1, path, status_of(record), encode(record)))

    def look(self, now: float, *, close: bool = False) -> None:
        for burst in self.gathering.over(now, close=close):
            record = result_of(burst, how="top_k_mean", top_k_photos=3, at=EPOCH)
            self.gathering.give(record.id, burst)
            self.put.append(record)
        self.mark = max(self.mark, self.gathering.settled)

    def commit(self) -> None:
        for record in self.put:
            self.record(record)
        self.put = []

    def end(self) -> None:
        """A last life, which comes to its end."""
        self.look(0.0, close=True)
        self.commit()
        self.look(0.0)
        assert self.mark == len(self.rows)

    def after(self, seq: int, limit: int) -> list[PhotoRow]:
        return self.rows[seq : seq + limit]

    def in_bursts(self, *, after: int) -> set[str]:
        return {each for found in self._facts(after) for each in found.photos}

    def bursts(self) -> list[list[float]]:
        """When the photos of each were captured."""
        at = {record.id: captured_at(record) - EPOCH for record in self._records() if record.kind == "image"}
        return sorted(sorted(at[each] for each in found.photos) for found in self._facts(0))

    def _facts(self, after: int) -> Iterator[BurstFacts]:
        return (found for record in self._records(after) if (found := burst_in(record)))

    def _records(self, after: int = 0) -> Iterator[Result]:
        records = (decode(seen.line) for seen in self.rows[after:])
        return (record for record in records if isinstance(record, Result))


steps = st.lists(
    st.one_of(
        st.integers(0, 60),
        st.sampled_from(["look", "wait", "commit", "note", "kill", "fall"]),
    ),
    max_size=60,
)


@given(steps=steps)
@example(steps=[0, 1, "wait", "commit", "kill", 2])  # a burst is on record, and one comes that is near it
@example(steps=[0, 1, "wait", "fall", 2])  # the recorder has it, and nobody else
@example(steps=[0, "look", 1, "note", "kill", 2])
def test_no_photo_is_in_two_bursts_and_none_is_lost_wherever_the_daemon_is_killed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """Numbers are photos, by the second of their capture; bursts also end by time, so late ones are alone."""
    books, now, photos = Books(tmp_path_factory.getbasetemp()), 0.0, 0
    for step in steps:
        match step:
            case int():
                photos += 1
                books.record(photo(photos, float(step)))
            case "look":
                books.look(now)
            case "wait":
                books.look(now)
                now += 2 * WITHIN
                books.look(now)
            case "commit":
                books.commit()
            case "note":
                books.kept_mark = books.mark
            case "kill":
                books.begin()
            case "fall":
                books.fall()
    books.end()
    found = [each for burst in books.bursts() for each in burst]
    known = [float(step) for step in steps if isinstance(step, int)]
    ids = [each for seen in books.rows for each in facts_of(seen)]
    assert len(ids) == len(set(ids))
    assert len({decode(seen.line).id for seen in books.rows}) == len(books.rows)
    if "wait" not in steps:  # nothing has ended too early, so all is as if nobody had been killed
        assert books.bursts() == [chain for chain in chains(known) if len(chain) > 1]
    assert all(len(burst) > 1 for burst in books.bursts())
    assert len(found) <= len(known)


def facts_of(seen: PhotoRow) -> list[str]:
    found = burst_in(decode(seen.line))
    return found.photos if found else []


@pytest.mark.parametrize("status", ["failed", "clip"])
def test_failed_photos_and_clips_take_no_part(tmp_path: Path, status: Status) -> None:
    books = Books(tmp_path)
    others: dict[str, Record] = {
        "failed": failure_of(photo(2, 1.0)),
        "clip": msgspec.structs.replace(photo(2, 1.0), kind="clip"),
    }
    for record in (photo(1, 0.0), others[status], photo(3, 2.0)):
        books.record(record)
    books.end()
    assert books.bursts() == [[0.0, 2.0]]


def test_another_model_s_photos_are_another_burst(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for number in range(4):
        record = photo(number, float(number))
        if number > 1:
            model = msgspec.structs.replace(MODEL, digest="sha256:1")
            record = msgspec.structs.replace(record, model=model)
        books.record(record)
    books.end()
    assert books.bursts() == [[0.0, 1.0], [2.0, 3.0]]


def failure_of(record: Result) -> Record:
    return failure_instead(record, ImageError("truncated", "bad"))


def test_what_is_waited_for_are_images_that_came_and_are_to_be_classified(tmp_path: Path) -> None:
    """A clip in hand may take minutes, and what is put off may be put off for ever."""
    backlog, folder = Backlog(), DropFolder.open(Watch(path=tmp_path), clips=("*.mp4",))
    assert backlog.waiting_since() == math.inf
    backlog.offer(folder, str(tmp_path / "long.mp4"), since=1.0)
    assert backlog.waiting_since() == math.inf
    for number, since in enumerate((3.0, 2.0)):
        backlog.offer(folder, str(tmp_path / f"{number}.jpg"), since=since)
    assert backlog.waiting_since() == 2.0
    first = backlog.take()
    assert first
    assert backlog.waiting_since() == 2.0  # it is in hand
    backlog.postpone(first, seconds=60)
    assert backlog.waiting_since() == 3.0
