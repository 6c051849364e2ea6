"""Which frames of a clip are looked at, and what their answers are merged into."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dropsight.inference.aggregating import aggregate
from dropsight.records import Aggregate
from dropsight.video.sampling import Picking, Sampling, Thinning, choose

MOST = 64
AGGREGATES: tuple[Aggregate, ...] = ("mean", "max", "vote", "top_k_mean", "ema")
shares = arrays(
    np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.floats(0, 1, width=32)
)


def spaced(count: int, rate: float, gop: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count) / rate, np.arange(count) % gop == 0


def test_a_short_clip_has_a_frame_for_each_interval_and_its_end_is_seen() -> None:
    chosen = choose(*spaced(100, 10, 100), Sampling(every_seconds=0.5))
    assert chosen.by == "every"
    assert list(chosen.frames) == list(range(0, 100, 5))


def test_close_keyframes_are_taken_instead_of_what_lies_between() -> None:
    times, keys = spaced(100, 10, 6)
    chosen = choose(times, keys, Sampling(every_seconds=0.5))
    assert chosen.by == "keyframes"
    assert keys[list(chosen.frames)].all()


def test_keyframes_that_are_far_apart_are_not_enough() -> None:
    assert choose(*spaced(100, 10, 20), Sampling(every_seconds=0.5)).by == "every"
    assert choose(*spaced(100, 10, 20), Sampling("keyframes", every_seconds=0.5)).by == "keyframes"


def test_frames_of_certain_times_are_chosen_whatever_else_there_is() -> None:
    times, keys = spaced(100, 10, 5)
    chosen = choose(times + 7, keys, Sampling(), at=(0.0, 2.52, 2.49, 500.0))
    assert (chosen.by, list(chosen.frames)) == ("every", [0, 25, 99])


def test_of_frames_that_come_by_those_at_certain_times_are_picked() -> None:
    picking, kept = Picking((0.0, 0.5, 0.55, 2.0)), []
    for number in range(100):
        if picking.wants(number / 10):
            assert not picking.keep(number / 10)
            kept.append(number)
    assert kept == [0, 5, 6, 20]


def test_a_long_clip_is_spread_evenly_and_never_cut_off() -> None:
    times, keys = spaced(36_000, 10, 20)
    chosen = choose(times, keys, Sampling(max_frames=MOST))
    at = times[list(chosen.frames)]
    assert MOST - 1 <= len(at) <= MOST
    assert at[-1] >= 0.98 * times[-1]
    assert np.diff(at).max() <= 1.1 * np.diff(at).min()


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200),
    st.integers(1, 40),
    st.sampled_from(["auto", "keyframes", "every"]),
    st.data(),
)
def test_any_clip_has_some_frames_chosen_each_once_and_no_more_than_are_allowed(
    stamps: list[float], most: int, by: str, data: st.DataObject
) -> None:
    times = np.sort(np.array(stamps))
    keys = np.array(data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times))))
    chosen = choose(times, keys, Sampling(by, max_frames=most))  # type: ignore[arg-type] # one of the three
    assert 1 <= len(chosen.frames) <= most
    assert list(chosen.frames) == sorted(set(chosen.frames))
    assert all(0 <= frame < len(times) for frame in chosen.frames)
    assert chosen.by == "every" or keys[list(chosen.frames)].all()


@given(st.integers(1, 500), st.integers(1, 20))
def test_frames_of_a_clip_of_unknown_length_are_kept_evenly(count: int, most: int) -> None:
    thinning, kept = Thinning(0.5, most), []
    for number in range(count):
        if thinning.wants(number / 10):
            kept.append(number / 10)
            if thinning.keep(number / 10):
                kept = kept[::2]
    assert kept == thinning.times
    assert 1 <= len(kept) <= most
    assert kept[0] == 0
    if len(kept) > 2:
        assert np.diff(kept).max() <= 1.5 * np.diff(kept).min() + 0.11


@given(shares)
def test_an_aggregate_has_a_share_for_each_class_within_0_and_1(rows: np.ndarray) -> None:
    for how in AGGREGATES:
        merged = aggregate(np.arange(len(rows)) / 2, rows, how)
        assert merged.shape == rows.shape[1:]
        assert merged.dtype == np.float32
        assert ((merged >= 0) & (merged <= 1)).all()


@given(shares)
def test_one_frame_is_its_own_answer_bit_by_bit(rows: np.ndarray) -> None:
    for how in ("mean", "max", "top_k_mean", "ema"):
        assert (aggregate(np.zeros(1), rows[:1], how) == rows[0]).all()


@given(shares, st.randoms(use_true_random=False))
def test_the_order_of_frames_changes_only_the_moving_average(rows: np.ndarray, random: object) -> None:
    times = np.arange(len(rows)) / 2
    places = list(range(len(rows)))
    random.shuffle(places)  # type: ignore[attr-defined] # a random.Random
    for how in ("mean", "max", "vote", "top_k_mean"):
        mixed = aggregate(times, rows[places], how)
        assert np.allclose(aggregate(times, rows, how), mixed, atol=1e-6)


def test_what_shows_for_two_of_fifteen_seconds_is_found_by_top_k_mean_and_drowned_by_mean() -> None:
    rows = np.tile(np.array([[0.5, 0.1]], np.float32), (30, 1))
    rows[10:14] = [0.05, 0.9]
    times = np.arange(30) / 2
    assert aggregate(times, rows, "mean").argmax() == 0
    assert aggregate(times, rows, "vote").argmax() == 0
    assert aggregate(times, rows, "top_k_mean").argmax() == 1
    assert aggregate(times, rows, "max").argmax() == 1


def test_one_odd_frame_decides_by_max_alone() -> None:
    rows = np.tile(np.array([[0.7, 0.1]], np.float32), (30, 1))
    rows[7] = [0.0, 0.99]
    times = np.arange(30) / 2
    assert aggregate(times, rows, "max").argmax() == 1
    assert aggregate(times, rows, "top_k_mean").argmax() == 0


def test_the_moving_average_goes_by_what_shows_last() -> None:
    rows = np.repeat(np.array([[0.9, 0.1], [0.1, 0.9]], np.float32), [20, 10], axis=0)
    assert aggregate(np.arange(30) / 2, rows, "ema").argmax() == 1
    assert aggregate(np.arange(30) / 2, rows, "mean").argmax() == 0
