"""Names that images had before: a sidecar that lies there may be the one of the image before."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from dropsight.intake.candidate import Candidate

# A camera that writes a few names over and over uses each again soon.
MOST_NAMES = 16_384


class UsedNames:
    """Thread-safe. It knows none of a former life; of an image that stays, its `is_on_record` tells.

    What is older than its image may be the sidecar of the image before it: left over, or late. Taken for this
    one's, it leaves this one's for the next, and so on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: OrderedDict[int, None] = OrderedDict()
        """Hashes of paths."""

    def has(self, candidate: Candidate, is_on_record: Callable[[Candidate], bool]) -> bool:
        with self._lock:
            is_known = hash(candidate.path) in self._names
        return is_known or is_on_record(candidate)

    def note(self, candidate: Candidate) -> None:
        """Take note that this image goes on with what sidecar it has by now."""
        name = hash(candidate.path)
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            if len(self._names) > MOST_NAMES:
                self._names.popitem(last=False)
