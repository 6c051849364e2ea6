"""What a worker does: reads a shard's images itself, classifies them by the pipeline, writes the part."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

import cv2
import msgspec

from dropsight.archive.answer_columns import answer_of
from dropsight.archive.answer_settings import settings_of
from dropsight.archive.closed_stores import lets_in
from dropsight.archive.containers import is_within
from dropsight.archive.fetching import REFUSED, contents, digest_of_clip, fetched, sweep_copies
from dropsight.archive.manifest import Named, read_rows
from dropsight.archive.rows import ArchiveRow, ClipColumns, packed, time_of
from dropsight.archive.shard_parts import write_part
from dropsight.archive.silent_servers import SilentServers
from dropsight.archive.step_time import StepTime
from dropsight.archive.storage import is_url
from dropsight.archive.tasks import ArchiveJob, Shard, ShardDone, ShardLost
from dropsight.archive.urls import check_listed, is_of_any_server
from dropsight.errors import ConfigError, ImageError, MemoryShortError, ModelError, StoreError
from dropsight.images.header import Header
from dropsight.inference import pipeline
from dropsight.inference.lookahead import look_ahead
from dropsight.inference.pipeline import Answer, Prepared
from dropsight.inference.runtime import ImageInferenceRuntime
from dropsight.inference.video_runtime import VideoInferenceRuntime
from dropsight.names import as_text
from dropsight.video.decoder import ClipBounds
from dropsight.video.sniffing import HEAD_BYTES, is_clip

# Of a store elsewhere, while the model works; a file of this machine is there at once.
_READ_AHEAD = 8
# Of a model that gains by it; one of TFLite does not.
_BATCH = 32


class _Read(NamedTuple):
    """A file's bytes, or the path of a clip, or why there is neither."""

    named: Named
    found: bytes | str | ImageError


class _Image(NamedTuple):
    named: Named
    sha256: str
    header: Header
    prepared: Prepared


class _UnansweredError(Exception):
    pass


class ShardWorker:
    """One model of one thread; one shard at a time."""

    def __init__(self, job: ArchiveJob, model: str) -> None:
        """Open the model; raises ModelError where it cannot be opened here, or is another than the job's."""
        cv2.setNumThreads(1)
        sweep_copies()
        self._job, self._waits, self._silent = job, True, SilentServers()
        self._images = ImageInferenceRuntime(
            model,
            use_tta=job.tta,
            threads=1,
            embeddings=job.embeddings,
            unknown="off" if job.unknown is None else job.unknown,
        )
        if self._images.spec.digest != job.model:
            raise ModelError(
                f"{model}: not the model that the job was started with: do not change it while the job runs"
            )
        if settings_of(self._images.spec, sets="prediction_set" in job.further) != job.settings:
            fault = "its labels, groups or settings are not those that the job was started with"
            raise ModelError(f"{model}: {fault}: do not change them while the job runs")
        with self._images.interpreter() as opened:
            self._batch = _BATCH if opened.shared else 1
        self._clips = VideoInferenceRuntime(images=self._images)
        self._step_time = StepTime()

    def do(self, shard: Shard) -> ShardDone | ShardLost:
        """Write the part, unless it is a trial; raises StoreError where a store does not do.

        It is lost where memory lacks, as others may have it that moment, and where a server of a list's does
        not answer that may do so later.
        """
        self._waits = not shard.last
        named = read_rows(self._job.storage, shard.start, shard.stop)
        try:
            rows = list(self._rows(named, shard))
        except MemoryShortError:
            return ShardLost("want of memory")
        except _UnansweredError as error:
            return ShardLost(as_text(str(error)), unanswered=True)
        refused = [row for row in rows if (row.error or "").startswith(REFUSED)]
        known = [each for each in named if not self._is_of_any_server(each.opens)]
        if len(rows) > 1 and refused == rows and known and not lets_in(self._job.storage, known):
            raise StoreError(f"{rows[0].path} and all others of a shard: {rows[0].error}")
        return ShardDone(write_part(self._job, shard, rows, features=self._images.spec.features))

    def _is_of_any_server(self, path: str) -> bool:
        """Whether a list names it, perhaps a stranger's, whose server may refuse it, or be gone."""
        return is_of_any_server(path, given=self._job.protocols)

    @contextmanager
    def _answering(self, named: Named) -> Iterator[None]:
        """Have it that file's fault, in the end, where a server does not answer that only a list names."""
        url = named.opens
        if not self._is_of_any_server(url):
            yield
            return
        if self._silent.is_silent(url, once=self._waits):
            raise self._unanswered("its server did not answer before")
        try:
            yield
        except StoreError as error:
            self._silent.note(url, answered=False)
            raise self._unanswered(str(error)) from error
        self._silent.note(url, answered=True)

    def _unanswered(self, how: str) -> Exception:
        return _UnansweredError(how) if self._waits else ImageError("unreadable", f"no answer: {how}")

    def close(self) -> None:
        self._step_time.close()
        self._clips.close()
        self._images.close()

    def _rows(self, named: Sequence[Named], shard: Shard) -> Iterator[ArchiveRow]:
        """Yield them in the manifest's order."""
        lethal = {named[row - shard.start]: how for row, how in shard.lethal.items()}
        with closing(self._read_all(named, lethal)) as read:
            prepared = map(self._prepared, read)
            while group := list(islice(prepared, self._batch)):
                yield from self._answered(group)

    def _read_all(self, named: Sequence[Named], lethal: dict[Named, str]) -> Generator[_Read, None, None]:
        read = partial(self._read, lethal=lethal)
        stored = [each.opens for each in named if is_url(each.opens)]
        if stored and not any(map(is_within, stored)):  # whose lists each thread would keep for itself
            yield from look_ahead(read, named, threads=_READ_AHEAD, most=_READ_AHEAD)
        else:
            yield from map(read, named)

    def _read(self, named: Named, lethal: dict[Named, str]) -> _Read:
        if named in lethal:
            return _Read(
                named, ImageError("unreadable", f"it crashes the worker that processes it: {lethal[named]}")
            )
        try:
            with self._answering(named):
                return _Read(named, self._clip_or_bytes(named))
        except ImageError as error:
            return _Read(named, error)

    def _clip_or_bytes(self, named: Named) -> bytes | str:
        if is_url(named.opens):
            try:
                check_listed(named.opens, given=self._job.protocols)
            except ConfigError as error:
                raise ImageError("unreadable", str(error)) from error
        data = contents(
            named, bounds=self._images.plan.bounds, is_wanted=lambda head: not is_clip(head[:HEAD_BYTES])
        )
        return named.opens if data is None else data

    def _prepared(self, read: _Read) -> _Image | ArchiveRow:
        named, found = read
        if isinstance(found, ImageError):
            return self._failure(named, found)
        if isinstance(found, str):
            return self._clip(named)
        digest = sha256(found).hexdigest()
        header, plan = None, self._images.plan
        try:
            with self._within(1):
                header = pipeline.examine(found, plan)
                return _Image(named, digest, header, pipeline.prepare(found, header, plan))
        except ImageError as error:
            return self._failure(named, error, digest, header)

    def _within(self, steps: int, *, more: float = 0) -> AbstractContextManager[None]:
        return self._step_time.within(self._job.most_seconds * steps + more)

    def _answers(self, prepared: Sequence[Prepared]) -> Sequence[Answer | ImageError]:
        plan = self._images.plan
        with self._images.interpreter() as model, self._within(len(prepared)):
            if len(prepared) > 1:
                return pipeline.predict_many(model, prepared, plan)
            try:
                return [pipeline.predict(model, prepared[0], plan)]
            except ImageError as error:
                return [error]

    def _answered(self, group: Sequence[_Image | ArchiveRow]) -> Iterator[ArchiveRow]:
        images = [each for each in group if isinstance(each, _Image)]
        answers = iter(self._answers([each.prepared for each in images]) if images else ())
        for each in group:
            if isinstance(each, ArchiveRow):
                yield each
                continue
            answer = next(answers)
            if isinstance(answer, ImageError):
                yield self._failure(each.named, answer, each.sha256, each.header)
            else:
                yield self._row(each, answer)

    def _row(self, image: _Image, answer: Answer) -> ArchiveRow:
        width, height = image.header.upright
        prepared = image.prepared
        spent = prepared.decode_ms + prepared.preprocess_ms + answer.inference_ms + answer.postprocess_ms
        captured = time_of(image.header.captured) if image.header.captured else _mtime(image.named)
        best = answer.best
        answered = answer_of(best.wording, best.predictions, best.present, best.heads)
        row = self._ok(image.named, answered, width, height, captured, image.sha256, latency_ms=spent)
        if answer.features is None:
            return row
        return msgspec.structs.replace(row, embedding=packed(answer.features))

    def _clip(self, named: Named) -> ArchiveRow:
        digest = None
        try:
            with self._answering(named), fetched(named, most_bytes=ClipBounds().max_bytes) as path:
                digest = digest_of_clip(path, most_bytes=ClipBounds().max_bytes)
                with self._within(1, more=ClipBounds().seconds + ClipBounds().patience):
                    found = self._clips.predict(path)
        except ImageError as error:
            return self._failure(named, error, digest)
        except FileNotFoundError:
            return self._failure(named, ImageError("unreadable", "there is no such file"), digest)
        clip, spent = found.clip, found.latency_ms
        facts = ClipColumns(
            clip.duration, clip.fps, clip.codec, clip.frames_read, clip.frames_classified, clip.peak.time
        )
        row = self._ok(
            named,
            answer_of(found, found.predictions, found.present, found.heads),
            clip.width,
            clip.height,
            _mtime(named),
            digest,
            latency_ms=spent.decode + spent.preprocess + spent.inference + spent.postprocess,
        )
        return msgspec.structs.replace(row, clip=facts)

    def _ok(
        self,
        named: Named,
        answered: dict[str, Any],
        width: int,
        height: int,
        captured: datetime | None,
        digest: str,
        *,
        latency_ms: float,
    ) -> ArchiveRow:
        return ArchiveRow(
            path=named.path,
            status="ok",
            **answered,
            width=width,
            height=height,
            captured=captured,
            sha256=digest,
            model_digest=self._job.model,
            latency_ms=latency_ms,
        )

    def _failure(
        self, named: Named, error: ImageError, digest: str | None = None, header: Header | None = None
    ) -> ArchiveRow:
        width, height = header.upright if header else (None, None)
        return ArchiveRow(
            path=named.path,
            status="failed",
            width=width,
            height=height,
            captured=_mtime(named),
            error_code=error.code,
            error=as_text(str(error)),
            sha256=digest,
            model_digest=self._job.model,
        )


def _mtime(named: Named) -> datetime | None:
    return None if named.mtime_us is None else datetime.fromtimestamp(named.mtime_us / 1e6, UTC)
