"""A comparison as one page that needs nothing else: for a browser, a mail, a ticket."""

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TypeAlias

from dropsight.archive.changed_pairs import ChangedPair, ChangeExample
from dropsight.archive.comparing import STEPS, AgainstTruths, Comparison, Side
from dropsight.archive.example_pictures import pictures_of
from dropsight.names import as_shown

# Nothing is loaded, nothing runs: names that strangers gave to files stand on this page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_DIGEST = len("sha256:") + 12
Pictures: TypeAlias = Mapping[str, bytes | str]


def page_of(found: Comparison) -> str:
    """Return the HTML, with a thumbnail of each example."""
    pictures = pictures_of([each.path for pair in found.changed for each in pair.examples])
    return "\n".join(_page(found, pictures)) + "\n"


def _page(found: Comparison, pictures: Pictures) -> Iterator[str]:
    style = (files("dropsight.archive") / "comparison.css").read_text("utf-8")
    title = _title(found.a, found.b)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>"
    yield f"<header><h1>{_text(title)}</h1>"
    yield f"<p>What another model changes, of {_images(found.both)}</p></header>"
    yield from _figures(found)
    yield from _sides(found.a, found.b)
    yield from _shift(found)
    if found.truths:
        yield from _truths(found.truths)
    yield from _changed(found, pictures)
    yield "</body>\n</html>"


def _title(a: Side, b: Side) -> str:
    names = (a.model, b.model) if a.model != b.model else (a.described, b.described)
    return " to ".join(names if names[0] != names[1] else (a.place, b.place))


def _figures(found: Comparison) -> Iterator[str]:
    yield '<section class="figures">'
    yield _figure("agree", _share(found.agreed, found.compared), f"{_images(found.compared)} compared")
    if found.agreed_by_group is not None:
        yield _figure(
            "agree by group", _share(found.agreed_by_group, found.compared), "the same class or group"
        )
    if found.not_compared:
        yield _figure("not compared", " and ".join(found.not_compared), "the first class of each is")
    whole = found.confidence
    yield _figure("mean confidence", f"{_part(whole.a)} → {_part(whole.b)}", "A → B")
    if found.truths:
        right = (_share(each, found.truths.images) for each in (found.truths.right_a, found.truths.right_b))
        gained = f"{found.truths.better:,} better, {found.truths.worse:,} worse"
        yield _figure("right", " → ".join(right), gained)
    lost = f"A {found.a.failed:,}, B {found.b.failed:,}, both {found.failed_both:,}"
    yield _figure("failed", f"{found.a.failed + found.b.failed + found.failed_both:,}", lost)
    if found.a.only or found.b.only:
        yield _figure(
            "in one only", f"{found.a.only + found.b.only:,}", f"A {found.a.only:,}, B {found.b.only:,}"
        )
    yield "</section>"


def _figure(name: str, value: str, more: str) -> str:
    return f"<div><h2>{name}</h2><strong>{_text(value)}</strong><small>{_text(more)}</small></div>"


def _sides(a: Side, b: Side) -> Iterator[str]:
    rows: Sequence[tuple[str, Callable[[Side], str]]] = (
        ("results", lambda side: side.place),
        ("sources", lambda side: ", ".join(side.sources)),
        ("model", lambda side: side.described),
        ("digest", lambda side: side.digest[:_DIGEST]),
        ("images", lambda side: f"{side.images:,}"),
        ("finished", lambda side: side.finished[:16].replace("T", " ") + " UTC"),
    )
    yield '<section><div class="wide"><table class="sides"><tr><th></th><th>A</th><th>B</th></tr>'
    for name, of in rows:
        yield f"<tr><th>{name}</th><td>{_text(of(a))}</td><td>{_text(of(b))}</td></tr>"
    yield "</table></div></section>"


def _shift(found: Comparison) -> Iterator[str]:
    """Draw how many images B is surer of, and less sure of: a bar a tenth."""
    most, middle = max(*found.shifts, 1), STEPS // 2
    yield "<section><h2>Confidence of B minus that of A</h2>"
    size = f'viewBox="-8 0 {STEPS * 20 + 16} 118"'
    yield f'<svg {size} role="img" aria-label="Images by the shift of confidence">'
    for step, images in enumerate(found.shifts):
        height = images / most * 96
        kind = "same" if step == middle else "down" if step < middle else "up"
        said = f"{(step - middle) / 10:+.1f}: {_images(images)}"
        bar = f'x="{step * 20 + 2}" y="{98 - height:.1f}" width="16" height="{height:.1f}"'
        yield f'<rect class="{kind}" {bar}><title>{said}</title></rect>'
    for step in range(0, STEPS, 5):
        yield f'<text x="{step * 20 + 10}" y="113">{(step - middle) / 10:g}</text>'
    agreed, changed = found.confidence_agreed, found.confidence_changed
    yield (
        f"</svg><p>{_part(agreed.a)} → {_part(agreed.b)} on average where both agree, "
        f"{_part(changed.a)} → {_part(changed.b)} where they differ.</p></section>"
    )


def _truths(found: AgainstTruths) -> Iterator[str]:
    yield f"<section><h2>By {_text(found.by)} <small>{_images(found.images)}</small></h2>"
    for line in said_of_truths(found):
        yield f'<p class="said">{_text(line)}</p>'
    yield '<div class="wide long"><table><tr><th>class</th><th>images</th><th>right, A</th>'
    yield "<th>right, B</th><th>better</th><th>worse</th></tr>"
    for each in found.classes:
        cells = (
            f"{each.images:,}",
            _share(each.right_a, each.images),
            _share(each.right_b, each.images),
        )
        gained = _gain("td", each.better, "better") + _gain("td", each.worse, "worse")
        yield f"<tr><td>{_text(each.label)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}{gained}</tr>"
    yield "</table></div></section>"


def said_of_truths(found: AgainstTruths) -> Iterator[str]:
    """Say what labels could not be used, a line each."""
    if found.left_out:
        yield f"{_images(found.left_out)} left out, labelled as neither model can: {found.strange}, ..."
    for name, unknown in (("A", found.unknown_a), ("B", found.unknown_b)):
        if unknown:
            yield f"{_images(unknown)} labelled with classes that {name} does not have, and cannot get right"
    if found.unused:
        yield f"labels for files that are not in both: {found.unused:,}"


def _changed(found: Comparison, pictures: Pictures) -> Iterator[str]:
    changed = found.compared - found.agreed
    yield f"<section><h2>Changed <small>{_images(changed)}, {found.pairs:,} kinds</small></h2>"
    shown = sum(pair.images for pair in found.changed)
    if changed > shown:
        rest = (
            f"{_images(changed - shown)} of {found.pairs - len(found.changed):,} rarer kinds are not shown."
        )
        yield f'<p class="said">{rest}</p>'
    if missing := {path: why for path, why in pictures.items() if isinstance(why, str)}:
        path, why = next(iter(missing.items()))
        said = f"{len(missing)} of {len(pictures)} pictures cannot be read: {path}: {why}"
        yield f'<p class="said">{_text(said)}</p>'
    for pair in found.changed:
        yield from _pair(pair, pictures, judged=found.truths is not None)
    yield "</section>"


def _pair(pair: ChangedPair, pictures: Pictures, *, judged: bool) -> Iterator[str]:
    better, worse = (
        _gain("span", pair.better, "better", said=True),
        _gain("span", pair.worse, "worse", said=True),
    )
    yield f"<article><h3>{_text(pair.label_a)} → {_text(pair.label_b)}</h3>"
    sure = f"{_part(pair.confidence_a)} → {_part(pair.confidence_b)}"
    yield f"<p>{_images(pair.images)}, {sure}{f', {better}, {worse}' if judged else ''}</p><ul>"
    for each in pair.examples:
        yield f"<li>{_picture(each, pictures[each.path])}{_caption(each)}</li>"
    yield "</ul></article>"


def _picture(example: ChangeExample, picture: bytes | str) -> str:
    if isinstance(picture, str):
        return f'<div class="none">{_text(picture)}</div>'
    name = _text(example.path)
    return f'<img src="data:image/jpeg;base64,{b64encode(picture).decode()}" alt="{name}" title="{name}">'


def _caption(example: ChangeExample) -> str:
    truth = f"<br>is {_text(example.truth)}" if example.truth else ""
    last = example.path.rstrip("/").rpartition("/")[2]
    sure = f"{_part(example.confidence_a)} → {_part(example.confidence_b)}"
    return f'<span class="name">{_text(last)}</span><small>{sure}{truth}</small>'


def _gain(tag: str, count: int, kind: str, *, said: bool = False) -> str:
    """Write how many are better or worse, in that colour where there are any."""
    shade = f' class="{kind}"' if count else ""
    return f"<{tag}{shade}>{count:,}{f' {kind}' if said else ''}</{tag}>"


def _text(text: str) -> str:
    return escape(as_shown(text))


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _share(count: int, whole: int) -> str:
    return f"{count / whole:.1%}" if whole else "-"


def _part(confidence: float | None) -> str:
    return "-" if confidence is None else f"{confidence:.0%}"
