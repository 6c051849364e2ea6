"""The page on which a person enters the token, once."""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from dropsight.errors import MachineError
from dropsight.web.access import COOKIE_SECONDS, Access, is_same_site
from dropsight.web.guard import BODY_BYTES, WRONG_SECONDS
from dropsight.web.pages import Page
from dropsight.web.spare_threads import aside

BODY_SECONDS = 5.0
_NOT_OURS = (
    "The form must come from this page. A proxy before it has to pass on the Host header as the browser"
    " sends it (nginx: proxy_set_header Host $http_host)."
)


class SignIn:
    """`hang_up` ends all streams: whose cookie is good comes back within seconds."""

    def __init__(self, access: Access, pages: Mapping[str, Page], *, hang_up: Callable[[], None]) -> None:
        self._access, self._pages, self._hang_up = access, pages, hang_up

    async def show(self, request: Request) -> Response:
        if self._access.admits(request.headers):
            return RedirectResponse("/", status_code=303)
        return self._pages["login.html"].answer(request)

    async def enter(self, request: Request) -> Response:
        """Give the browser its cookie where the token is right; a wrong one takes a second."""
        if not is_same_site(request.headers):
            return PlainTextResponse(_NOT_OURS, 403)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("The form was incomplete.", 408)
        try:
            said = parse_qs(body.decode("latin-1"), max_num_fields=4).get("token", [""])[0].strip()
        except ValueError:
            return PlainTextResponse("The form has one field, the token.", 400)
        if not self._access.matches(said):
            await asyncio.sleep(WRONG_SECONDS)
            return self._pages["login-wrong.html"].answer(request, status=401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            self._access.cookie_name,
            self._access.cookie(),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure="https" in {request.url.scheme, request.headers.get("x-forwarded-proto")},
        )
        return answer

    async def leave(self, request: Request) -> Response:
        if not is_same_site(request.headers):
            return PlainTextResponse(_NOT_OURS, 403)
        try:
            await aside(self._access.end, request.headers)
        except MachineError as error:
            return PlainTextResponse(f"You are still signed in: {error}", 503)
        self._hang_up()
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(self._access.cookie_name, httponly=True, samesite="strict")
        return answer


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            break
    return body[:BODY_BYTES]
