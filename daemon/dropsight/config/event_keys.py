"""The keys of event rules, and where on earth the cameras are."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

USUAL_CONFIDENCE = 0.6
"""What an answer needs where a rule does not say."""
_Share = Annotated[float, Meta(ge=0, le=1)]
_Tag = Annotated[str, Meta(description="a text")] | bool | int | float


class Location(Struct, frozen=True):
    """Where the sun rises and sets; `time_zone` is that of times of day, null the system's."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    time_zone: Annotated[str, Meta(description="a name such as Europe/Berlin")] | None = None


class Unless(Struct, frozen=True):
    """Another event, and how many seconds around it none of this one begins."""

    event: Annotated[str, Meta(description="the name of another event")]
    within_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 60.0


class EventRule(Struct, frozen=True):
    """When answers become an event, when that ends, and who is told."""

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="a name of letters, digits, - and _")
    ]
    labels: Annotated[
        tuple[str, ...], Meta(min_length=1, description='a list of labels such as ["red fox", "group:cat"]')
    ]
    cameras: Annotated[
        tuple[str, ...], Meta(min_length=1, description='a list of cameras such as ["front", "garden*"]')
    ] = ("*",)
    regions: Annotated[tuple[str, ...], Meta(description='a list of regions such as ["door"]')] = ()
    tags: dict[str, _Tag] = {}
    confidence: Annotated[dict[str, _Share], Meta(extra={"alone": "*"})] = {}
    confirm: Annotated[
        str, Meta(description='how many of how many answers, such as "2 of 3" or "2 of 3 on average"')
    ] = "2 of 3 on average"
    within_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    keep: _Share | None = None
    end_after_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 120.0
    cooldown_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 300.0
    renotify_above: tuple[_Share, ...] = ()
    active: Annotated[str, Meta(description='times of day such as "22:00-06:00"')] | None = None
    days: Annotated[str, Meta(description='days such as "mon..fri"')] | None = None
    unless: Unless | None = None
    notify: Annotated[tuple[str, ...], Meta(description='a list of targets such as ["phone"]')] = ()


class ProblemEvents(Struct, frozen=True):
    """What is wrong with cameras, broker or disk, as events."""

    of: Annotated[
        tuple[Literal["camera", "broker", "disk"], ...],
        Meta(min_length=1, description='a list such as ["camera", "disk"]'),
    ] = ("camera", "broker", "disk")
    notify: Annotated[tuple[str, ...], Meta(description='a list of targets such as ["phone"]')] = ()
