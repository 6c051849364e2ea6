"""Word of a change, for those who asked to be told."""

from collections.abc import Callable


class Changes:
    """Told on the thread that made the change, in the order in which they asked. Ask before there are any."""

    def __init__(self, *hearers: Callable[[], None]) -> None:
        self._hearers = list(hearers)

    def tell(self, hearer: Callable[[], None]) -> None:
        """Have this be called at every change."""
        self._hearers.append(hearer)

    def __call__(self) -> None:
        for hearer in self._hearers:
            hearer()
