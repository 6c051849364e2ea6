"""A connection that does not wait for ever, and can be hung up on."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
MOST_CONNECTIONS = 512
MOST_OF_AN_ADDRESS = 256


class Connection(H11Protocol):
    """A request's state has `hang_up`, which ends the connection at once, whatever is still to be sent."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "hang_up": transport.abort}
        if self._is_one_too_many():
            self.connections.discard(self)  # at once: in a flood many are hung up on before one is gone
            transport.abort()  # descriptors are for images first
            return
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_request()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_one_too_many(self) -> bool:
        address = self.client and self.client[0]
        others = (each.client and each.client[0] for each in self.connections if isinstance(each, Connection))
        of_address = sum(other == address for other in others)
        return len(self.connections) > MOST_CONNECTIONS or of_address > MOST_OF_AN_ADDRESS

    def _await_request(self) -> None:
        """Give the head of a request its time; one that trickles in would hold a place for good."""
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None
