"""Help pages that show what is to be typed, without the types that Python has for it."""

import re
from typing import Any

from typer.core import TyperCommand

_TYPE = re.compile(r" <[a-z][\w\[\]| ]*>")
_BRACES = re.compile(r"\{([A-Z]+)\}")


class PlainCommand(TyperCommand):
    def get_help(self, ctx: Any) -> str:  # noqa: ANN401 - click's Context, whose home differs by version
        return _plain(super().get_help(ctx))

    def get_usage(self, ctx: Any) -> str:  # noqa: ANN401 - the same
        return _plain(super().get_usage(ctx))


def _plain(text: str) -> str:
    return _BRACES.sub(r"\1", _TYPE.sub("", text))
