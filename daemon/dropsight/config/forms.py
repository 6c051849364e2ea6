"""What each key may hold, read off the tree's kinds."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec import inspect as kinds

from dropsight.config.tree import OTHERS

TEXTUAL = frozenset({"hook", "host", "library", "model", "path", "text", "url"})


class Form(msgspec.Struct, frozen=True):
    """`section`, `item` or `entry` says that more keys, a list or keys of any name are below.

    `allowed` is fit for a fault.
    """

    annotation: object
    section: type[Struct] | None
    item: "Form | None"
    entry: "Form | None"
    nullable: bool
    required: bool
    default: object
    filled: bool  # an empty list will not do
    reads: str  # "size", "plain" or one of TEXTUAL
    choices: tuple[str, ...]
    alone: str | None  # the key that a value without keys is meant for
    allowed: str


@cache
def forms_of(section: type[Struct]) -> Mapping[str, Form]:
    """Return those of the keys that a section has by itself."""
    fields = [field for field in msgspec.structs.fields(section) if field.name != OTHERS.get(section)]
    return MappingProxyType({field.name: _field_form(field) for field in fields})


@cache
def form_of_others(section: type[Struct]) -> Form | None:
    """Return what stands below any other key, None where there is to be none."""
    found = [field for field in msgspec.structs.fields(section) if field.name == OTHERS.get(section)]
    return _field_form(found[0]).entry if found else None


def _field_form(field: msgspec.structs.FieldInfo) -> Form:
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return _form(field.type, default)


def _form(annotation: object, default: object = msgspec.NODEFAULT) -> Form:
    kind = kinds.type_info(annotation)
    parts = [part.type if isinstance(part, kinds.Metadata) else part for part in _parts(kind)]
    bare = parts[0]
    item, entry = _item(annotation), _entry(annotation)
    return Form(
        annotation=annotation,
        section=next((part.cls for part in parts if isinstance(part, kinds.StructType)), None),
        item=None if item is None else _form(item),
        entry=None if entry is None else _form(entry),
        nullable=any(isinstance(part, kinds.NoneType) for part in parts),
        required=default is msgspec.NODEFAULT,
        default=default,
        filled=isinstance(bare, kinds.VarTupleType) and bool(bare.min_length),
        reads=_reads(kind),
        choices=tuple(choice for part in parts for choice in _choices(part)),
        alone=_alone(kind),
        allowed=_allowed(kind),
    )


def _parts(kind: kinds.Type) -> tuple[kinds.Type, ...]:
    return kind.types if isinstance(kind, kinds.UnionType) else (kind,)


def _item(annotation: object) -> object | None:
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    first, *others = get_args(bare) if get_origin(bare) is tuple else (None,)
    return first if others == [...] else None


def _entry(annotation: object) -> object | None:
    """Also of what may be one of a few words instead."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    ways = get_args(bare) if get_origin(bare) in {Union, UnionType} else (bare,)
    return next((get_args(each)[1] for each in ways if get_origin(each) is dict), None)


def _alone(kind: kinds.Type) -> str | None:
    match kind:
        case kinds.Metadata(extra={"alone": str(name)}):
            return name
        case _:
            return None


def _choices(kind: kinds.Type) -> Iterator[str]:
    if isinstance(kind, kinds.LiteralType):
        yield from (value for value in kind.values if isinstance(value, str))


def _reads(kind: kinds.Type) -> str:
    for part in _parts(kind):
        match part:
            case kinds.Metadata(extra={"reads": str(reads)}):
                return reads
            case kinds.CustomType(cls=cls) if cls is Path:
                return "path"
            case kinds.StrType() | kinds.Metadata(type=kinds.StrType()):
                return "text"
            case _:
                pass
    return "plain"


def _allowed(kind: kinds.Type) -> str:
    match kind:
        case kinds.Metadata(extra_json_schema={"description": str(text)}):
            words = text
        case kinds.Metadata(type=inner):
            words = _allowed(inner)
        case kinds.UnionType(types=parts):
            words = spoken_list(_allowed(part) for part in parts)
        case kinds.LiteralType(values=values):
            words = spoken_list(values)
        case kinds.VarTupleType(item_type=item):
            words = f"a list, each item {_allowed(item)}"
        case kinds.IntType() | kinds.FloatType():
            words = _number(kind)
        case _:
            words = _WORDS[type(kind)]
    return words


_WORDS: dict[type[kinds.Type], str] = {
    kinds.NoneType: "null",
    kinds.BoolType: "true or false",
    kinds.StrType: "a text",
    kinds.CustomType: "a path",
    kinds.StructType: "keys of its own",
    kinds.DictType: "keys of its own",
}


def _number(kind: kinds.IntType | kinds.FloatType) -> str:
    noun = "a whole number" if isinstance(kind, kinds.IntType) else "a number"
    if kind.gt is not None:
        return f"{noun} above {kind.gt:g}"
    if kind.le is not None:
        return f"{noun} from {kind.ge:g} to {kind.le:g}"
    return noun if kind.ge is None else f"{noun} from {kind.ge:g} up"


def spoken_list(items: Iterable[object]) -> str:
    """a, b or c."""
    *most, last = map(str, items)
    return f"{', '.join(most)} or {last}" if most else last
