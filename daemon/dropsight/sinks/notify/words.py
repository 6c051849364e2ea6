"""What people read: of one event, and of several at once."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo

from dropsight.journal.event_messages import EventMessage
from dropsight.names import as_shown

LINES = 20


def title_of(message: EventMessage) -> str:
    """As in: fox at front (door)."""
    return as_shown(f"{message.name} at {message.camera}{f' ({message.region})' if message.region else ''}")


def body_of(message: EventMessage, *, now: datetime, zone: tzinfo | None = None) -> str:
    """As in: red fox 93 %, 3 photos since 21:10."""
    began = clock(message.started, now, zone)
    if not message.best.id:  # a problem, whose label says what is wrong
        return f"{'over: ' if message.phase == 'end' else ''}{message.best.label}, since {began}"
    said = f"{as_shown(message.best.label.removeprefix('group:'))} {_percent(message.best.confidence)}"
    photos = f"{message.count} photo{'s' * (message.count != 1)}"
    if message.phase == "end":
        ended = clock(message.ended or message.started, now, zone)
        return f"over: {said}, {photos}, {began}{'' if ended == began else f' to {ended}'}"
    return f"{said}, {photos} {'at' if message.count == 1 else 'since'} {began}"


def _percent(share: float) -> str:
    """Nothing is rounded to certainty; the dashboard writes it the same way."""
    percent = 100 * share
    return f"{min(percent, 99.9):.1f} %" if 99.5 < percent < 100 else f"{percent:.0f} %"


def digest(messages: Sequence[EventMessage], *, now: datetime, zone: tzinfo | None = None) -> tuple[str, str]:
    """Return title and body: a line an event, as the last message of each has it, in order."""
    last = {message.id: message for message in messages}
    title = f"{len(last)} event{'s' * (len(last) != 1)}"
    shown = list(last.values())
    body = [f"{title_of(each)}: {body_of(each, now=now, zone=zone)}" for each in shown[:LINES]]
    if rest := Counter(title_of(each) for each in shown[LINES:]):
        body.append(
            f"and {rest.total()} more: {', '.join(f'{what} {n}' for what, n in rest.most_common(LINES))}"
        )
    return title, "\n".join(body)


def clock(text: str, now: datetime, zone: tzinfo | None = None) -> str:
    """The time of day here, with the date where it is not today's."""
    try:
        at = datetime.fromisoformat(text).astimezone(zone)
    except ValueError:
        return text
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M}"
