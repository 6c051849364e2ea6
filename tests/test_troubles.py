"""What is wrong at the moment, as it is said in the log."""

import logging

import pytest

from dropsight.errors import StoreError
from dropsight.status.troubles import Troubles


class DayHistory:
    """A clock that is set by hand, and what was logged since it was last asked."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.now, self._caplog = 0.0, caplog
        self.troubles = Troubles(logging.getLogger(__name__), clock=lambda: self.now)

    def raised(self, part: str, text: str) -> None:
        self.troubles.raised(part, StoreError(text))

    def said(self) -> list[str]:
        lines = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.mark.parametrize("part", ["folders", "announcements", "records"])
def test_what_uploaders_have_change_without_an_end_is_a_line_a_minute_with_a_count(
    caplog: pytest.LogCaptureFixture, part: str
) -> None:
    """Closed folders; images and cameras of which a broker of small packets is not to hear."""
    days = DayHistory(caplog)
    for number in range(1_000):
        days.raised(part, f"{number} are closed")
    assert days.said() == ["0 are closed"]
    assert days.troubles.current() == {part: "999 are closed"}
    days.now = 60
    days.raised(part, "some are closed")
    days.raised(part, "others are closed")
    assert days.said() == ["some are closed (changed 1,000 times since it was last said)"]


def test_closed_folders_that_come_and_go_are_said_to_be_over_as_often_as_they_were_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    days = DayHistory(caplog)
    for _ in range(1_000):
        days.raised("folders", "one is closed")
        days.troubles.cleared("folders")
    assert days.said() == ["one is closed", "folders: recovered"]
    days.now = 60
    days.raised("folders", "one is closed")
    days.troubles.cleared("folders")
    assert days.said() == [
        "one is closed (changed 1,000 times since it was last said)",
        "folders: recovered",
    ]


def test_what_changed_within_the_minute_and_lasts_is_said_after_it(caplog: pytest.LogCaptureFixture) -> None:
    days = DayHistory(caplog)
    days.raised("depth", "one")
    days.raised("depth", "two")
    days.now = 60
    days.raised("depth", "two")
    days.raised("depth", "two")
    assert days.said() == ["one", "two"]


def test_what_is_not_for_strangers_to_change_is_said_at_once_and_every_five_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    days = DayHistory(caplog)
    for text in ("refused", "no route", "no route"):
        days.raised("mqtt", text)
    days.troubles.cleared("mqtt")
    days.raised("mqtt", "no route")
    days.now = 300
    days.raised("mqtt", "no route")
    assert days.said() == ["refused", "no route", "mqtt: recovered", "no route", "no route"]
