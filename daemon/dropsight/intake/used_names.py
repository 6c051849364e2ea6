"""Whether the sidecars of images whose names are used again come before these or after."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable

from dropsight.intake.candidate import Candidate

# A camera that writes a few names over and over uses each again soon.
MOST_NAMES = 16_384
# So often in a row that it is no chance.
FEW = 3
_AFTER = -sys.maxsize


class SidecarOrder:
    """Thread-safe. It knows no names of a former life; of an image that stays, its `is_on_record` tells.

    What is older than its image may be the sidecar of the image before it: left over, or late. Taken for this
    one's, it leaves this one's for the next, and so on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """By hash of the path: of how many images the sidecar was older, and when the latest came to be."""

    def is_doubtful(self, candidate: Candidate, is_on_record: Callable[[Candidate], bool]) -> bool:
        """Whether a sidecar that is older than this image may be another's."""
        with self._lock:
            known = self._names.get(hash(candidate.path))
        return is_on_record(candidate) if known is None else known[0] < FEW

    def note(self, candidate: Candidate, changed_ns: int) -> None:
        """Take note that this image, of this time of change, goes on with what sidecar it has by now."""
        sidecar, name = candidate.sidecar, hash(candidate.path)
        with self._lock:
            older, latest = self._names.pop(name, (0, changed_ns))
            if sidecar and sidecar.changed_ns >= changed_ns:
                older = _AFTER
            elif sidecar and latest != changed_ns:  # else the same image once more
                older += 1
            self._names[name] = older, changed_ns
            if len(self._names) > MOST_NAMES:
                self._names.popitem(last=False)
