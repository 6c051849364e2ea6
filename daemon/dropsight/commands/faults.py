"""How a failing command reports its errors."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dropsight.commands import logs
from dropsight.errors import DropsightError
from dropsight.names import as_shown

INTERRUPTED = 130


@contextmanager
def told_plainly(*, debug: bool) -> Iterator[None]:
    """Nothing but `--debug` shows a traceback for what went wrong on purpose."""
    try:
        yield
    except DropsightError as error:
        if debug:
            raise
        for line in str(error).split("\n"):
            print(logs.mark(as_shown(f"dropsight: {line}")), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
