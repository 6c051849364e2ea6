"""Bounds on what a receiver answers, which requests would read whole, however long it is."""

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import requests

from dropsight.sinks.interim_answers import BoundedResponse

MOST_BYTES = 4 * 2**20


class EndlessAnswerError(requests.RequestException):
    """It is longer than anybody needs."""


def bound_answers() -> None:
    """For all that is asked in this process."""
    read = requests.Response.iter_content

    def iter_content(self: requests.Response, *how: Any, **more: Any) -> Iterator[Any]:  # noqa: ANN401 - its own
        left = MOST_BYTES
        for piece in read(self, *how, **more):
            left -= len(piece)
            if left < 0:
                self.close()
                raise EndlessAnswerError
            yield piece

    HTTPConnection.response_class = BoundedResponse
    requests.Response.iter_content = iter_content  # type: ignore[method-assign]
