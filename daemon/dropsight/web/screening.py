"""Clips in a browser: pictures of them, and the clip itself, a part at a time."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from dropsight.errors import ImageError
from dropsight.images.opening import ImageFile
from dropsight.journal.reader import RecordedFile
from dropsight.video.decoder import ClipDecoder
from dropsight.video.sniffing import HEAD_BYTES, is_clip, media_type
from dropsight.web.background import BackgroundWork
from dropsight.web.downloads import Downloads
from dropsight.web.films import ClipPictures
from dropsight.web.pictures import FOR_GOOD, SIZES, PictureFiles, find_image
from dropsight.web.ranges import file_response
from dropsight.web.shown_daemon import ShownDaemon
from dropsight.web.stills import ShownClip, clip_of, strip, surest

# Whatever a player asks for; what it does not play, it has not fetched.
PART_BYTES = 2**22


class Screening:
    def __init__(
        self, daemon: ShownDaemon, background: BackgroundWork, downloads: Downloads, cache: PictureFiles
    ) -> None:
        self._daemon, self._background, self._downloads, self._cache = daemon, background, downloads, cache
        self._pictures = ClipPictures()

    async def surest(self, row: RecordedFile, record_id: str, clip: ShownClip, size: str) -> bytes:
        """Return a JPEG of the peak frame; raises as `find_image` and `ClipPictures.make` do."""
        return await self._kept(
            row,
            record_id,
            size,
            lambda decoder, file, most: surest(decoder, file, clip, longest=SIZES[size], max_pixels=most),
        )

    async def film(self, request: Request) -> Response:
        """Give a strip of frames; raises as `surest` does."""
        record_id = request.path_params["id"]
        row = await self._background.look_up(lambda journal: journal.find(record_id))
        clip = clip_of(row.line) if row else None
        if row is None or clip is None:
            raise FileNotFoundError(record_id)
        picture = await self._kept(
            row, record_id, "film", lambda decoder, file, most: strip(decoder, file, clip, max_pixels=most)
        )
        return Response(picture, headers={"Cache-Control": FOR_GOOD}, media_type="image/jpeg")

    async def play(self, request: Request) -> Response:
        """Give a player what it asks for; raises FileNotFoundError, ImageError and BusyError."""
        record_id = request.path_params["id"]
        row = await self._background.look_up(lambda journal: journal.find(record_id))
        if row is None:
            raise FileNotFoundError(record_id)
        with self._downloads.place(request) as held:
            find = partial(find_image, row, record_id, self._daemon.config.watch)
            file = held.enter_context(await self._background.paint(find))
            head = file.head(HEAD_BYTES)
            if not is_clip(head):  # shown as what it is not, it could be anything
                raise ImageError("not_an_image", "it is no clip")
            headers = {"ETag": f'"{record_id}"', "Cache-Control": FOR_GOOD}
            return file_response(request, file, media_type(head), headers, held.pop_all(), most=PART_BYTES)

    def close(self) -> None:
        self._pictures.close()

    async def _kept(
        self,
        row: RecordedFile,
        record_id: str,
        name: str,
        make: Callable[[ClipDecoder, ImageFile, int], bytes],
    ) -> bytes:
        key = f"{record_id}-{name}"
        if kept := self._cache.get(key):
            return kept
        config = self._daemon.config

        def work(decoder: ClipDecoder) -> bytes:
            if kept := self._cache.get(key):  # who asked before had it made
                return kept
            with find_image(row, record_id, config.watch) as file:
                return make(decoder, file, config.limits.max_pixels)

        picture = await self._pictures.make(record_id, work)
        self._cache.put(key, picture)
        return picture
