"""Checks every value against its form, and collects every fault."""

import json
import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from dropsight.config.forms import TEXTUAL, Form, form_of_others, forms_of
from dropsight.config.keys import Key, dotted, nearest_key
from dropsight.config.layers import Fault, Layers
from dropsight.config.sizes import parse_size
from dropsight.config.tree import INSTEAD, OTHERS, SHORT

BUILTIN = "builtin:"
# As much as the journal can hold.
_MOST = 2**63 - 1
_EXPONENT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]{1,3}")
Section = TypeVar("Section", bound=Struct)


class Reading:
    """A faulty value is replaced by its default, so that the rest can be read and told of too."""

    def __init__(self, layers: Layers) -> None:
        self.faults: list[Fault] = []
        self._layers = layers

    def section(
        self, kind: type[Section], said: object, key: Key, *, nullable: bool = False
    ) -> Section | None:
        """The section, None where a required key is missing."""
        forms = forms_of(kind)
        if kind in SHORT and not isinstance(said, dict):
            said = {SHORT[kind]: said}
        if not isinstance(said, dict):
            # Not shown: somebody may write `mqtt: mqtt://bob:secret@host`.
            found = "a text" if isinstance(said, str) else shown(said)
            off = nullable and said is False
            way_out = "null turns it off" if off else f"give keys of its own, such as {next(iter(forms))}"
            self._refuse(key, f"cannot be {found}; {way_out}")
            said = {}
        values = {name: self._field(form, said, (*key, name)) for name, form in forms.items()}
        others = {name: each for name, each in said.items() if name not in forms}
        if entry := form_of_others(kind):
            named = {name: each for name, each in others.items() if isinstance(each, dict)}
            values[OTHERS[kind]] = self._entries(entry, named, key)
            others = {name: each for name, each in others.items() if name not in named}
        for name in others:
            self._refuse((*key, str(name)), _unknown((*key, str(name)), tuple(forms)))
        for name, (other, default) in INSTEAD.get(kind, {}).items():
            if name not in said and values[other] is not None:
                values[name] = place(default, self._layers.base.folder)
        return None if msgspec.NODEFAULT in values.values() else kind(**values)

    def _field(self, form: Form, said: dict[str, object], key: Key) -> object:
        if key[-1] in said:
            return self._value(form, said[key[-1]], key)
        if form.required:
            self._refuse(key, f"is missing; give {form.allowed}")
        return self._default(form, key)

    def _default(self, form: Form, key: Key) -> object:
        if form.section and form.default is not None:
            return self.section(form.section, {}, key)
        if form.item and form.item.section and form.filled:
            return (self.section(form.item.section, {}, (*key, "0")),)
        if isinstance(form.default, Path):
            return place(str(form.default), self._layers.base.folder)
        return form.default

    def _value(self, form: Form, said: object, key: Key) -> object:
        if said is None and (form.nullable or form.reads == "host"):
            return None if form.nullable else form.default
        if form.section:
            return self.section(form.section, said, key, nullable=form.nullable)
        if form.item:
            return self._items(form, form.item, said, key)
        if form.entry and (isinstance(said, dict) or not form.choices):
            alone = form.alone is not None and isinstance(said, int | float | str)
            return self._entries(form.entry, {form.alone: said} if alone else said, key)
        try:
            return _leaf(form, said, self._layers.origin(key).folder)
        except ValueError:
            self._refuse(key, _refusal(form, said))
            return self._default(form, key)

    def _items(self, form: Form, item: Form, said: object, key: Key) -> object:
        if not isinstance(said, list | tuple) or (form.filled and not said):
            self._refuse(key, f"cannot be {shown(said)}; give {form.allowed}")
            return self._default(form, key)
        items = [self._value(item, each, (*key, str(index))) for index, each in enumerate(said)]
        return tuple(each for each in items if each is not msgspec.NODEFAULT)

    def _entries(self, entry: Form, said: object, key: Key) -> object:
        if not isinstance(said, dict):
            self._refuse(key, f"cannot be {shown(said)}; give keys of its own")
            said = {}
        entries = {str(name): self._value(entry, each, (*key, str(name))) for name, each in said.items()}
        return {name: each for name, each in entries.items() if each is not msgspec.NODEFAULT}

    def _refuse(self, key: Key, text: str) -> None:
        self.faults.append(Fault(key, text))


def _leaf(form: Form, said: object, folder: Path) -> object:
    """Raises ValueError, of which msgspec's ValidationError is one."""
    plain = os.fspath(said) if isinstance(said, Path) else said
    if plain is False and "off" in form.choices:  # what YAML 1.1 takes a bare off for
        plain = "off"
    if form.reads == "plain" and isinstance(plain, str) and _EXPONENT.fullmatch(plain):
        plain = _number(plain)
    if isinstance(plain, int | float) and str(plain) in form.choices:
        plain = str(plain)
    if isinstance(plain, str):
        plain = _READERS.get(form.reads, _as_it_is)(plain, folder)
    value: object = msgspec.convert(plain, form.annotation)
    if isinstance(value, float | int) and not -_MOST <= value <= _MOST:
        raise ValueError("beyond any bound")
    return value


def _number(text: str) -> int | float:
    """Read 1e9, which YAML 1.1 takes for a text: its numbers with an exponent have a point and a sign."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _as_it_is(text: str, _: Path) -> object:
    return text


def _size(text: str, _: Path) -> object:
    return parse_size(text)


def _model(text: str, folder: Path) -> object:
    return text if text.startswith(BUILTIN) else str(place(text, folder))


def _library(text: str, folder: Path) -> object:
    """Without a slash it is for the system's loader to find."""
    return str(place(text, folder)) if "/" in text or not text.strip() else text


def place(text: str, folder: Path) -> Path:
    """An absolute path, ~ expanded; raises ValueError."""
    if not text.strip() or "\0" in text:
        raise ValueError(text)
    try:
        return Path(os.path.normpath(folder / Path(text).expanduser()))
    except RuntimeError as error:  # ~somebody who is not here
        raise ValueError(text) from error


_READERS: dict[str, Callable[[str, Path], object]] = {
    "size": _size,
    "model": _model,
    "library": _library,
    "path": place,
}


def _unknown(key: Key, known: tuple[str, ...]) -> str:
    nearest = nearest_key(key)
    hint = f"did you mean {dotted(nearest)}?" if nearest else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _refusal(form: Form, said: object) -> str:
    if form.reads in TEXTUAL and said is not None and not isinstance(said, str | list | dict):
        quoted = '"' in form.allowed  # an example shows how, and what a number alone lacks
        return f"cannot be {shown(said)}; {f'give {form.allowed}' if quoted else 'put it in quotes'}"
    close = get_close_matches(said.lower(), form.choices, n=1) if isinstance(said, str) else []
    way_out = f"did you mean {close[0]}?" if close else f"give {form.allowed}"
    return f"cannot be {shown(said)}; {way_out}"


def shown(said: object) -> str:
    match said:
        case None:
            return "null"
        case bool():
            return str(said).lower()
        case str():
            return json.dumps(said[:80], ensure_ascii=False)
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if said else "an empty list"
        case _:
            return "so large a number" if isinstance(said, int) and abs(said) >= 10**80 else str(said)
