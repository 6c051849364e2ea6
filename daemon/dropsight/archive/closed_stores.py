"""Whether a store refuses some of its files, or whoever asks: by a look at others of it."""

from collections.abc import Collection

from dropsight.archive.fetching import contents
from dropsight.archive.manifest import Named, read_facts, read_rows
from dropsight.archive.silent_servers import server_of
from dropsight.archive.storage import Storage
from dropsight.errors import ImageError, StoreError
from dropsight.images.opening import Bounds

_MOST_LOOKS = 64


def lets_in(storage: Storage, refused: Collection[Named]) -> bool:
    """Whether any other file can be read where these lie, of some from all over the manifest."""
    facts = read_facts(storage)
    rows, servers = facts.rows if facts else 0, {server_of(each.opens) for each in refused}
    for row in range(0, rows, max(rows // _MOST_LOOKS, 1)):
        (named,) = read_rows(storage, row, row + 1)
        if named not in refused and server_of(named.opens) in servers and _can_be_read(named):
            return True
    return False


def _can_be_read(named: Named) -> bool:
    try:
        contents(named, bounds=Bounds(), is_wanted=lambda _: False)
    except (ImageError, StoreError):
        return False
    return True
