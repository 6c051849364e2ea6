"""Servers that do not answer, as a list may name them: waited for a few times, not for each file."""

from collections import Counter

_MOST_TIMES = 4


class SilentServers:
    """How often in a row each did not answer, as far as this process has asked."""

    def __init__(self) -> None:
        self._times = Counter[str]()

    def is_silent(self, url: str, *, once: bool) -> bool:
        """Whether it did not answer the last time, or so often that nobody asks again."""
        return self._times[_server(url)] >= (1 if once else _MOST_TIMES)

    def note(self, url: str, *, answered: bool) -> None:
        if answered:
            self._times.pop(_server(url), None)
        else:
            self._times[_server(url)] += 1


def _server(url: str) -> str:
    return "/".join(url.rpartition("::")[2].split("/")[:3])
