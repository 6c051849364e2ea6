"""`dropsight compare`."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec

from dropsight.archive.changed_pairs import ChangedPair
from dropsight.archive.comparing import AgainstTruths, Comparison
from dropsight.archive.comparing import compare as compared
from dropsight.archive.comparison_page import page_of, said_of_truths
from dropsight.archive.example_pictures import homes_of
from dropsight.archive.side_by_side import FinishedJob
from dropsight.archive.storage import Storage, absolute, is_url, keep_quiet
from dropsight.archive.truths import truths_of
from dropsight.commands.memory import bounded_memory
from dropsight.inference.result_files import is_stream
from dropsight.names import as_json as encoded
from dropsight.names import as_shown

_PAIRS, _CLASSES = 20, 20


def compare(a: str, b: str, *, labels: str | None, html: str | None, as_json: bool) -> None:
    """Print what B's model changes of A's answers; write the page where one is asked for."""
    keep_quiet()
    one, other = FinishedJob.at(a), FinishedJob.at(b)
    sources = [*one.job.sources, *other.job.sources]
    with bounded_memory(), truths_of(labels, sources) if labels else nullcontext() as truths:
        found = compared(one, other, truths)
    if html:
        if homes := homes_of(each.path for pair in found.changed for each in pair.examples):
            print(as_shown(f"reading pictures of examples from {', '.join(homes)}"), file=sys.stderr)
        _write(page_of(found), html)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(encoded(found), indent=2) + b"\n")
        return
    for line in _lines(found):
        print(as_shown(line))


def _write(page: str, place: str) -> None:
    folder, name = os.path.split(absolute(place))
    print(f"writing {place}", file=sys.stderr)
    if not is_url(place) and is_stream(Path(place)):
        Path(place).write_text(page, encoding="utf-8")
        return
    with Storage(folder).whole(name) as file:
        file.write_text(page, encoding="utf-8")


def _lines(found: Comparison) -> Iterator[str]:
    for name, side in (("A", found.a), ("B", found.b)):
        yield f"{name}  {side.place}: {side.described}, {side.images} images"
    if found.a.only or found.b.only:
        yield f"{found.both} images in both; {found.a.only} in A only, {found.b.only} in B only"
    if found.a.failed or found.b.failed or found.failed_both:
        yield f"failed: {found.a.failed} in A only, {found.b.failed} in B only, {found.failed_both} in both"
    if not found.compared:
        return
    yield f"agreement {found.agreed / found.compared:.1%}: {found.agreed} of {found.compared} images"
    if (alike := found.agreed_by_group) is not None:
        yield f"agreement by group {alike / found.compared:.1%}: {alike} have the same class or group"
    if found.not_compared:
        yield f"compared by the first class of each alone: not by {' and '.join(found.not_compared)}"
    means = (
        f"{means.a:.1%} -> {means.b:.1%}{where}"
        for means, where in (
            (found.confidence, ""),
            (found.confidence_agreed, " where both agree"),
            (found.confidence_changed, " where they differ"),
        )
        if means.images
    )
    yield f"mean confidence {', '.join(means)}"
    if found.truths:
        yield from _against(found.truths)
    yield from _changes(found.changed, found.pairs, judged=found.truths is not None)


def _against(found: AgainstTruths) -> Iterator[str]:
    yield ""
    if found.images:
        yield (
            f"right by {found.by}: {found.right_a / found.images:.1%} -> {found.right_b / found.images:.1%} "
            f"of {found.images} images; {found.better} got better, {found.worse} worse"
        )
    else:
        yield f"no image of both is labelled by {found.by}"
    yield from said_of_truths(found)
    if not found.classes:
        return
    yield f"{'class':<32}{'images':>8}{'A':>8}{'B':>8}{'better':>8}{'worse':>8}"
    for each in found.classes[:_CLASSES]:
        right = "".join(f"{count / each.images:>8.1%}" for count in (each.right_a, each.right_b))
        yield f"{each.label[:31]:<32}{each.images:>8}{right}{each.better:>8}{each.worse:>8}"
    if len(found.classes) > _CLASSES:
        yield f"... and {len(found.classes) - _CLASSES} more classes (--json, --html)"


def _changes(changed: Sequence[ChangedPair], pairs: int, *, judged: bool) -> Iterator[str]:
    if not changed:
        return
    yield ""
    yield f"{'images':>8}  {'better  worse  ' if judged else ''}change, for example"
    for pair in changed[:_PAIRS]:
        gained = f"{pair.better:>6}{pair.worse:>7}  " if judged else ""
        yield f"{pair.images:>8}  {gained}{pair.label_a} -> {pair.label_b}: {pair.examples[0].path}"
    if pairs > _PAIRS:
        yield f"... and {pairs - _PAIRS} more kinds ({min(pairs, len(changed))} with --json, --html)"
