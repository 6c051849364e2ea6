"""What people are told of a flood: why this came together and late, or what comes next will."""

from collections.abc import Collection, Sequence

from dropsight.sinks.notify.allowance import HourlyAllowance, Key, ToldSource
from dropsight.sinks.notify.notification_queue import QueuedMessage

_KINDS = ("inbox", "camera")


def source_of(batch: Sequence[QueuedMessage]) -> ToldSource:
    """Return the one that all of them are of, as far as they are."""
    cameras = {each.source for each in batch}
    inboxes = {each.inbox for each in cameras}
    inbox = inboxes.pop() if len(inboxes) == 1 else ""
    return ToldSource(inbox, cameras.pop().camera if len(cameras) == 1 else "")


def hold_of(allowance: HourlyAllowance, now: float) -> str | None:
    """Say why what waits is held back, where all of it is of sources that have had their share."""
    found = [f"{share} of one {_kind(key)}" for key, share in sorted(allowance.full(now).items(), key=_first)]
    return f"{found[0]} were sent within the hour" if found else None


def remark(
    batch: Sequence[QueuedMessage], allowance: HourlyAllowance, *, late: Collection[Key], now: float
) -> str:
    """Return lines to stand below these, as they are told; `late` are those that had to wait."""
    keys, lines = source_of(batch).keys, [""]
    if len(batch) > 1 and (waited := sorted(keys & set(late), key=len)):
        lines.append(f"(this {_kind(waited[0])} had its share within an hour: this came together)")
    if allowance.is_used_up:
        lines.append("(many within an hour: what comes next comes together, later)")
    elif full := sorted(keys & allowance.full(now).keys(), key=len):
        what = _kind(full[0])
        lines.append(f"(many of this {what} within an hour: what comes next of it comes together, later)")
    return "\n".join(lines)


def _kind(key: Key) -> str:
    return _KINDS[len(key) - 1]


def _first(share: tuple[Key, int]) -> int:
    return len(share[0])
