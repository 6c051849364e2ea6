"""How often each aggregate is right, with margins well below what docs/video.md reports."""

from pathlib import Path

import pytest

from clip_answers import WAYS, Rating, answered, photos, rated
from dropsight import VideoInferenceRuntime

pytestmark = pytest.mark.slow
# Of the sample photos, those that the model is surest of: what a way gets wrong of them is the way's fault.
SURE = ("polar_bear.jpg", "scarlet_macaw.jpg", "lemur.jpg", "panda.jpg")
SHORT, ODD, CUTS = "2 s of 15, before a building", "one odd frame", "cuts, 3 things for 5 s"


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Rating]]:
    chosen = [photo for photo in photos() if photo.name in SURE]
    with VideoInferenceRuntime() as runtime:
        answers = list(
            answered(chosen, runtime, Path(tmp_path_factory.mktemp("clips")), wanted=(SHORT, ODD, CUTS))
        )
    return {how: rated(answers, how) for how in WAYS}


def test_the_default_finds_what_shows_for_two_seconds_of_fifteen_where_others_lose_it(
    ratings: dict[str, dict[str, Rating]],
) -> None:
    short = {how: each[SHORT] for how, each in ratings.items()}
    assert short["top_k_mean"].top_1 >= 0.75
    assert short["max"].top_1 >= 0.75
    assert all(short[how].top_1 <= 0.25 for how in ("mean", "vote", "ema"))


def test_the_default_is_swayed_less_by_one_odd_frame_than_the_best_frame_alone(
    ratings: dict[str, dict[str, Rating]],
) -> None:
    odd = {how: each[ODD].top_1 for how, each in ratings.items()}
    assert odd["top_k_mean"] >= odd["max"] + 0.25


def test_the_default_names_all_that_shows_in_turn(ratings: dict[str, dict[str, Rating]]) -> None:
    assert ratings["top_k_mean"][CUTS].found >= 0.9
