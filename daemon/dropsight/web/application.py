"""The web application, and the server that runs it on the thread it is called from."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dropsight.errors import MachineError, machine_error
from dropsight.journal.browsing import JournalBrowser
from dropsight.journal.outbox import Delivery
from dropsight.web.access import Access
from dropsight.web.api import Api, fault
from dropsight.web.background import BackgroundWork
from dropsight.web.connections import WebConnection
from dropsight.web.guard import Guard
from dropsight.web.history import POINT_SECONDS
from dropsight.web.overview import Overviews
from dropsight.web.pages import read_pages
from dropsight.web.signin import SignIn
from dropsight.web.yielding import AddressTurns, step_aside

log = logging.getLogger(__name__)

HEAD_BYTES = 16_384
IDLE_SECONDS = 30
# So many are let in before the first of them is looked at, whatever the bound of connections.
ACCEPTED_AT_ONCE = 32
GRACE_SECONDS = 1
TOLD_SECONDS = 60
RECALLED_AT_ONCE = 500
# Until what was recorded before is looked up again, where there is no thread for it.
RECALL_SECONDS = 5.0


async def serve(
    listener: socket.socket,
    overviews: Overviews,
    access: Access,
    *,
    on_started: Callable[[Callable[[], None]], None],
) -> None:
    """Serve until the function that `on_started` is given is called, from any thread."""
    background = BackgroundWork(overviews.daemon.config.store.path)
    turns = AddressTurns()
    api = Api(overviews.daemon, overviews, background)
    app = _application(api, access, turns, hang_up=overviews.hub.hang_up)
    server = uvicorn.Server(_settings(app))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_told_briefly())

    def end() -> None:
        overviews.hub.end()
        server.should_exit = True

    overviews.hub.begin()
    on_started(lambda: _call(loop, end))
    jobs = (overviews.hub.keep_beating(), _note(overviews), _recall(overviews, background))
    async with _beside(step_aside(turns, overviews.daemon.busy, background.spent_seconds), *jobs):
        await server.serve(sockets=[listener])
    api.screening.close()
    background.close()


def _told_briefly() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Have a shortage of the machine be a line a minute: asyncio logs up to 32 tracebacks a second of one."""
    told_at = -math.inf

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told_at
        error = context.get("exception")
        if not (isinstance(error, OSError) and machine_error(error)):
            loop.default_exception_handler(context)
        elif loop.time() - told_at >= TOLD_SECONDS:
            told_at = loop.time()
            log.warning("the dashboard lets nobody in for now: %s", error.strerror)

    return tell


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended already
        loop.call_soon_threadsafe(function)


def _settings(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=WebConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _application(api: Api, access: Access, turns: AddressTurns, *, hang_up: Callable[[], None]) -> Starlette:
    pages = read_pages()
    signin = SignIn(access, pages, hang_up=hang_up)

    async def dashboard(request: Request) -> Response:
        return pages["index.html"].answer(request)

    async def events(request: Request) -> Response:
        return pages["events.html"].answer(request)

    async def static(request: Request) -> Response:
        page = pages.get(request.path_params["name"])
        return page.answer(request) if page else fault(404, "no such file")

    record = "{id:str}"
    routes = [
        Route("/", dashboard),
        Route("/events", events),
        Route("/static/{name}", static),
        Route("/login", signin.show),
        Route("/login", signin.enter, methods=["POST"]),
        Route("/logout", signin.leave, methods=["POST"]),
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz),
        Route("/metrics", api.metrics),
        Route("/api/stats", api.stats),
        Route("/api/results", api.results),
        Route("/api/results/stream", api.stream),
        Route("/api/events", api.events),
        Route(f"/api/records/{record}", api.record),
        Route(f"/api/images/{record}/thumbnail", api.thumbnail),
        Route(f"/api/images/{record}/seen", api.seen),
        Route(f"/api/images/{record}/explanation", api.explanation),
        Route(f"/api/images/{record}/explanation", api.explain, methods=["POST"]),
        Route(f"/api/images/{record}/original", api.original),
        Route(f"/api/images/{record}/film", api.film),
        Route(f"/api/images/{record}/clip", api.clip),
        Route("/api/export", api.export),
        Route("/api/commands/{name}", api.command, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access, turns=turns)])


@asynccontextmanager
async def _beside(*jobs: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _note(overviews: Overviews) -> None:
    while True:
        overviews.note()
        await asyncio.sleep(POINT_SECONDS)


async def _recall(overviews: Overviews, background: BackgroundWork) -> None:
    """Count what an earlier life of the daemon recorded within the last day."""
    before, overviews.recalled_from = overviews.recalled_from, None  # once, also where served again
    while before is not None:
        try:
            page = await background.look_up(partial(_page, before=before))
        except MachineError:
            await asyncio.sleep(RECALL_SECONDS)
            continue
        going_on = overviews.days.recall(page) and len(page) == RECALLED_AT_ONCE
        before = page[-1].seq if going_on else None


def _page(journal: JournalBrowser, *, before: int) -> list[Delivery]:
    return journal.before(before, RECALLED_AT_ONCE)
