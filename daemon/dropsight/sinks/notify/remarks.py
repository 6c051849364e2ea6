"""What people are told of a flood: why this came together and late, or what comes next will."""

from collections.abc import Collection, Sequence

from dropsight.journal.event_messages import EventMessage
from dropsight.sinks.notify.allowance import HourlyAllowance


def camera_of(messages: Sequence[EventMessage]) -> str:
    """Return the one that all of them are of, "" of several."""
    cameras = {each.camera for each in messages}
    return cameras.pop() if len(cameras) == 1 else ""


def remark(
    messages: Sequence[EventMessage], allowance: HourlyAllowance, *, late: Collection[str], now: float
) -> str:
    """Return lines to stand below these, as they are told; `late` are cameras that had to wait."""
    camera, lines = camera_of(messages), [""]
    if camera in late and len(messages) > 1:
        lines.append(f"(this camera had its share, {allowance.share} within an hour: this came together)")
    if allowance.is_used_up:
        lines.append("(many within an hour: what comes next comes together, later)")
    elif camera in allowance.full(now):
        lines.append("(many of this camera within an hour: what comes next of it comes together, later)")
    return "\n".join(lines)
