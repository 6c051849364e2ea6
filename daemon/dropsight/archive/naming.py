"""What other programs want to know of a label: whether it is an animal at all, and its scientific name."""

from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["animal", "human", "vehicle", "blank", "unknown"]

_WORDS: dict[str, Kind] = {
    **dict.fromkeys(("blank", "empty", "background", "nothing", "no animal"), "blank"),
    **dict.fromkeys(("human", "person", "people", "homo sapiens"), "human"),
    **dict.fromkeys(("vehicle", "car"), "vehicle"),
    **dict.fromkeys(("unknown", "other", "no cv result"), "unknown"),
}
# An id, class, order, family, genus, species, the common name: as SpeciesNet's labels are.
_PARTS = 7


class Naming(NamedTuple):
    """`scientific` is None where the label names no taxon."""

    kind: Kind
    scientific: str | None


@lru_cache(maxsize=100_000)
def naming_of(label: str) -> Naming:
    """Take a label for the scientific name of an animal, unless it says otherwise."""
    parts = [part.strip() for part in label.split(";")]
    common = parts[-1] if len(parts) == _PARTS else label.strip()
    if kind := _WORDS.get(common.lower()):
        return Naming(kind, None)
    if common.lower() in {"animal", ""}:
        return Naming("animal", None)
    return Naming("animal", _scientific(parts[1:-1]) if len(parts) == _PARTS else common)


def _scientific(ranks: list[str]) -> str | None:
    """Return the lowest that is known."""
    genus, species = ranks[-2:]
    named = f"{genus} {species}" if genus and species else next(filter(None, reversed(ranks)), None)
    return named.capitalize() if named else None
