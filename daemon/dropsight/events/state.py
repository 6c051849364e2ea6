"""What the machine remembers between two records: small, bounded, fit to be kept on disk."""

import msgspec

MOST_CAMERAS = 1_000
MOST_SPELLS = 8
MOST_TOLD = 8


class Best(msgspec.Struct, frozen=True, gc=False):
    """The answer of an event that is the surest, by the id of its record."""

    id: str
    confidence: float
    label: str


class Hit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An answer that names it; `nth` of those that came near it, in `times` pictures.

    Only a `sure` one confirms, together with others that need not be; or several, `share` 1 on average.
    """

    at: float
    best: Best
    region: str | None
    nth: int
    times: int
    sure: bool = True
    share: float = 0.0
    """Of what its label needs; 0 in what was kept before there was one."""
    kept: bool = True
    """Whether an event would go on with it."""
    is_clip: bool = False


class Spell(msgspec.Struct, omit_defaults=True):
    """A stretch of one camera's time in which a rule found what it looks for; an event once it has an id.

    `started` and `last` are when the first and the last picture of it were captured.
    """

    started: float
    last: float
    heard: float
    """When the last picture near it was answered."""
    hits: list[Hit] = []
    """Until it is an event."""
    answers: int = 0
    """That came near it, until it is one."""
    id: str = ""
    count: int = 0
    clips: int = 0
    """So many of `count`."""
    best: Best | None = None
    region: str | None = None
    worth: float = 0.0
    """The confidence that was last worth a message."""
    notified: float | None = None
    """The confidence with which people were last told."""
    ended: bool = False
    """Whether its end was told; it goes on all the same if more of it comes."""


class Notice(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """When people were told of an event: the times of the picture that it was because of."""

    at: float
    heard: float


class Stream(msgspec.Struct, omit_defaults=True):
    """One rule at one camera; `spells` in the order in which they were last added to."""

    spells: list[Spell] = []
    told: list[Notice] = []


class State(msgspec.Struct):
    """Streams by camera and rule, none without spells and notices."""

    cameras: dict[str, dict[str, Stream]] = {}
