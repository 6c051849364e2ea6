"""Ids of records: the same after any crash."""

from collections.abc import Iterable
from hashlib import blake2b


def drop_id(device: str, relative_path: bytes, size: int, mtime_ns: int, *, repeat: int = 0) -> str:
    """The same drop has the same id after any crash; `repeat` counts earlier, finished drops just like it."""
    key = b"\0".join((device.encode(), relative_path, b"%d" % size, b"%d" % mtime_ns, b"%d" % repeat))
    return blake2b(key, digest_size=16).hexdigest()


def burst_id(photos: Iterable[str]) -> str:
    """The same photos, by the ids of their records, are the same burst after any crash."""
    return blake2b("\0".join(("burst", *sorted(photos))).encode(), digest_size=16).hexdigest()
