"""The power goes under the daemon at any instant: nothing is lost, nothing is there twice."""

from pathlib import Path

import pytest

from disks import why_no_disk
from power_loss import KINDS, lose_power, rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    reasons = {kind: why_no_disk(tmp_path_factory.mktemp("disks"), kind) for kind in KINDS}
    if found := [kind for kind, reason in reasons.items() if not reason]:
        return found
    pytest.skip("; ".join(f"{kind}: {reason}" for kind, reason in reasons.items()))


def test_five_losses_of_power_on_one_and_two_file_systems_lose_no_image_and_repeat_no_line(
    tmp_path: Path, kinds: list[str]
) -> None:
    for kind, disks, count in rounds(kinds, 5):
        root = tmp_path / f"{kind}-{disks}"
        root.mkdir()
        found = lose_power(root, kind, disks, snapshots=count, durable="images", seed=disks)
        assert not found.faults, found.examples
        assert found.recorded >= count


def test_where_only_records_are_to_be_durable_a_loss_of_power_takes_pictures(
    tmp_path: Path, kinds: list[str]
) -> None:
    """As the configuration says; and the losses of power that are tried here are such as take something."""
    found = lose_power(tmp_path, kinds[0], 1, snapshots=1, durable="records", seed=1)
    assert found.faults["on record and without a whole picture"]
