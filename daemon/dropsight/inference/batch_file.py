"""Results of many images written to disk as they come: a file as `BatchResults` writes it, in flat memory."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from dropsight.inference.result_files import is_stream, whole
from dropsight.inference.results import BatchResults, ClipResult, ImageFailure, Outcome
from dropsight.names import as_json

_INDENT = b"    "


class BatchFile:
    """What is there at the end is whole; until then the results lie in a file without a name beside it."""

    def __init__(self, path: Path) -> None:
        """Begin; raises OSError, as all of it does."""
        self._path = path
        beside = None if is_stream(path) else path.parent
        self._body = tempfile.TemporaryFile(dir=beside)  # noqa: SIM115 - closed by `with`
        self.count = self.failed = 0

    def add(self, result: Outcome | ClipResult) -> None:
        text = msgspec.json.format(as_json(result), indent=2)
        between = b",\n" if self.count else b"\n"
        self._body.write(between + _INDENT + text.replace(b"\n", b"\n" + _INDENT))
        self.count += 1
        self.failed += isinstance(result, ImageFailure)

    def finish(self, summary: BatchResults) -> None:
        """Write `summary`, whose own results do not count, with those that were added."""
        head, _, end = summary.to_json().rpartition("[]")
        self._body.seek(0)
        with whole(self._path) as file:
            file.write(head.encode() + b"[")
            shutil.copyfileobj(self._body, file)
            file.write((b"\n  ]" if self.count else b"]") + end.encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._body.close()
