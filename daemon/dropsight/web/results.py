"""Queries for records, newest first."""

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dropsight.config.forms import spoken_list
from dropsight.errors import DropsightError
from dropsight.journal.outbox import Delivery
from dropsight.records import RECORDS, Glance, Group, Present, Share, Status, shown_confidence

MOST_RESULTS = 500
# Uploaders choose the names, and so the length, of records: more come with the next page.
PAGE_BYTES = 2**20
PAGE = 500
MOST_LOOKED_AT = 20_000
NEWEST = 2**63 - 1
# More digits than NEWEST has are never made a number: of thousands of them Python refuses to.
_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)
_SHARE = re.compile(r"[01]?(\.[0-9]{0,17})?", re.ASCII)

Before = Callable[[int, int], Sequence[Delivery]]
"""Records with seq < the first argument, newest first, as many as the second says at most."""


class QueryError(DropsightError):
    pass


class _BriefRecord(msgspec.Struct):
    """As much of a record as is asked about."""

    label: str = ""
    predicted_class: int = -1
    confidence: float = -1.0
    present: Present = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET


_brief = Glance(_BriefRecord)


class Query(msgspec.Struct, frozen=True):
    """What a record must be; None, "" and 0 ask for nothing. `label` is a part of it, in any case.

    Of a record with a group, that is asked for as the label is, and its confidence counts.
    Where several classes may be there at once, one that is must be so.
    """

    camera: str | None = None
    status: Status | None = None
    label: str = ""
    class_index: int | None = None
    min_confidence: float = 0.0
    limit: int = 50
    before: int = NEWEST

    def fits(self, delivery: Delivery) -> bool:
        if self.camera is not None and delivery.camera != self.camera:
            return False
        if self.status is not None and delivery.status != self.status:
            return False
        if not self.label and self.class_index is None and self.min_confidence <= 0:
            return True
        found = _brief.at(delivery.line)
        classes = [(found.predicted_class, found.label)]
        if found.present is not msgspec.UNSET:
            classes = [(each.class_index, each.label) for each in found.present]
        elif found.group:
            classes.append((found.predicted_class, found.group))
        part = self.label.casefold()
        named = any(
            part in label.casefold() and self.class_index in {None, number} for number, label in classes
        )
        return (named or (not part and self.class_index is None)) and shown_confidence(
            found
        ) >= self.min_confidence


class ResultPage(msgspec.Struct, frozen=True):
    """`before` is where to go on, None at the end of the journal."""

    found: list[Delivery]
    before: int | None


def query_of(params: Mapping[str, str]) -> Query:
    """Read a query off the parameters of a request; raises QueryError that says what is wrong with it."""
    unknown = set(params) - {"camera", "status", "label", "class", "min_confidence", "limit", "before"}
    if unknown:
        raise QueryError(f"{min(unknown)}: unknown parameter")
    status = params.get("status")
    if status not in {None, *_STATUSES}:
        raise QueryError(f"status: one of {spoken_list(_STATUSES)}")
    said = {name: whole_number(params.get(name), name) for name in ("class", "limit", "before")}
    least = _share(params.get("min_confidence", "0"), "min_confidence")
    limit = 50 if said["limit"] is None else said["limit"]
    if not 1 <= limit <= MOST_RESULTS:
        raise QueryError(f"limit: a number from 1 to {MOST_RESULTS}")
    return Query(
        camera=params.get("camera"),
        status=_STATUSES.get(status or ""),
        label=params.get("label", ""),
        class_index=said["class"],
        min_confidence=least,
        limit=limit,
        before=NEWEST if said["before"] is None else said["before"],
    )


_STATUSES: dict[str, Status] = {status: status for status in RECORDS}


def whole_number(text: str | None, name: str) -> int | None:
    """Read a number as SQLite can hold it; raises QueryError for any other text."""
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or int(text) > NEWEST:
        raise QueryError(f"{name}: a whole number from 0 to {NEWEST}")
    return int(text)


def _share(text: str, name: str) -> float:
    if not (text.strip(".") and _SHARE.fullmatch(text) and float(text) <= 1):
        raise QueryError(f"{name}: a number from 0 to 1")
    return float(text)


def look_up(query: Query, before: Before) -> ResultPage:
    """Read until the answer is full, or so many records were looked at that others must have a turn."""
    found: list[Delivery] = []
    at, looked_at, size = query.before, 0, 0
    while looked_at < MOST_LOOKED_AT:
        page = before(at, PAGE)
        for delivery in page:
            at = delivery.seq
            if query.fits(delivery):
                found.append(delivery)
                size += len(delivery.line)
                if len(found) == query.limit or size >= PAGE_BYTES:
                    return ResultPage(found, at)
        looked_at += len(page)
        if len(page) < PAGE:
            return ResultPage(found, None)
    return ResultPage(found, at)
