"""What engines hand to workers and get back: small, and the same for all of them."""

import msgspec

from dropsight.archive.storage import Storage
from dropsight.errors import ConfigError, DropsightError
from dropsight.names import as_text

# So many at least, once there are images enough: at the end, some cores wait for the others' last shards.
_SHARDS = 128
# A part of its own costs a few milliseconds.
_LEAST_ROWS, _MOST_ROWS = 4, 1000
STEP_SECONDS = 300


class ArchiveJob(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker needs to know; a part's footer bears what `mark` says."""

    out: str
    manifest: str
    model: str
    """The digest of the model; where it lies is the engine's business."""
    shard_rows: int
    tta: bool = False
    most_seconds: int = STEP_SECONDS
    """For which a step of an image works, or sleeps: what takes longer hangs."""
    embeddings: bool = False
    settings: str = ""
    """The digest of what else decides answers; see `answer_settings`."""
    groups: bool = False
    further: tuple[str, ...] = ()
    """Which columns of `rows.FURTHER` its parts have."""
    unknown: float | None = None
    """The flatness above which an answer is none."""
    protocols: tuple[str, ...] = ()
    """By which its sources are opened; a manifest, perhaps a stranger's, may name more."""

    @property
    def storage(self) -> Storage:
        return Storage(self.out)

    def mark(self) -> "JobMark":
        return JobMark(
            self.manifest,
            self.model,
            self.shard_rows,
            self.tta,
            self.embeddings,
            self.settings,
            self.groups,
            self.unknown,
            self.further,
        )


class JobMark(msgspec.Struct, frozen=True):
    """By what a part is known as one of this job's; an older dropsight told no settings."""

    manifest: str
    model: str
    shard_rows: int
    tta: bool
    embeddings: bool = False
    settings: str = ""
    groups: bool = False
    unknown: float | None = None
    further: tuple[str, ...] = ()


class Shard(msgspec.Struct, frozen=True):
    """Rows of the manifest that become one part; `lethal` are those that end whoever tries them, and why.

    With `trial` nothing is written: it is to be seen which row ends the worker. With `last` nobody waits any
    longer for servers that do not answer.
    """

    number: int
    start: int
    stop: int
    lethal: dict[int, str] = {}
    trial: bool = False
    last: bool = False

    @property
    def rows(self) -> int:
        return self.stop - self.start

    @property
    def part(self) -> str:
        return f"part-{self.number:06}.parquet"


class ShardDone(msgspec.Struct, frozen=True, tag="done"):
    """How many images of the shard there are by their status: ok, or the code of their error."""

    counts: dict[str, int]


class ShardLost(msgspec.Struct, frozen=True, tag="lost"):
    """Whoever worked on it has ended; `how` says by what, `hung` whether because an image took too long.

    `unanswered` where a server that only a list names did not answer: it may, once all others are done.
    """

    how: str
    hung: bool = False
    unanswered: bool = False

    @property
    def said(self) -> str:
        return f"{self.how}: later again" if self.unanswered else f"the worker was ended by {self.how}"


class WorkerReady(msgspec.Struct, frozen=True, tag="ready"):
    pass


class WorkerFault(msgspec.Struct, frozen=True, tag="fault"):
    """The operator's, or the store's: it would be the same for every shard."""

    text: str
    exit_code: int = 1

    @classmethod
    def of(cls, error: DropsightError) -> "WorkerFault":
        return cls(as_text(str(error)), error.exit_code)

    def error(self) -> DropsightError:
        if self.exit_code == ConfigError.exit_code:
            return ConfigError(self.text.splitlines())
        return DropsightError(self.text)


def shard_rows_for(rows: int) -> int:
    """Return a size that gives each core of a large machine something to do, also of a few hundred images."""
    return min(max(rows // _SHARDS, _LEAST_ROWS), _MOST_ROWS)


def shards_of(rows: int, shard_rows: int) -> list[Shard]:
    return [
        Shard(number, start, min(start + shard_rows, rows))
        for number, start in enumerate(range(0, rows, shard_rows))
    ]
