"""A small picture of a record, for those who are told of it: of its image, or of its clip's surest frame."""

from contextlib import closing

from dropsight.config import Config
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail_of
from dropsight.journal.reader import JournalReader
from dropsight.web.pictures import find_image
from dropsight.web.stills import clip_of, make_still


def picture_of(record_id: str, config: Config, *, longest: int) -> bytes:
    """Return a JPEG; raises DropsightError, FileNotFoundError where record or file are gone."""
    with closing(JournalReader(config.store.path)) as journal:
        row = journal.find(record_id)
    if row is None:
        raise FileNotFoundError(record_id)
    limits = config.limits
    bounds = Bounds(limits.max_bytes, limits.max_pixels, depth=config.images.depth)
    if clip := clip_of(row.line):
        return make_still(row, record_id, clip, config.watch, bounds, longest=longest)
    with find_image(row, record_id, config.watch) as file:
        return thumbnail_of(file, bounds, longest=longest)
