"""Events as the dashboard shows them: queries for them, newest first, and a card each."""

from collections.abc import Mapping, Sequence

import msgspec

from dropsight.journal.event_messages import EventBest, EventMessage
from dropsight.journal.event_table import EventRow
from dropsight.names import as_json
from dropsight.records import seconds_at, timestamp
from dropsight.web.results import NEWEST, QueryError, whole_number

MOST_EVENTS, USUAL = 500, 50


class EventCard(msgspec.Struct, frozen=True):
    """`ended` is None while it goes on, and `duration_seconds` then what is known of it.

    `picture` is the address of the best record's, None where there is no record.
    """

    n: int
    id: str
    name: str
    camera: str
    started: str
    ended: str | None
    duration_seconds: float
    count: int
    best: EventBest
    region: str | None
    picture: str | None


class EventQuery(msgspec.Struct, frozen=True):
    """What an event must be; `since` and `until` are times of which it had a part."""

    name: str | None = None
    camera: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = USUAL
    before: int = NEWEST


def event_query_of(params: Mapping[str, str]) -> EventQuery:
    """Read a query off the parameters of a request; raises QueryError that says what is wrong with it."""
    if unknown := set(params) - {"name", "camera", "since", "until", "limit", "before"}:
        raise QueryError(f"{min(unknown)}: unknown parameter")
    limit, before = (whole_number(params.get(name), name) for name in ("limit", "before"))
    if limit is not None and not 1 <= limit <= MOST_EVENTS:
        raise QueryError(f"limit: a number from 1 to {MOST_EVENTS}")
    return EventQuery(
        name=params.get("name"),
        camera=params.get("camera"),
        since=_time(params, "since"),
        until=_time(params, "until"),
        limit=USUAL if limit is None else limit,
        before=NEWEST if before is None else before,
    )


def page_of(rows: Sequence[EventRow], query: EventQuery) -> bytes:
    """Return the cards, and where to go on."""
    cards = [card_of(row) for row in rows]
    before = rows[-1].n if len(rows) == query.limit else None
    return as_json({"events": cards, "before": before})


def card_of(row: EventRow) -> EventCard:
    message = row.message
    return EventCard(
        n=row.n,
        id=message.id,
        name=message.name,
        camera=message.camera,
        started=message.started,
        ended=message.ended,
        duration_seconds=_duration(message),
        count=message.count,
        best=message.best,
        region=message.region,
        picture=f"/api/images/{message.best.id}/thumbnail" if message.best.id else None,
    )


def _duration(message: EventMessage) -> float:
    began = seconds_at(message.started)
    last = seconds_at(message.ended or message.time)
    return round(max(last - began, 0.0), 3) if began is not None and last is not None else 0.0


def _time(params: Mapping[str, str], name: str) -> str | None:
    said = params.get(name)
    if said is None:
        return None
    at = seconds_at(said.replace(" ", "+"))  # which a plus sign in an address stands for
    if at is None:
        raise QueryError(f"{name}: a time such as 2026-11-28T06:00:00Z")
    return timestamp(at)
