"""Middleware around every request: access, size limits, security headers."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dropsight.web.access import Access
from dropsight.web.unsent import UnsentAnswers
from dropsight.web.yielding import AddressTurns

BODY_BYTES = 4_096
TARGET_BYTES = 2_048
WRONG_SECONDS = 1.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Nothing of these tells anything of the images or of the device.
_OPEN = ("/static/", "/healthz", "/login")


class Guard:
    """Middleware, outermost."""

    def __init__(self, app: ASGIApp, access: Access, turns: AddressTurns) -> None:
        self._app, self._access, self._turns = app, access, turns
        self._unsent = UnsentAnswers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _seal(message)
            await self._unsent.pass_on(message, scope, send)

        refusal = self._refusal(scope)
        if refusal and refusal.status_code == 401 and "authorization" in Headers(scope=scope):
            await asyncio.sleep(WRONG_SECONDS)
        address, _ = scope["client"] or ("", 0)
        if not await self._turns.mine(address, scope["state"]["gone"]):
            return
        answer: ASGIApp = refusal or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        # Browsers always name one; programs of HTTP/1.0 need not, as proxies that look whether we are well.
        if "host" in headers and not self._access.answers_to(headers["host"]):
            return _error(421, "unknown host name; use localhost, or set web.token_file")
        if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES:
            return _error(414, "the address is too long")
        if _sends_too_much(scope["method"], headers):
            return _error(413, "the request is too large")
        if scope["path"].startswith(_OPEN) or self._is_admitted(scope, headers):
            return None
        if scope["path"] in {"/", "/events"} and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", status_code=303)
        return _error(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _is_admitted(self, scope: Scope, headers: Headers) -> bool:
        if not self._access.admits(headers):
            return False
        scope["state"]["admit"]()
        return True


def _sends_too_much(method: str, headers: Headers) -> bool:
    if "transfer-encoding" in headers:
        return True
    length = headers.get("content-length", "0")
    digits = length if length.isascii() and length.isdecimal() and len(length) < 10 else str(BODY_BYTES + 1)
    return int(digits) > (BODY_BYTES if method == "POST" else 0)


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    # What was sent along is not read, so the connection cannot go on.
    return JSONResponse({"error": text}, status, headers={"Connection": "close", **(headers or {})})


def _seal(message: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    if "cache-control" not in headers:
        headers["Cache-Control"] = "no-store"
