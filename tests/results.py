"""Results of archives as a job leaves them, for tests of what reads them: no model, no image."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from dropsight.archive.job_file import JobFile, ModelCard
from dropsight.archive.listing import Listed
from dropsight.archive.manifest import read_all, write_manifest
from dropsight.archive.rows import ArchiveRow
from dropsight.archive.shard_parts import write_part
from dropsight.archive.storage import Storage
from dropsight.archive.tasks import ArchiveJob, Shard

Answers = Mapping[str, tuple[str, float] | None]
"""By the file's path: label and confidence, None where it failed."""
LABELS = ("cat", "dog", "tiger cat", "fox")


def make_results(
    out: Path | str,
    answers: Answers,
    *,
    source: str = "/cards",
    labels: Sequence[str] = LABELS,
    model: str = "model",
    shard: int = 3,
    state: str = "done",
    groups: Mapping[str, str] = {},
) -> str:
    """`groups` are by label."""
    storage = Storage(str(out))
    storage.make()
    names = {f"{source}/{name}": said for name, said in answers.items()}
    facts = write_manifest(storage, (Listed(os.fsencode(name)) for name in names), [source])
    has_groups, digest = bool(groups), f"sha256:{model}"
    job = ArchiveJob(out=str(out), manifest=facts.digest, model=digest, shard_rows=shard, groups=has_groups)
    rows = (_row(file.path, names[file.opens], labels, groups) for file in read_all(storage))
    counts = {"ok": 0, "unreadable": 0}
    for number, group in enumerate(_groups(rows, shard)):
        start = number * shard
        for key, count in write_part(job, Shard(number, start, start + len(group)), group).items():
            counts[key] += count
    JobFile(
        state=state,  # type: ignore[arg-type] # a test's
        total=facts.rows,
        images=facts.rows,
        ok=counts["ok"],
        errors={},
        images_per_second=1.0,
        seconds=1.0,
        engine="local",
        workers=1,
        shard_rows=shard,
        tta=False,
        groups=has_groups,
        sources=(source,),
        manifest=facts.digest,
        model=ModelCard(model, digest, "tflite", "int8", tuple(labels)),
        begun="2026-11-28T10:00:00+00:00",
        updated="2026-11-28T11:00:00+00:00",
        versions={},
    ).write(storage)
    return str(out)


def _row(
    path: str, said: tuple[str, float] | None, labels: Sequence[str], groups: Mapping[str, str]
) -> ArchiveRow:
    if said is None:
        return ArchiveRow(
            path=path, status="failed", error_code="unreadable", error="no", model_digest="sha256:m"
        )
    label, confidence = said
    number = labels.index(label)
    return ArchiveRow(
        path=path,
        status="ok",
        predicted_class=number,
        label=label,
        confidence=confidence,
        top_classes=[number],
        top_confidences=[confidence],
        model_digest="sha256:m",
        group=groups.get(label),
    )


def _groups(rows: Iterator[ArchiveRow], size: int) -> Iterator[list[ArchiveRow]]:
    while group := list(islice(rows, size)):
        yield group
