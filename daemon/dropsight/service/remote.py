"""Commands that arrive by MQTT and by the control socket."""

import logging
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from dropsight import crashpoints
from dropsight.errors import DropsightError
from dropsight.names import as_json

log = logging.getLogger(__name__)


class RemoteOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Strict, since anybody may ask: an answer of ours that comes back, for one, is no order."""

    command: Annotated[str, msgspec.Meta(max_length=64)]
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-zA-Z_-]{1,64}$")] | None = None


CommandHandler = Callable[[RemoteOrder], object]


class Remote:
    """Thread-safe as far as the handlers are: each returns what stands in the answer beside `ok`."""

    def __init__(self, handlers: Mapping[str, CommandHandler]) -> None:
        self._handlers = handlers

    def obey(self, payload: bytes) -> bytes:
        """Carry out `{"command": NAME}`; the answer says what came of it."""
        try:
            order = msgspec.json.decode(payload, type=RemoteOrder)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _answer(None, error=f'invalid command: {error}; send one such as {{"command": "stats"}}')
        name = order.command
        if name not in self._handlers:
            return _answer(name, error=f"unknown command; known commands: {', '.join(self._handlers)}")
        try:
            crashpoints.reach("in_command")
            return _answer(name, result=self._handlers[name](order))
        except DropsightError as error:
            return _answer(name, error=str(error))
        except Exception:  # one command's, whatever it is
            log.exception("internal error in the command %s", name)
            return _answer(name, error="internal error; see the daemon's log")


def _answer(command: str | None, *, result: object = None, error: str | None = None) -> bytes:
    answer: dict[str, object] = {"command": command, "ok": error is None}
    if error is not None:
        answer["error"] = error
    if result is not None:
        answer["result"] = result
    return as_json(answer)
