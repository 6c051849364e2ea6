"""One sighting's turn at one rule: which stretch of time it belongs to, and what becomes of that."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Literal

import msgspec

from dropsight.events.rule import KEPT_SHARE, Rule
from dropsight.events.sighting import GROUP, Claim, Match, Sighting
from dropsight.events.state import MOST_SPELLS, MOST_TOLD, Best, Hit, Notice, Spell, Stream
from dropsight.records import timestamp

Phase = Literal["start", "update", "end"]
# So much surer than before is worth a message.
_SURER = 0.05
# 0.7 and 0.5 are 0.6 on average, though not in binary.
_TINY = 1e-9
_at = attrgetter("at")


class Change(msgspec.Struct, frozen=True):
    """What became of an event; each answer that it goes on with is an update.

    `notify` names who is to be told now. `news` is false for an update that is not worth a message: the
    event is open as before, and what was its best is hardly surer.
    """

    id: str
    name: str
    camera: str
    phase: Phase
    started: str
    ended: str | None
    count: int
    clips: int
    best: Best
    region: str | None
    notify: tuple[str, ...] = ()
    news: bool = True


def take(
    rule: Rule, stream: Stream, seen: Sighting, match: Match | None, others: Mapping[str, Stream]
) -> Iterator[Change]:
    """Add a sighting to a stream; `others` are those of the same camera, by rule."""
    spell = _nearest(rule, stream, seen.at)
    if spell and spell.id:
        if match and match.kept:
            yield _gone_on(rule, stream, spell, seen, match)
            _put_last(stream, spell)
        return
    if not (spell or match) or not _may_begin(rule, seen.at, others):
        return
    spell = spell or Spell(seen.at, seen.at, seen.heard)
    spell.answers += 1
    spell.heard = seen.heard
    if match:
        spell.hits.append(_hit(seen, match, nth=spell.answers))
    spell.hits = [each for each in spell.hits if each.nth > spell.answers - rule.confirm[1]]
    if hits := _confirming(rule, spell.hits):
        yield _begun(rule, stream, spell, seen, hits)
    elif spell.hits:
        spell.started, spell.last = min(map(_at, spell.hits)), max(map(_at, spell.hits))
    _put_last(stream, spell)
    if len(stream.spells) > MOST_SPELLS:
        yield from _give_up_one(rule, stream, seen.camera)


def pass_by(rule: Rule, stream: Stream, seen: Sighting, linger: float) -> Iterator[Change]:
    """Tell the ends that a camera's time has passed; forget what nothing has come to for so long."""
    for spell in stream.spells:
        if spell.id and not spell.ended and seen.at > spell.last + rule.end_after:
            yield end_of(rule.name, seen.camera, spell)
    since = seen.heard - linger
    stream.spells = [
        each
        for each in stream.spells
        if each.heard + _reach(rule, each) >= since or _is_near(rule, each, seen.at)
    ]
    stream.told = [each for each in stream.told if each.heard + rule.cooldown >= since]


def end_of(name: str, camera: str, spell: Spell) -> Change:
    spell.ended = True
    return _change(name, camera, spell, "end")


def _nearest(rule: Rule, stream: Stream, at: float) -> Spell | None:
    near = [each for each in stream.spells if _is_near(rule, each, at)]
    return min(near, key=lambda each: (not each.id, _distance(each, at)), default=None)


def _is_near(rule: Rule, spell: Spell, at: float) -> bool:
    return _distance(spell, at) <= _reach(rule, spell)


def _reach(rule: Rule, spell: Spell) -> float:
    return rule.end_after if spell.id else rule.within


def _distance(spell: Spell, at: float) -> float:
    return max(spell.started - at, at - spell.last, 0.0)


def _may_begin(rule: Rule, at: float, others: Mapping[str, Stream]) -> bool:
    if rule.active and not rule.active(at):
        return False
    if rule.unless is None:
        return True
    name, within = rule.unless
    stream = others.get(name)
    return not (stream and any(each.id and _distance(each, at) <= within for each in stream.spells))


def _hit(seen: Sighting, match: Match, *, nth: int) -> Hit:
    claim = match.claim
    return Hit(
        seen.at,
        _best(seen, claim),
        claim.region,
        nth,
        claim.times,
        match.sure,
        match.share,
        match.kept,
        is_clip=seen.is_clip,
    )


def _confirming(rule: Rule, hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits that are close enough together, and together enough and sure enough; else none."""
    confirming = _on_average if rule.on_average else _with_a_sure_one
    ordered = sorted(hits, key=lambda hit: (hit.at, hit.best.id))
    for first, hit in enumerate(ordered):
        close = [each for each in ordered[first:] if each.at - hit.at <= rule.within]
        if found := confirming(close, rule.confirm[0]):
            return found
    return []


def _with_a_sure_one(hits: list[Hit], wanted: int) -> list[Hit]:
    enough = any(each.sure for each in hits) and sum(each.times for each in hits) >= wanted
    return hits if enough else []


def _on_average(hits: list[Hit], wanted: int) -> list[Hit]:
    """Return the surest that are wanted, if they are sure enough, and what an event would go on with."""
    shares = sorted((_share(each) for each in hits for _ in range(min(each.times, wanted))), reverse=True)
    surest = shares[:wanted]
    if len(surest) < wanted or sum(surest) < wanted - _TINY:
        return []
    return [each for each in hits if each.kept or _share(each) >= surest[-1]]


def _share(hit: Hit) -> float:
    """Return that of what its label needs, as far as it was kept."""
    return hit.share or (1.0 if hit.sure else KEPT_SHARE)


def _begun(rule: Rule, stream: Stream, spell: Spell, seen: Sighting, hits: Sequence[Hit]) -> Change:
    first, surest = hits[0], max(hits, key=lambda hit: hit.best.confidence)
    spell.id = _event_id(rule.name, seen.camera, first.best.id)
    spell.started, spell.last = first.at, hits[-1].at
    spell.count, spell.clips = len(hits), sum(hit.is_clip for hit in hits)
    spell.best, spell.region = surest.best, surest.region
    spell.worth, spell.hits, spell.answers = surest.best.confidence, [], 0
    notify = not any(abs(seen.at - each.at) < rule.cooldown for each in stream.told)
    return _change(rule.name, seen.camera, spell, "start", _told(rule, stream, spell, seen) if notify else ())


def _gone_on(rule: Rule, stream: Stream, spell: Spell, seen: Sighting, match: Match) -> Change:
    claim, before = match.claim, spell.best
    spell.started, spell.last = min(spell.started, seen.at), max(spell.last, seen.at)
    spell.heard, spell.count, spell.clips = seen.heard, spell.count + 1, spell.clips + seen.is_clip
    if before is None or claim.confidence > before.confidence:
        spell.best, spell.region = _best(seen, claim), claim.region
    crossed = spell.notified is not None and any(
        spell.notified < each <= claim.confidence for each in rule.renotify_above
    )
    notify = _told(rule, stream, spell, seen) if crossed else ()
    news = crossed or spell.ended or claim.confidence >= spell.worth + _SURER
    if news:
        spell.worth = max(spell.worth, claim.confidence)
    spell.ended = False
    return _change(rule.name, seen.camera, spell, "update", notify, news=news)


def _best(seen: Sighting, claim: Claim) -> Best:
    """Groups go by the name that people read."""
    return Best(seen.id, claim.confidence, claim.label.removeprefix(GROUP))


def _told(rule: Rule, stream: Stream, spell: Spell, seen: Sighting) -> tuple[str, ...]:
    if rule.notify and spell.best:
        spell.notified = spell.best.confidence
        stream.told = [*stream.told, Notice(seen.at, seen.heard)][-MOST_TOLD:]
    return rule.notify


def _put_last(stream: Stream, spell: Spell) -> None:
    """Behind all others, as the one that was last added to; leave out what has nothing in it any more."""
    stream.spells = [each for each in stream.spells if each is not spell]
    if spell.id or spell.hits:
        stream.spells.append(spell)


def _give_up_one(rule: Rule, stream: Stream, camera: str) -> Iterator[Change]:
    """The one that was added to the longest ago, of those that are no events yet where there is one."""
    old = min(stream.spells[:-1], key=lambda each: bool(each.id))
    stream.spells = [each for each in stream.spells if each is not old]
    if old.id and not old.ended:
        yield end_of(rule.name, camera, old)


def _change(
    name: str, camera: str, spell: Spell, phase: Phase, notify: tuple[str, ...] = (), *, news: bool = True
) -> Change:
    return Change(
        id=spell.id,
        name=name,
        camera=camera,
        phase=phase,
        started=timestamp(spell.started),
        ended=timestamp(spell.last) if phase == "end" else None,
        count=spell.count,
        clips=spell.clips,
        best=spell.best or Best("", 0.0, ""),
        region=spell.region,
        notify=notify,
        news=news,
    )


def _event_id(name: str, camera: str, first: str) -> str:
    """The same answers are the same event, whoever works them out."""
    return blake2b(f"event\0{name}\0{camera}\0{first}".encode(), digest_size=16).hexdigest()
