"""Downloads: an image or a clip as it was dropped; matching records as JSON lines or CSV."""

import asyncio
import csv
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from dropsight.journal.outbox import Delivery
from dropsight.records import Glance, Present
from dropsight.web.background import BackgroundWork, BusyError
from dropsight.web.pictures import find_image
from dropsight.web.ranges import HeldResponse, file_response
from dropsight.web.results import MOST_RESULTS, Query, QueryError, look_up, query_of
from dropsight.web.shown_daemon import ShownDaemon

AT_ONCE = 8
LONGEST_SECONDS = 600


class _Error(msgspec.Struct):
    code: str = ""


class _Latency(msgspec.Struct):
    total: float | None = None


class _Row(msgspec.Struct):
    """As much of a record as stands in the table; the columns."""

    time: str = ""
    device: str = ""
    camera: str = ""
    image_path: str = ""
    status: str = ""
    label: str = ""
    predicted_class: int | None = None
    confidence: float | None = None
    error: _Error = msgspec.field(default_factory=_Error)
    latency_ms: _Latency = msgspec.field(default_factory=_Latency)
    id: str = ""
    kind: str = ""
    present: Present = msgspec.UNSET
    group: str = ""
    group_confidence: float | None = None
    would_be: str = ""
    region: str = ""


_row = Glance(_Row)


class Downloads:
    """So many at once, and each for so long, that slow readers hold neither files nor memory for good."""

    def __init__(self, daemon: ShownDaemon, background: BackgroundWork) -> None:
        self._daemon, self._background = daemon, background
        self._open = 0

    async def original(self, request: Request) -> Response:
        """Raises FileNotFoundError, ImageError and BusyError."""
        record_id = request.path_params["id"]
        row = await self._background.look_up(lambda journal: journal.find(record_id))
        if row is None:
            raise FileNotFoundError(record_id)
        with self.place(request) as held:
            find = partial(find_image, row, record_id, self._daemon.config.watch)
            file = held.enter_context(await self._background.paint(find))
            name = os.fsdecode(row.path).rpartition(os.sep)[2]
            headers = _attachment(name) | {"ETag": f'"{record_id}"'}
            return file_response(request, file, "application/octet-stream", headers, held.pop_all())

    async def export(self, request: Request) -> Response:
        """Raises QueryError and BusyError."""
        params = dict(request.query_params)
        form = params.pop("format", "jsonl")
        if form not in _FORMS:
            raise QueryError(f"format: one of {' and '.join(_FORMS)}")
        if "limit" in params:
            raise QueryError("limit: not for an export, which has all records that match")
        query = replace(query_of(params), limit=MOST_RESULTS)
        query = replace(query, before=min(query.before, self._daemon.visible + 1))
        media_type, encode, head = _FORMS[form]
        with self.place(request) as held:
            pieces = self._records(query, encode, head)
            return HeldResponse(pieces, media_type, _attachment(f"results.{form}"), held.pop_all())

    def place(self, request: Request) -> ExitStack:
        """Take one until it is closed; raises BusyError."""
        if self._open >= AT_ONCE:
            raise BusyError(f"{AT_ONCE} downloads are running; try again")
        self._open += 1
        held = ExitStack()
        held.callback(self._leave)
        patience = asyncio.get_running_loop().call_later(LONGEST_SECONDS, request.state.hang_up)
        held.callback(patience.cancel)
        return held

    def _leave(self) -> None:
        self._open -= 1

    async def _records(
        self, query: Query, encode: Callable[[list[Delivery]], bytes], head: bytes
    ) -> AsyncIterator[bytes]:
        yield head
        before: int | None = query.before
        while before is not None:
            asked = replace(query, before=before)
            page = await self._background.look_up(lambda journal, asked=asked: look_up(asked, journal.before))  # type: ignore[misc]
            yield encode(page.found)
            before = page.before


def _lines(found: list[Delivery]) -> bytes:
    return b"".join(delivery.line + b"\n" for delivery in found)


def _table(found: list[Delivery]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(_cells(_row.at(delivery.line)) for delivery in found)
    return text.getvalue().encode("utf-8", "replace")


def _cells(row: _Row) -> list[object]:
    present = "; ".join(each.label for each in row.present or ())
    shown = msgspec.structs.asdict(row) | {
        "error": row.error.code,
        "latency_ms": row.latency_ms.total,
        "present": present,
    }
    return [_inert(value) for value in shown.values()]


def _inert(value: object) -> object:
    """A spreadsheet would carry out what a camera's or a file's name begins with."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _attachment(name: str) -> dict[str, str]:
    shown = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{shown}", "Cache-Control": "no-store"}


_HEAD = (",".join(msgspec.structs.asdict(_Row())) + "\r\n").encode()
_FORMS: dict[str, tuple[str, Callable[[list[Delivery]], bytes], bytes]] = {
    "jsonl": ("application/x-ndjson", _lines, b""),
    "csv": ("text/csv; charset=utf-8", _table, _HEAD),
}
