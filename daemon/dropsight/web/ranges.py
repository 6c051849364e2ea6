"""Files sent as a whole or in part (RFC 9110, 14): one range at a time, read as it is sent."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dropsight.errors import MachineError
from dropsight.images.opening import ImageFile
from dropsight.web.spare_threads import aside

CHUNK_BYTES = 2**18
_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*", re.ASCII | re.IGNORECASE)


class UnsatisfiableError(Exception):
    """What is asked for lies beyond the end."""


class HeldResponse(StreamingResponse):
    """Holds its file or its place until it is sent or the client is gone."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: dict[str, str],
        held: ExitStack,
        *,
        status: int = 200,
    ) -> None:
        super().__init__(pieces, status, headers=headers, media_type=media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def asked_part(text: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that a Range asks for.

    None where it asks for the whole, or in a way that may be passed over: several ranges at once, another
    unit. Raises UnsatisfiableError.
    """
    found = _RANGE.fullmatch(text or "")
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if begin >= end:
        raise UnsatisfiableError
    return begin, end


def file_response(
    request: Request,
    file: ImageFile,
    media_type: str,
    headers: dict[str, str],
    held: ExitStack,
    *,
    most: int | None = None,
) -> Response:
    """Answer with the file or the part of it that is asked for; `held` is closed once that is sent.

    No answer to a Range has more than `most` bytes: a player asks for the rest when it gets there, and one
    that is paused keeps nothing open. `headers` has the ETag that If-Range is compared with.
    """
    size, status = file.stat.st_size, 200
    headers = {**headers, "Accept-Ranges": "bytes"}
    begin, end = 0, size
    try:
        valid = request.headers.get("if-range") in {None, headers["ETag"]}
        part = asked_part(request.headers.get("range"), size) if valid and request.method == "GET" else None
    except UnsatisfiableError:
        held.close()
        refused = {**headers, "Content-Range": f"bytes */{size}", "Cache-Control": "no-store"}
        return Response(status_code=416, headers=refused)
    if part:
        begin, end = part
        end = min(end, begin + most) if most else end
        status = 206
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - begin)
    if request.method == "HEAD":
        held.close()
        return Response(status_code=status, headers=headers, media_type=media_type)
    return HeldResponse(_pieces(request, file, begin, end), media_type, headers, held, status=status)


async def _pieces(request: Request, file: ImageFile, begin: int, end: int) -> AsyncIterator[bytes]:
    while begin < end:
        try:
            piece = await aside(_piece, file, min(end - begin, CHUNK_BYTES), begin)
        except MachineError:
            piece = b""
        if not piece:
            request.state.hang_up()
            await asyncio.wait([request.state.gone])  # before anybody misses the rest of the answer
            return
        begin += len(piece)
        yield piece


def _piece(file: ImageFile, size: int, begin: int) -> bytes:
    """Return nothing where its owner has cut it meanwhile, or its disk is gone: there is no way to say so."""
    try:
        return os.pread(file.fd, size, begin)
    except OSError:
        return b""
