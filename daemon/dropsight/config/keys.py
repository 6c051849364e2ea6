"""Keys as people spell them, and the key that was probably meant."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TypeAlias

from msgspec import Struct

from dropsight.config.forms import Form, form_of_others, forms_of
from dropsight.config.tree import Config

Key: TypeAlias = tuple[str, ...]  # ("watch", "0", "path")

PREFIX = "DROPSIGHT_"


def dotted(key: Key) -> str:
    return ".".join(key)


def key_at(name: str) -> Key:
    return tuple(name.split("."))


def variable(key: Key) -> str:
    return PREFIX + "__".join(key).upper()


def key_of(name: str) -> Key:
    return tuple(name.removeprefix(PREFIX).lower().split("__"))


def known_keys(
    section: type[Struct] = Config, above: Key = (), *, index: str = "0", named: str | None = None
) -> Iterator[Key]:
    """Every key, a section before what it holds; `index` stands for any place in a list of sections.

    `named` stands for any name where each has a section of its own; without it these are left out.
    """
    for name, form in forms_of(section).items():
        key = (*above, name)
        yield key
        if form.section:
            yield from known_keys(form.section, key, index=index, named=named)
        elif form.item and form.item.section:
            yield (*key, index)
            yield from known_keys(form.item.section, (*key, index), index=index, named=named)
        elif form.entry and form.entry.section and named is not None:
            yield from known_keys(form.entry.section, (*key, named), index=index, named=named)
    others = form_of_others(section)
    if others and others.section and named is not None:
        yield from known_keys(others.section, (*above, named), index=index, named=named)


def form_at(key: Key) -> Form | None:
    """The form of a key, None where the tree has no such key."""
    form: Form | None = None
    section: type[Struct] | None = Config
    for part in key:
        if section:
            form = forms_of(section).get(part) or form_of_others(section)
        elif form and form.entry:
            form = form.entry
        else:
            form = form.item if form and form.item and form.item.section and _is_index(part) else None
        if form is None:
            return None
        section = form.section
    return form


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit()


# What other programs call it, by the section that it stands in.
_ALIASES = {
    "mqtt": dict.fromkeys(("address", "broker", "host", "hostname", "port", "server"), "url"),
    "notify": dict.fromkeys(("target", "targets", "url", "urls"), "targets_file"),
}


def nearest_key(key: Key) -> Key | None:
    """Look for what others call so, then among the neighbours, then for a key of that name anywhere."""
    *above, name = key
    known = list(known_keys(index=_index_in(key), named=above[-1] if above else None))
    alias = (*above, _ALIASES.get(key[0], {}).get(name.lower(), name))
    if alias in known:
        return alias
    neighbours = {other[-1]: other for other in known if other[:-1] == tuple(above)}
    anywhere = {other[-1]: other for other in reversed(known) if not _is_index(other[-1])}
    for names, cutoff in ((neighbours, 0.6), (anywhere, 0.8)):
        if close := get_close_matches(name.lower(), names, n=1, cutoff=cutoff):
            return names[close[0]]
    return None


def nearest_variable(name: str) -> str | None:
    """Compare whole names, so that a single underscore between levels is understood."""
    key = key_of(name)
    known = [variable(other) for other in known_keys(index=_index_in(key))]
    if close := get_close_matches(name.upper(), known, n=1, cutoff=0.85):
        return close[0]
    other = nearest_key(key)
    return variable(other) if other else None


def _index_in(key: Key) -> str:
    return next((part for part in key if _is_index(part)), "0")
