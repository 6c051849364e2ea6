"""The effective settings as a config file, and the JSON schema."""

import msgspec
import yaml
from msgspec import Struct

from dropsight.config.credentials import redacted_hook, redacted_url
from dropsight.config.forms import Form, form_of_others, forms_of
from dropsight.config.sizes import format_size
from dropsight.config.tree import OTHERS, SHORT, Config


def effective(config: Config) -> dict[str, object]:
    """Plain values in the order of the tree, sizes as text, the URL's password hidden."""
    return _section(config)


def dump(config: Config) -> str:
    """The effective settings as YAML, fit to be a config file."""
    return yaml.safe_dump(effective(config), sort_keys=False, allow_unicode=True)


def schema() -> dict[str, object]:
    """The JSON schema of the config file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_section_schema(Config)}


# Values that a file may give as a text or, some, as a number.
_SAID = {"size": ["integer", "string"], "host": ["string"], "model": ["string"]}


def _section(section: Struct) -> dict[str, object]:
    shown = {name: _shown(form, getattr(section, name)) for name, form in forms_of(type(section)).items()}
    if shown.get("decoders", "") is None:  # a key of earlier versions
        del shown["decoders"]
    others = form_of_others(type(section))
    named = getattr(section, OTHERS[type(section)]) if others else {}
    return shown | {name: _shown(others, each) for name, each in named.items() if others}


def _shown(form: Form, value: object) -> object:
    if isinstance(value, Struct):
        return _section(value)
    if isinstance(value, tuple) and form.item:
        return [_shown(form.item, each) for each in value]
    if isinstance(value, dict) and form.entry:
        return {name: _shown(form.entry, each) for name, each in value.items()}
    return _plain(form, value)


def _plain(form: Form, value: object) -> object:
    if isinstance(value, int) and form.reads == "size":
        return format_size(value)
    if isinstance(value, str) and form.reads == "url":
        return redacted_url(value)
    if isinstance(value, str) and form.reads == "hook":
        return redacted_hook(value)
    return str(value) if form.reads == "path" and value is not None else value


def _section_schema(kind: type[Struct]) -> dict[str, object]:
    forms, others = forms_of(kind), form_of_others(kind)
    parts: dict[str, object] = {
        "type": "object",
        "properties": {name: _form_schema(form) for name, form in forms.items()},
        "additionalProperties": _form_schema(others) if others else False,
    }
    required = [name for name, form in forms.items() if form.required]
    return parts | ({"required": required} if required else {})


def _form_schema(form: Form) -> dict[str, object]:
    if form.section:
        section = _section_schema(form.section)
        short = [_form_schema(forms_of(form.section)[SHORT[form.section]])] if form.section in SHORT else []
        nothing: list[dict[str, object]] = [{"type": "null"}] if form.nullable else []
        ways = [section, *short, *nothing]
        return {"anyOf": ways} if len(ways) > 1 else section
    if form.item and form.item.section:
        return {"type": "array", "items": _section_schema(form.item.section), "minItems": int(form.filled)}
    if form.entry:
        entry = _form_schema(form.entry)
        entries: dict[str, object] = {"type": "object", "additionalProperties": entry}
        words: list[dict[str, object]] = [{"enum": [*form.choices]}] if form.choices else []
        null: list[dict[str, object]] = [{"type": "null"}] if form.nullable else []
        ways = [entries, *([entry] if form.alone else []), *words, *null]
        return {"anyOf": ways} if len(ways) > 1 else entries
    if form.reads in _SAID:
        said = [*_SAID[form.reads], "null"] if form.nullable or form.reads == "host" else _SAID[form.reads]
        return {"type": said, "description": form.allowed}
    leaf = msgspec.json.schema(form.annotation, schema_hook=_path_schema)
    numbers = [int(choice) for choice in form.choices if choice.isdigit()]
    return leaf | ({"enum": [*form.choices, *numbers]} if numbers else {})


def _path_schema(_: type) -> dict[str, object]:
    return {"type": "string", "minLength": 1}
