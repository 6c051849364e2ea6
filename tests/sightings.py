"""Sightings that no camera made."""

from dropsight.events.sighting import Claim, Sighting

EPOCH = 1_800_000_000.0
"""A Friday morning, 15 January 2027, 08:00 UTC."""


def seen(
    at: float,
    label: str = "red fox",
    confidence: float = 0.9,
    *,
    camera: str = "front",
    record: str = "",
    region: str | None = None,
    times: int = 1,
    heard: float | None = None,
    tags: dict[str, str | int | float | bool] | None = None,
    is_clip: bool = False,
) -> Sighting:
    """Of one label, so many seconds after the epoch; the record's id says when and where."""
    return Sighting(
        seq=None,
        id=record or f"{camera}-{at:g}",
        at=EPOCH + at,
        heard=EPOCH + (at if heard is None else heard),
        camera=camera,
        answers=(Claim(label, confidence, region, times),),
        tags=tags or {},
        is_clip=is_clip,
    )


def nothing(at: float, *, camera: str = "front") -> Sighting:
    """What shows something else."""
    return seen(at, "patio", 0.8, camera=camera)
