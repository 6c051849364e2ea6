"""A job from its sources to its last part: listed once, begun or gone on with, told how far it is."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Literal

import msgspec

from dropsight.archive import job_file, manifest, shard_parts
from dropsight.archive.answer_settings import settings_of
from dropsight.archive.driving import drive
from dropsight.archive.engines import engine_named
from dropsight.archive.headway import Headway, timestamp
from dropsight.archive.job_file import JobFile, JobState, ModelCard, versions
from dropsight.archive.job_lock import sole_driver
from dropsight.archive.listing import Listed, files_of
from dropsight.archive.manifest import ManifestFacts
from dropsight.archive.output_formats import remove_formats
from dropsight.archive.rows import further_of
from dropsight.archive.storage import Storage, absolute
from dropsight.archive.tasks import STEP_SECONDS, ArchiveJob, Shard, shard_rows_for, shards_of
from dropsight.archive.urls import protocols_of
from dropsight.config import Inference
from dropsight.errors import ConfigError
from dropsight.inference.runtime import ImageInferenceRuntime
from dropsight.inference.wording import unknown_above, without_effect
from dropsight.models.backends import locate
from dropsight.models.isolated import try_in_a_copy
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions, ModelSpec

log = logging.getLogger(__name__)


class ArchiveOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    sources: Sequence[str]
    out: str
    model: str
    engine: str
    address: str | None
    shard_rows: int | None
    """None for what fits the number of images, or goes on with what is there."""
    tta: bool
    embeddings: bool
    unknown: float | Literal["auto"] | None = None
    overwrite: bool
    most_seconds: int = STEP_SECONDS


def run_archive(asked: ArchiveOrder, *, stopped: Callable[[], bool]) -> JobFile:
    """Do what is missing, all of it or until `stopped`; raises DropsightError, and leaves what can go on."""
    storage, sources = Storage(absolute(asked.out)), [absolute(source) for source in asked.sources]
    try_in_a_copy(asked.model, ModelOptions(), said=ModelOverrides())
    with ImageInferenceRuntime(asked.model, threads=1, embeddings=asked.embeddings) as runtime:
        spec = runtime.spec
    _unknown(asked, spec)  # what it raises, before anything is made
    storage.make()
    with sole_driver(storage, stopped=stopped) as driver:
        ended = _gone_on(storage, sources, asked, spec, stopped=lambda: stopped() or driver.lost)
        driver.need()
    return ended


def _gone_on(
    storage: Storage,
    sources: Sequence[str],
    asked: ArchiveOrder,
    spec: ModelSpec,
    *,
    stopped: Callable[[], bool],
) -> JobFile:
    storage.sweep()
    facts = (_listed_anew if asked.overwrite else _listed)(storage, sources, stopped)
    former = job_file.read_job(storage)
    former = former if former and former.manifest == facts.digest else None
    begun = former if any(map(shard_parts.is_part, storage.names())) else None
    further = _further(storage, spec, begun)
    job = ArchiveJob(
        out=storage.place,
        manifest=facts.digest,
        model=spec.digest,
        shard_rows=asked.shard_rows or (former and max(former.shard_rows, 1)) or shard_rows_for(facts.rows),
        tta=asked.tta,
        most_seconds=asked.most_seconds,
        embeddings=asked.embeddings,
        settings=settings_of(spec, sets="prediction_set" in further),
        groups=bool(spec.groups) and (begun is None or bool(begun.groups)),
        further=further,
        unknown=_unknown(asked, spec),
        protocols=protocols_of(sources),
    )
    shards = shards_of(facts.rows, job.shard_rows)
    done = shard_parts.finished(job, shards)
    before = sum((Counter(part.counts) for part in done.values()), Counter[str]())
    missing = [shard for shard in shards if shard.number not in done]
    with Headway(storage, _begun(job, facts, spec, asked), before) as headway:
        return _worked_off(job, asked, missing, headway, stopped)


def _further(storage: Storage, spec: ModelSpec, begun: JobFile | None) -> tuple[str, ...]:
    """Return which of the columns that not every model has there are to be; say which are missing."""
    wanted = further_of(spec)
    missing = [name for name in wanted if begun is not None and name not in begun.further]
    if missing:
        without = shard_parts.columns_named(missing)
        log.warning(
            "%s was begun without %s, and stays without; start over with --overwrite to have them",
            storage.place,
            without,
        )
    return tuple(name for name in wanted if name not in missing)


def _unknown(asked: ArchiveOrder, spec: ModelSpec) -> float | None:
    """Return the flatness above which an answer is none; raises ConfigError where that has no effect."""
    inference = Inference(unknown="off" if asked.unknown is None else asked.unknown)
    if idle := without_effect(spec, inference):
        raise ConfigError([idle.replace("inference.unknown", "--unknown")])
    return unknown_above(spec, inference)


def _listed_anew(storage: Storage, sources: Sequence[str], stopped: Callable[[], bool]) -> ManifestFacts:
    """List, and only then take away what former jobs have written."""
    facts = manifest.write_manifest(storage, _found(sources, stopped), sources)
    storage.remove([name for name in storage.names() if name == job_file.NAME or shard_parts.is_part(name)])
    remove_formats(storage)
    return facts


def _worked_off(
    job: ArchiveJob,
    asked: ArchiveOrder,
    missing: Sequence[Shard],
    headway: Headway,
    stopped: Callable[[], bool],
) -> JobFile:
    if not missing:
        former = job_file.read_job(job.storage)
        whole = former is not None and former.state == "done" and former.images == former.total
        return former if former and whole else headway.write("done")
    headway.write("running")
    make = engine_named(asked.engine)
    model = str(locate(asked.model).absolute())
    state: JobState = "failed"
    with closing(make(job, model, address=asked.address, most=len(missing))) as engine:
        try:
            for _, done in drive(engine, missing, stopped=stopped):
                headway.add(done.counts, workers=engine.workers)
            state = "stopped" if stopped() else "done"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            ended = headway.write(state, workers=engine.workers, versions=versions(engine.libraries))
    return ended


def _listed(storage: Storage, sources: Sequence[str], stopped: Callable[[], bool]) -> ManifestFacts:
    """Return the manifest that is there; else list, once and for all."""
    facts = manifest.read_facts(storage)
    if facts is None:
        if strangers := [name for name in storage.names() if shard_parts.is_part(name)]:
            raise ConfigError(
                [f"{storage.named(strangers[0])}: a part without its manifest; start over with --overwrite"]
            )
        facts = manifest.write_manifest(storage, _found(sources, stopped), sources)
    elif list(facts.sources) != list(sources):
        fault = f"{storage.named(manifest.NAME)}: the manifest of {', '.join(facts.sources)}"
        raise ConfigError([f"{fault}; give these again, name another folder, or start over with --overwrite"])
    return facts


def _found(sources: Sequence[str], stopped: Callable[[], bool]) -> Iterator[Listed]:
    """Yield all, one at least: a manifest of nothing is not written."""
    none = True
    for source in sources:
        for each in files_of(source):
            none = False
            yield each
            if stopped():
                raise KeyboardInterrupt
    if none:
        raise ConfigError([f"no images in {', '.join(sources)}"])


def _begun(job: ArchiveJob, facts: ManifestFacts, spec: ModelSpec, asked: ArchiveOrder) -> JobFile:
    now = timestamp()
    return JobFile(
        state="running",
        total=facts.rows,
        images=0,
        ok=0,
        errors={},
        images_per_second=0.0,
        seconds=0.0,
        engine=asked.engine,
        workers=0,
        shard_rows=job.shard_rows,
        tta=job.tta,
        embeddings=spec.features,
        groups=job.groups,
        further=job.further,
        unknown=job.unknown,
        sources=facts.sources,
        manifest=facts.digest,
        model=ModelCard(spec.name, spec.digest, spec.format, spec.quantization, spec.labels),
        begun=now,
        updated=now,
        versions=versions(),
    )
