"""`dropsight pause`, `resume`, `rescan` and `reload`: orders to the running daemon, by its control socket."""

from pathlib import Path
from typing import Literal

import msgspec

from dropsight.commands.settings import find_config, settings
from dropsight.errors import DropsightError
from dropsight.status.control import ask

Order = Literal["pause", "resume", "rescan", "reload"]

# A reload loads the model and waits for one that is still being copied.
PATIENCE_SECONDS = 120.0
_DONE = {
    "pause": "paused: images wait in their folders until dropsight resume",
    "resume": "resumed",
    "rescan": "the folders are being scanned",
    "reload": "reloaded",
}


class _Answer(msgspec.Struct):
    ok: bool
    error: str = "no reason given"
    result: object = None


def order(file: Path | None, command: Order) -> None:
    """Have it carried out; raises DropsightError with the daemon's words where it is not."""
    state = settings(find_config(file)).store.path.parent
    answer = ask(state, command, patience=PATIENCE_SECONDS)
    try:
        told = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DropsightError(f"the daemon's answer is not valid: {error}") from error
    if not told.ok:
        raise DropsightError(f"{command}: {told.error}")
    print(f"{_DONE[command]}: {told.result}" if isinstance(told.result, str) else _DONE[command])
