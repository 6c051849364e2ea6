"""How far a job is: a bar where somebody looks on, else a line now and then; and job.json."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec
from tqdm import tqdm

from dropsight.archive.job_file import JobFile, JobState
from dropsight.archive.storage import Storage

_LINE_SECONDS, _FILE_SECONDS = 30.0, 5.0


class Headway:
    """Counts images as they are done; `before` are those of earlier calls."""

    def __init__(self, storage: Storage, began: JobFile, before: Mapping[str, int]) -> None:
        self._storage, self._began = storage, began
        self.counts = Counter(before)
        self._before = self.counts.total()
        self._started = self._last_line = time.monotonic()
        self._last_file = 0.0
        self._bar = tqdm(
            total=began.total,
            initial=self._before,
            unit="img",
            disable=not sys.stderr.isatty(),
            smoothing=0.05,
        )

    @property
    def done_now(self) -> int:
        """How many images this call has done."""
        return self.counts.total() - self._before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def add(self, counts: Mapping[str, int], *, workers: int) -> None:
        self.counts.update(counts)
        self._bar.update(sum(counts.values()))
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            print(self._line(), file=sys.stderr, flush=True)
        if now - self._last_file >= _FILE_SECONDS:
            self._last_file = now
            self.write("running", workers=workers)

    def write(self, state: JobState, **facts: object) -> JobFile:
        """Write job.json and return what is in it."""
        now = msgspec.structs.replace(
            self._began,
            state=state,
            images=self.counts.total(),
            ok=self.counts["ok"],
            errors={code: count for code, count in sorted(self.counts.items()) if code != "ok"},
            images_per_second=round(self.done_now / max(self.seconds, 1e-9), 3),
            seconds=round(self.seconds, 3),
            updated=timestamp(),
            **facts,
        )
        now.write(self._storage)
        return now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def _line(self) -> str:
        return str(
            tqdm.format_meter(
                self.counts.total(),
                self._began.total,
                self.seconds,
                initial=self._before,
                unit="img",
                ncols=0,
            )
        )


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
