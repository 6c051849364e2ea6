"""What people read: of one event, and of several at once."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo
from unicodedata import normalize

from dropsight.journal.event_messages import EventMessage
from dropsight.names import as_shown
from dropsight.records import local_time

LINES = 20
# Of a name that an uploader chose, or a model brought; of a problem, more.
NAME_LETTERS, PROBLEM_LETTERS = 60, 300
# Who may name a folder would else call everybody in a chat: in other letters it looks the same.
_CALLS = str.maketrans({"@": "\uff20"})


def title_of(message: EventMessage) -> str:
    """As in: fox at front (door)."""
    where = f" ({_said(message.region)})" if message.region else ""
    return f"{_said(message.name)} at {_said(message.camera)}{where}"


def body_of(message: EventMessage, *, now: datetime, zone: tzinfo | None = None) -> str:
    """As in: red fox 93 %, 3 photos since 21:10; clips are called so."""
    began = clock(message.started, now, zone)
    if not message.best.id:  # a problem, whose label says what is wrong
        problem = _said(message.best.label, PROBLEM_LETTERS)
        return f"{'over: ' if message.phase == 'end' else ''}{problem}, since {began}"
    said = f"{_said(message.best.label.removeprefix('group:'))} {_percent(message.best.confidence)}"
    files = _files(message.count - message.clips, message.clips)
    if message.phase == "end":
        ended = clock(message.ended or message.started, now, zone)
        return f"over: {said}, {files}, {began}{'' if ended == began else f' to {ended}'}"
    return f"{said}, {files} {'at' if message.count == 1 else 'since'} {began}"


def _files(photos: int, clips: int) -> str:
    each = [(photos, "photo"), (clips, "clip")]
    return " and ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in each if count > 0)


def _said(text: str, most: int = NAME_LETTERS) -> str:
    """Text that does nothing where it is shown, and is not long."""
    shown = as_shown(text[: most + 1]).translate(_CALLS)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


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


def sender(device: str) -> str:
    """Who tells it: this stands in headers, which have no other signs than ASCII's."""
    name = normalize("NFKD", as_shown(device)).encode("ascii", "ignore").decode().strip()
    return f"dropsight on {name}" if name else "dropsight"


def clock(text: str, now: datetime, zone: tzinfo | None = None) -> str:
    """The time of day here, with the date where it is not today's."""
    at = local_time(text, zone)
    if at is None:
        return text
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M}"
