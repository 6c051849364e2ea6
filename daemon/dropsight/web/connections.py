"""A connection with timeouts, which can be closed by the server."""

import asyncio
import resource
from collections.abc import Collection
from ipaddress import ip_address

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
MOST_CONNECTIONS = 512
LEAST_CONNECTIONS = 8
# What images, the journal, the log and the connections to others have open at once.
OTHERS_DESCRIPTORS = 96


def share(descriptors: int) -> int:
    """How many connections there may be where the process may have so many descriptors (-1: any number).

    The other half is for images, the journal and the log, and as many as those take if that is more.
    """
    if descriptors < 0:
        return MOST_CONNECTIONS
    return max(min(MOST_CONNECTIONS, descriptors // 2, descriptors - OTHERS_DESCRIPTORS), LEAST_CONNECTIONS)


def _is_local(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


class WebConnection(H11Protocol):
    """A request's state has `hang_up`, which ends the connection at once, whatever is still to be sent.

    And `gone`, which is done once the connection has ended, and `admit`, to be called for who may see it all.

    Where all places are taken, who asks nothing for the longest time makes room for who comes, and then who
    was not admitted: any number of addresses may be one stranger's. An address has at most half of them, and
    an eighth is for this machine alone: whoever looks whether all is well gets in.
    """

    most = share(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    _patience: asyncio.TimerHandle | None = None
    since = 0.0
    address = ""
    is_local = is_admitted = False
    gone: asyncio.Future[None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.gone = self.loop.create_future()
        state = {"hang_up": transport.abort, "gone": self.gone, "admit": self._admit}
        self.app_state = {**self.app_state, **state}
        self.since = self.loop.time()
        self.address = self.client[0] if self.client else ""
        self.is_local = _is_local(self.address)
        if not self._finds_room():
            self.leave()
            return
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_idle:
            self._await_request()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.gone.set_result(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Whoever works on a request that turns out to be none has its answer go nowhere."""
        if not self.is_idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        super().send_400_response(msg)

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _finds_room(self) -> bool:
        """Whether there is a place within each bound, or one could be made."""
        everybody = [each for each in self.connections if isinstance(each, WebConnection)]
        if len(everybody) <= self.most // 2:
            return True
        bounds = [
            ([each for each in everybody if each.address == self.address], self.most // 2),
            (everybody, self.most),
        ]
        if not self.is_local:
            bounds.append(([each for each in everybody if not each.is_local], self.most - self.most // 8))
        return all(self._makes_room(among, most) for among, most in bounds)

    def _makes_room(self, among: Collection["WebConnection"], most: int) -> bool:
        if len(among) <= most:
            return True
        others = [each for each in among if each in self.connections and each is not self]
        giving_way = [each for each in others if each.is_idle] or [
            each for each in others if not each.is_admitted
        ]
        if giving_way:
            min(giving_way, key=lambda each: each.since).leave()
        return bool(giving_way)

    def _admit(self) -> None:
        self.is_admitted = True

    def leave(self) -> None:
        self.connections.discard(self)  # at once: in a flood many are hung up on before one is gone
        self.transport.abort()  # descriptors are for images first

    def _await_request(self) -> None:
        """Give the head of a request its time; one that trickles in would hold a place for good."""
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None
