"""`dropsight archive`."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from dropsight.archive.deployments import NEEDS_DEPLOYMENTS, Deployments, read_deployments
from dropsight.archive.headway import timestamp
from dropsight.archive.job_file import JobFile, read_job
from dropsight.archive.job_lock import driver_at, sole_driver
from dropsight.archive.output_formats import CAMTRAP_DP, FORMATS, PARQUET, FormatFacts, write_format
from dropsight.archive.running import ArchiveOrder, run_archive
from dropsight.archive.storage import Storage, absolute, keep_quiet
from dropsight.commands.faults import INTERRUPTED
from dropsight.commands.interrupts import stop_asked
from dropsight.commands.memory import bounded_memory
from dropsight.errors import ConfigError, InUseError
from dropsight.inference.runtime import DEFAULT_MODEL
from dropsight.names import as_shown

_STOPPING = "the shards in hand are finished first; Ctrl-C again stops at once"
_STOPPED = "stopped: the same command resumes from here"
_WAS_DONE = "was done before: for files that came since, name another folder, or list anew with --overwrite"


def archive(  # noqa: PLR0913 - its options
    sources: Sequence[str],
    *,
    output: str | None,
    engine: str,
    address: str | None,
    model: str | None,
    shard: int | None,
    tta: bool,
    embeddings: bool,
    unknown: str | None,
    formats: str,
    deployments: Path | None,
    overwrite: bool,
    status: bool,
    as_json: bool,
) -> int:
    """Classify what is missing; return 1 if every image failed, 130 after Ctrl-C."""
    keep_quiet()
    if status:
        return _show(sources, output, as_json=as_json)
    if output is None:
        raise ConfigError(["archive: -o is missing: name the folder, or the URL, for the results"])
    wanted = _formats(formats)
    placements = _deployments(deployments, wanted)
    asked = ArchiveOrder(
        sources=sources,
        out=output,
        model=model or DEFAULT_MODEL,
        engine=engine,
        address=address,
        shard_rows=shard,
        tta=tta,
        embeddings=embeddings,
        unknown=None if unknown is None else _flatness(unknown),
        overwrite=overwrite,
    )
    return _run(asked, output, wanted, placements, as_json=as_json)


def _run(
    asked: ArchiveOrder,
    output: str,
    wanted: Sequence[str],
    placements: Deployments | None,
    *,
    as_json: bool,
) -> int:
    """Classify, write the wanted formats once all is done, and say how it went."""
    now = timestamp()
    try:
        with stop_asked(_STOPPING) as stop, bounded_memory():
            job = run_archive(asked, stopped=stop.is_set)
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr)
        return INTERRUPTED
    storage = Storage(absolute(output))
    if job.state == "done" and wanted:
        _write(wanted, storage, FormatFacts(job, placements))
    if job.updated < now and not wanted:
        print(as_shown(f"{output}: {_WAS_DONE}"), file=sys.stderr)
    _say(job, output, as_json=as_json)
    if job.state == "stopped":
        print(_STOPPED, file=sys.stderr)
        return INTERRUPTED
    return int(job.ok == 0)


def _write(formats: Sequence[str], storage: Storage, facts: FormatFacts) -> None:
    """Write them of the parts of this job, while nobody else may replace these."""
    with sole_driver(storage, stopped=lambda: False) as driver, bounded_memory():
        now, ours = read_job(storage), facts.job
        if now is None or (now.manifest, now.model) != (ours.manifest, ours.model):
            raise InUseError(f"{storage.place}: another call has begun anew there: no formats are written")
        for name in formats:
            print(f"written: {write_format(name, storage, facts)}", file=sys.stderr)
        driver.need()


def _flatness(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    with contextlib.suppress(ValueError):
        if 0 < (flatness := float(text)) <= 1:
            return flatness
    raise ConfigError([f"--unknown {text}: give auto, or a number above 0, at most 1"])


def _formats(text: str) -> list[str]:
    known = {PARQUET, *FORMATS}
    wanted = [name.strip() for name in text.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError([f"--format {unknown[0]}: no such format; there are {', '.join(sorted(known))}"])
    return [name for name in wanted if name != PARQUET]


def _deployments(file: Path | None, formats: Sequence[str]) -> Deployments | None:
    """Read them before any work is done."""
    if file is None and CAMTRAP_DP in formats:
        raise ConfigError([NEEDS_DEPLOYMENTS])
    if file and CAMTRAP_DP not in formats:
        raise ConfigError([f"--deployments is for --format {CAMTRAP_DP}"])
    return read_deployments(file) if file else None


def _show(sources: Sequence[str], output: str | None, *, as_json: bool) -> int:
    if output is not None or len(sources) != 1:
        raise ConfigError(["archive --status: name the folder of the results, and nothing else"])
    storage = Storage(absolute(sources[0]))
    job = read_job(storage)
    if job is None:
        raise ConfigError([f"{sources[0]}: there is no job.json: no archive was written there"])
    driver = driver_at(storage) if job.state == "running" else None
    if job.state == "running" and driver is None:
        job = msgspec.structs.replace(job, state="interrupted")
    if not as_json:
        at_work = f"{job.model.name} by {job.engine}, {job.workers} workers"
        print(as_shown(f"{job.state}, as of {job.updated}: {at_work}"))
        if driver:
            print(as_shown(f"its driver is {driver.shown}"))
        elif job.state == "interrupted":
            print("no driver is running: the same command resumes")
    _say(job, sources[0], as_json=as_json)
    return 0


def _say(job: JobFile, output: str, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(job).decode())
        return
    failed = sum(job.errors.values())
    codes = ", ".join(f"{code} {count}" for code, count in job.errors.items())
    told = (
        f"{job.images} of {job.total} images in {output}; {failed} failed{f' ({codes})' if codes else ''}; "
        f"{job.seconds:.1f} s, {job.images_per_second:.1f} images/s"
    )
    print(as_shown(told))
