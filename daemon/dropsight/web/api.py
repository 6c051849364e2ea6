"""The API: what each address returns."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial, wraps

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dropsight.errors import DropsightError, ImageError, MachineError, StoreError
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import as_jpeg
from dropsight.inference.seen import drawn
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import RecordedFile
from dropsight.names import as_json
from dropsight.records import Result, decode
from dropsight.web.access import is_own_doing
from dropsight.web.background import BackgroundWork, BusyError
from dropsight.web.downloads import Downloads
from dropsight.web.event_cards import event_query_of, page_of
from dropsight.web.health import Checks
from dropsight.web.hub import StreamClient
from dropsight.web.metrics import Metrics
from dropsight.web.overview import Overviews
from dropsight.web.pictures import FOR_GOOD, LARGEST, SIZES, make_thumbnail, pixels_of, read_explanation
from dropsight.web.ranges import HeldResponse
from dropsight.web.results import QueryError, look_up, query_of, whole_number
from dropsight.web.screening import Screening
from dropsight.web.shown_daemon import ShownDaemon
from dropsight.web.stills import clip_of
from dropsight.web.streaming import beginning, streamed

COMMANDS = ("pause", "resume", "rescan")
_STRANGER = "only the dashboard or a program may send this; programs add the header X-Dropsight: 1"

Endpoint = Callable[["Api", Request], Awaitable[Response]]


class CommandRefusedError(DropsightError):
    """What the daemon says to a command that it does not carry out."""


class _Obeyed(msgspec.Struct):
    ok: bool
    error: str = ""
    result: object = None


class _Explained(msgspec.Struct):
    image_jpeg_base64: bytes


def fault(status: int, text: str) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse({"error": text}, status, headers=headers)


def answering(endpoint: Endpoint) -> Endpoint:
    """Turn what goes wrong on purpose into an answer."""

    @wraps(endpoint)
    async def wrapped(self: "Api", request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except QueryError as error:
            return fault(400, str(error))
        except FileNotFoundError:
            return fault(404, "it does not exist (any more)")
        except ImageError as error:
            return fault(404, f"no picture available: {error}")
        except CommandRefusedError as error:
            return fault(409, str(error))
        except (StoreError, MachineError, BusyError, asyncio.CancelledError) as error:
            # uvicorn cancels what a stop has waited for long enough, and would log a traceback of each
            return fault(503, str(error))

    return wrapped


class Api:
    def __init__(self, daemon: ShownDaemon, overviews: Overviews, background: BackgroundWork) -> None:
        self._daemon, self._overviews, self._background = daemon, overviews, background
        self._checks, self._metrics = Checks(daemon), Metrics(overviews)
        self._cache = overviews.cache
        self._downloads = Downloads(daemon, background)
        self.screening = Screening(daemon, background, self._downloads, self._cache)

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"alive": True})

    @answering
    async def readyz(self, _: Request) -> Response:
        health = await self._background.look_up(lambda _: self._checks.health())
        return _json(as_json(health), 200 if health.ready else 503)

    @answering
    async def metrics(self, request: Request) -> Response:
        text, content_type = self._metrics.encoded(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    @answering
    async def stats(self, _: Request) -> Response:
        return _json(as_json(self._overviews.overview()))

    @answering
    async def results(self, request: Request) -> Response:
        query = query_of(request.query_params)
        visible = self._daemon.visible
        query = replace(query, before=min(query.before, visible + 1))
        page = await self._background.look_up(lambda journal: look_up(query, journal.before))
        lines = b",".join(delivery.line for delivery in page.found)
        before = b"null" if page.before is None else b"%d" % page.before
        return _json(b'{"results":[%b],"before":%b,"last_event_id":%d}' % (lines, before, visible))

    @answering
    async def events(self, request: Request) -> Response:
        query = event_query_of(request.query_params)
        rows = await self._background.look_up(lambda journal: journal.events(**msgspec.structs.asdict(query)))
        return _json(page_of(rows, query))

    @answering
    async def stream(self, request: Request) -> Response:
        hub = self._overviews.hub
        if hub.full:
            return fault(503, "too many streams are open")
        client = StreamClient(request.state.hang_up, pulse="stats" in request.query_params)
        after = self._start_of(request)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        body = streamed(hub, client, read=self._missed, after=after)
        with ExitStack() as held:
            held.enter_context(hub.place())
            return HeldResponse(body, "text/event-stream", headers, held.pop_all())

    @answering
    async def record(self, request: Request) -> Response:
        record_id = request.path_params["id"]
        line = await self._background.look_up(lambda journal: journal.line(record_id))
        return fault(404, "no such record in the journal") if line is None else _json(line)

    @answering
    async def thumbnail(self, request: Request) -> Response:
        record_id, size = request.path_params["id"], request.query_params.get("size", "small")
        if size not in SIZES:
            raise QueryError(f"size: one of {' and '.join(SIZES)}")
        key = f"{record_id}-{size}"
        row = await self._background.look_up(lambda journal: journal.find(record_id))
        if row is None:
            return fault(404, "no such record in the journal")
        headers = {"ETag": f'"{key}"', "Cache-Control": FOR_GOOD}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        picture = await self._picture(row, record_id, size)
        return Response(picture, headers=headers, media_type="image/jpeg")

    @answering
    async def seen(self, request: Request) -> Response:
        """Give the picture with what the model in force sees of it."""
        record_id = request.path_params["id"]
        row = await self._background.look_up(lambda journal: journal.find(record_id))
        if row is None:
            return fault(404, "no such record in the journal")
        plan = self._daemon.plan.of(decode(row.line).camera)
        picture = await self._picture(row, record_id, "large")
        shown = await self._background.paint(lambda: drawn(plan, pixels_of(picture)))
        jpeg = as_jpeg(shown, longest=LARGEST)
        return Response(jpeg, headers={"Cache-Control": "no-store"}, media_type="image/jpeg")

    @answering
    async def film(self, request: Request) -> Response:
        return await self.screening.film(request)

    @answering
    async def clip(self, request: Request) -> Response:
        return await self.screening.play(request)

    @answering
    async def original(self, request: Request) -> Response:
        return await self._downloads.original(request)

    @answering
    async def export(self, request: Request) -> Response:
        return await self._downloads.export(request)

    @answering
    async def explanation(self, request: Request) -> Response:
        picture = await self._explained(request.path_params["id"])
        return Response(picture, headers={"Cache-Control": FOR_GOOD}, media_type="image/jpeg")

    @answering
    async def explain(self, request: Request) -> Response:
        """Have an explanation made where there is none; it is then to be had by GET for a while."""
        if not is_own_doing(request.headers):
            return fault(403, _STRANGER)
        record_id = request.path_params["id"]
        try:
            await self._explained(record_id)
        except FileNotFoundError:
            await self._background.order(lambda: self._make_explanation(record_id))
        return JSONResponse({"ok": True})

    @answering
    async def command(self, request: Request) -> Response:
        if not is_own_doing(request.headers):
            return fault(403, _STRANGER)
        name = request.path_params["name"]
        if name not in COMMANDS:
            return fault(404, f"no such command; known commands: {', '.join(COMMANDS)}")
        await self._background.order(lambda: self._obeyed(command=name))
        return JSONResponse({"ok": True})

    async def _picture(self, row: RecordedFile, record_id: str, size: str) -> bytes:
        """Return a JPEG of it, of a clip's surest frame; raises ImageError, FileNotFoundError, BusyError."""
        key = f"{record_id}-{size}"
        if (picture := self._cache.get(key)) is not None:
            return picture
        if clip := clip_of(row.line):
            return await self.screening.surest(row, record_id, clip, size)
        config = self._daemon.config
        bounds = Bounds(config.limits.max_bytes, config.limits.max_pixels, depth=config.images.depth)
        make = partial(make_thumbnail, row, record_id, config.watch, bounds, size)
        picture = await self._background.paint(lambda: self._cache.get(key) or make())
        self._cache.put(key, picture)
        return picture

    async def _explained(self, record_id: str) -> bytes:
        """Raises FileNotFoundError where there is no explanation (yet)."""
        if made := self._cache.get(f"{record_id}-why"):
            return made
        line = await self._background.look_up(lambda journal: journal.line(record_id))
        record = decode(line) if line is not None else None
        if not isinstance(record, Result) or record.explanation is msgspec.UNSET:
            raise FileNotFoundError(record_id)
        find = partial(read_explanation, record.explanation, self._daemon.config.watch)
        return await self._background.paint(find)

    def _make_explanation(self, record_id: str) -> None:
        if self._cache.get(f"{record_id}-why"):  # who asked before had it made
            return
        found = self._obeyed(command="explain", id=record_id)
        picture = msgspec.convert(found, _Explained).image_jpeg_base64
        self._cache.put(f"{record_id}-why", picture)

    def _obeyed(self, **order: str) -> object:
        answer = msgspec.json.decode(self._daemon.obey(msgspec.json.encode(order)), type=_Obeyed)
        if not answer.ok:
            raise CommandRefusedError(answer.error)
        return answer.result

    def _start_of(self, request: Request) -> int:
        """After which record a stream begins; one that is not there yet is another journal's."""
        visible = self._daemon.visible
        said = request.headers.get("last-event-id") or request.query_params.get("after")
        after = whole_number(said, "after, the id of an event")
        if after is None:
            return visible
        return after if after <= visible else 0

    async def _missed(self, after: int, limit: int) -> Sequence[Delivery]:
        visible = self._daemon.visible
        if after >= visible:
            return []
        page = await self._background.look_up(lambda journal: journal.pending(after, limit))
        return beginning([delivery for delivery in page if delivery.seq <= visible])


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json")
