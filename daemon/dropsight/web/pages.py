"""The dashboard's own files, read once."""

from collections.abc import Mapping
from hashlib import blake2b
from importlib import resources
from types import MappingProxyType

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}


class Page(msgspec.Struct, frozen=True):
    data: bytes
    media_type: str
    etag: str

    def answer(self, request: Request, *, status: int = 200) -> Response:
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        if status == 200 and request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.data, status, headers=headers, media_type=self.media_type)


def read_pages() -> Mapping[str, Page]:
    """All files by name; a request's name is looked up among them, so it never becomes a path."""
    folder = resources.files("dropsight.web") / "static"
    pages = {}
    for file in folder.iterdir():
        ending = file.name.rpartition(".")[2]
        if ending in _TYPES:
            data = file.read_bytes()
            etag = f'"{blake2b(data, digest_size=12).hexdigest()}"'
            pages[file.name] = Page(data, _TYPES[ending], etag)
    return MappingProxyType(pages)
