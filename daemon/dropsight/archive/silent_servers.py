"""Servers that do not answer, as a list may name them: waited for a few times, not for each file."""

from collections import Counter

_MOST_TIMES = 4


class SilentServers:
    """How often in a row each did not answer, as far as this process has asked."""

    def __init__(self) -> None:
        self._times = Counter[str]()

    def is_silent(self, url: str, *, once: bool) -> bool:
        """Whether it did not answer the last time, or so often that nobody asks again."""
        return self._times[server_of(url)] >= (1 if once else _MOST_TIMES)

    def note(self, url: str, *, answered: bool) -> None:
        if answered:
            self._times.pop(server_of(url), None)
        else:
            self._times[server_of(url)] += 1


def server_of(url: str) -> str:
    """Return s3://bucket of all that lies there, also within files."""
    return "/".join(url.rpartition("::")[2].split("/")[:3])
