"""Folders and files that never answer, as on a share whose server is gone, and disks that are not mounted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import TypeVar

import msgspec

from dropsight.config import Config
from dropsight.errors import StoreError
from dropsight.files.filesystems import FSTAB, unmounted_above
from dropsight.intake.mute_inboxes import PATIENCE_SECONDS, PlacesLook
from dropsight.models.backends import BUILTIN
from dropsight.names import as_text
from dropsight.threads import begin

T = TypeVar("T")
LOOK_SECONDS = 1.0


def refuse_mute(places: Iterable[Path]) -> None:
    """Raise StoreError naming those that do not answer."""
    looks = {place: PlacesLook((place,)) for place in places}
    for look in looks.values():
        look.wait()
    if mute := [as_text(place) for place, look in looks.items() if look.hangs]:
        text = (
            f"no answer for {PATIENCE_SECONDS:.0f} s: run waits until there is one, or its share is unmounted"
        )
        raise StoreError(f"{', '.join(mute)}: {text}")


def places_of(config: Config) -> set[Path]:
    """Return all that a config names but its inboxes, with `processed` and `failed`."""
    model = (config.model.path, *config.model.fallback)
    named = {Path(path) for path in model if not path.startswith(BUILTIN)}
    return named | set(_paths(msgspec.structs.replace(config, watch=())))


def unmounted(config: Config) -> Iterator[str]:
    """Say what lies on disks that are not mounted, though the machine's table names them."""
    away: dict[str, list[str]] = {}
    for path in sorted(set(_paths(config))):
        if place := unmounted_above(path):
            away.setdefault(place, []).append(as_text(path))
    for place, paths in away.items():
        yield f"{', '.join(paths)}: {as_text(place)}, which {FSTAB} names, is not mounted"


def answered(work: Callable[[], T], *, what: str) -> T:
    """Return what comes of this, done on a thread; raises StoreError where one call of it never ends."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            failed.append(error)

    thread = begin(Thread(target=run, name="look", daemon=True))
    before: str | None = None
    still = 0.0
    while thread.is_alive() and still < PATIENCE_SECONDS:
        thread.join(LOOK_SECONDS)
        now = _moves(thread.native_id)
        still = still + LOOK_SECONDS if now and now == before else 0.0
        before = now
    if failed:
        raise failed[0]
    if not done:
        raise StoreError(f"{what} does not answer: nothing came for {PATIENCE_SECONDS:.0f} s")
    return done[0]


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _paths(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _paths(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _paths(each)


def _moves(thread: int | None) -> str | None:
    """Return what is another each time that this thread has got on; None while it works, or at its end."""
    try:
        lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
    except OSError:
        return None
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return None if facts["State"].startswith("R") else facts["voluntary_ctxt_switches"]
