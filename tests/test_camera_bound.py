"""What no rule of two answers can do, worked out by hand for a few pairs."""

import pytest

from camera_bound import least_lost


@pytest.mark.parametrize(("alarms", "lost"), [(0, 1), (1, 0), (3, 0)])
def test_the_best_of_all_rules_by_which_surer_is_never_worse_is_found(alarms: int, lost: int) -> None:
    """Whoever tells of the visit at (240, 10) tells of nothing at (240, 20), but not of (250, 5)."""
    visits = [(200, 100), (240, 10)]
    nothing = [(200, 90), (250, 5), (240, 20)]
    assert least_lost(visits, nothing, alarms=alarms) == lost


def test_what_is_said_of_nothing_at_all_costs_the_visits_that_are_no_surer() -> None:
    assert least_lost([(150, 150), (100, 100), (256, 0)], [(150, 150)], alarms=0) == 2
