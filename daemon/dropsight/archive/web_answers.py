"""Answers of web servers that are read whole: a server may send anything, without an end."""

import errno
from importlib.util import find_spec

_MOST_SECONDS, _SILENT_SECONDS = 300.0, 60.0
MOST_BYTES = 2**26
PAGE_BYTES = 2**24
"""Of a page that lists a folder: of the shortest links, their reading takes twenty times as much."""


def bound_answers() -> None:
    """Have what fsspec reads whole bounded; whoever reads by the piece, as of images, counts for himself.

    Of all of it, the time.
    """
    if find_spec("aiohttp") is None:
        return
    import fsspec
    from aiohttp import ClientTimeout

    patience = ClientTimeout(total=_MOST_SECONDS, sock_connect=30, sock_read=_SILENT_SECONDS)
    for name in ("http", "https"):
        client = fsspec.config.conf.setdefault(name, {}).setdefault("client_kwargs", {})
        client.setdefault("response_class", _bounded())
        client.setdefault("timeout", patience)


def _bounded() -> type:
    from aiohttp import ClientResponse

    class BoundedAnswer(ClientResponse):
        most = MOST_BYTES

        async def read(self) -> bytes:
            if self._body is None:
                read = bytearray()
                async for piece in self.content.iter_any():
                    read += piece
                    if len(read) > self.most:
                        self.close()
                        raise OSError(errno.EFBIG, f"more than {self.most:,} bytes at once")
                self._body = bytes(read)
            return self._body

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            self.most = PAGE_BYTES
            return await super().text(encoding, errors)

    return BoundedAnswer
