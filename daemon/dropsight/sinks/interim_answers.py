"""A bound on how often a receiver may say 100 Continue, which http.client reads as often as it comes."""

from http.client import HTTPException, HTTPResponse

MOST_ANSWERS = 10


class BoundedResponse(HTTPResponse):
    """Raises HTTPException where one answer and some that only say "go on" are not enough."""

    _left = MOST_ANSWERS

    def _read_status(self) -> tuple[str, int, str]:
        self._left -= 1
        if self._left < 0:
            raise HTTPException("it only says to go on")
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # not in typeshed
        return found
