"""Answers that wait for their clients to take them: bounded in all, however many ask and read nothing."""

import asyncio
from collections.abc import Callable

import msgspec
from starlette.types import Message, Scope, Send

MOST_BYTES = 32 * 2**20
# What the kernel and the connection keep of one answer anyway is not counted.
PIECE_BYTES = 2**16


class _Unsent(msgspec.Struct, eq=False, frozen=True):
    body: bytes
    hang_up: Callable[[], None]


class UnsentAnswers:
    """Beyond the bound, who has taken nothing for the longest is hung up on. For the event loop's thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: dict[_Unsent, None] = {}
        """In the order in which they got on last."""

    async def pass_on(self, message: Message, scope: Scope, send: Send) -> None:
        """Send a part of an answer piece by piece, each once the one before is all but gone."""
        body = message.get("body", b"")
        if len(body) <= PIECE_BYTES:
            await send(message)
            return
        gone: asyncio.Future[None] = scope["state"]["gone"]
        unsent = _Unsent(body, scope["state"]["hang_up"])
        try:
            for begin in range(0, len(body), PIECE_BYTES):
                if gone.done():
                    return
                self._gets_on(unsent)
                piece, is_last = body[begin : begin + PIECE_BYTES], begin + PIECE_BYTES >= len(body)
                more = not is_last or message.get("more_body", False)
                await send({**message, "body": piece, "more_body": more})
        finally:
            self._waiting.pop(unsent, None)

    def _gets_on(self, unsent: _Unsent) -> None:
        self._waiting.pop(unsent, None)
        self._waiting[unsent] = None
        while self._bytes() > self._most_bytes and (stuck := next(iter(self._waiting))) is not unsent:
            del self._waiting[stuck]
            stuck.hang_up()

    def _bytes(self) -> int:
        """What all streams are sent is there once."""
        return sum(len(body) for body in {id(each.body): each.body for each in self._waiting}.values())
