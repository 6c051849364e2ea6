"""Lines for people on stderr, be it a pipe that nobody reads or a terminal that is held: nobody waits."""

import contextlib
import os
import select
import stat
import sys
from typing import TextIO

# Whoever reads it may have something else to do for a moment, once.
PATIENCE_SECONDS = 1.0


def let_native_code_wait_for_nobody() -> None:
    """Have the lines that libraries write by themselves left out where nobody takes them.

    Libpng's are as many as an uploader has broken pictures. Opened anew, as the way of writing is shared
    with all who have the same stream; where that is another user's, it stays as it is.
    """
    descriptor = sys.stderr.fileno()
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
        with contextlib.suppress(OSError):
            anew = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(anew, descriptor)
            os.close(anew)


class Unwaiting:
    """Writes to where stderr leads now, which native code may have turned elsewhere for a while later.

    A text that nobody takes within a second is left out, and those after it at once, until there is room
    again; then their number is told.
    """

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = os.dup(stream.fileno())
        self._encoding, self._errors = stream.encoding, stream.errors or "strict"
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)
        self._patience_seconds = PATIENCE_SECONDS
        self._left_out, self._begun = 0, False

    def write(self, text: str) -> None:
        ends = "\n" if self._begun else ""
        missed = f"{ends}({self._left_out} lines are left out here: nobody took them)\n"
        if self._put(missed + text if self._left_out else text):
            self._patience_seconds, self._left_out = PATIENCE_SECONDS, 0
        else:
            self._patience_seconds = 0.0
            self._left_out += 1

    def flush(self) -> None:
        """There is nothing that waits."""

    def _put(self, text: str) -> bool:
        data = memoryview(text.encode(self._encoding, self._errors))
        self._begun = False
        while data:
            if not self._room.poll(self._patience_seconds * 1000):
                return False
            try:
                # A pipe that has room for anything has room for so much.
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
            except BlockingIOError:
                return False
            self._begun = True
        return True
