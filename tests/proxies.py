"""A TCP proxy that can be slow, deaf and dumb while its connections stay open, or lose one side alone."""

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager

PUBLISH, PUBACK, SUBACK = 0x30, 0x40, 0x90


class Proxy:
    """`swallowing` drops every byte both ways; `delay_seconds` holds each piece back; `refusing` hangs up.

    `keeps_the_other_side`: the target never hears that a client has gone.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.swallowing = self.refusing = self.keeps_the_other_side = False
        self.delay_seconds = 0.0
        self.connections = self._cut_upto = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Lose the clients there are, and have the target not hear of it."""
        self._cut_upto = self.connections

    def close(self) -> None:
        self._closed = True
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            if self.refusing:
                client.close()
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as out,
        ):
            with contextlib.suppress(OSError):
                self._pass_on(client, out, number)
            client.close()
            while (self.keeps_the_other_side or number <= self._cut_upto) and not self._closed:
                if select.select([out], [], [], 0.05)[0] and not out.recv(65_536):
                    return

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        other = {client: out, out: client}
        while not (self._closed or self.refusing or number <= self._cut_upto):
            for side in select.select([client, out], [], [], 0.05)[0]:
                data = side.recv(65_536)
                if not data:
                    return
                if self.swallowing:
                    continue
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                other[side].sendall(data)


@contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    running = Proxy(target_port)
    try:
        yield running
    finally:
        running.close()


class HangingUp(Proxy):
    """Closes a connection at once on which a client says this, as a packet of its own."""

    def __init__(self, target_port: int, forbidden: bytes) -> None:
        self.forbidden = forbidden
        self.hung_up = 0
        super().__init__(target_port)

    def _serve(self, client: socket.socket, number: int) -> None:  # noqa: ARG002
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as out,
        ):
            said = b""
            while not (self._closed or self.refusing):
                for side in select.select([client, out], [], [], 0.05)[0]:
                    data = side.recv(65_536)
                    if not data:
                        return
                    if side is out:
                        client.sendall(data)
                        continue
                    packets, said = _whole_packets(said + data)
                    for packet in packets:
                        if self._hangs_up_on(packet):
                            self.hung_up += 1
                            client.sendall(self._last_word(packet))
                            return
                        out.sendall(packet)

    def _hangs_up_on(self, packet: bytes) -> bool:
        return self.forbidden in _spoken_of(packet)

    def _last_word(self, packet: bytes) -> bytes:  # noqa: ARG002
        return b""


class SayingNo(HangingUp):
    """Says before that it does not take this message of QoS 1 (MQTT 5), as Mosquitto 2.0.11 does."""

    def _last_word(self, packet: bytes) -> bytes:
        return b"\x40\x03" + _number(packet, _spoken_of(packet)) + b"\x87"


@contextmanager
def saying_no(target_port: int, forbidden: bytes) -> Iterator[SayingNo]:
    running = SayingNo(target_port, forbidden)
    try:
        yield running
    finally:
        running.close()


class Pretending(HangingUp):
    """Takes nothing but what is on topics with one of these; of MQTT 3.1.1, as Mosquitto 2.0.11 is.

    It acknowledges what it throws away, and hangs up.
    """

    def __init__(self, target_port: int, *allowed: bytes) -> None:
        self._allowed = allowed
        super().__init__(target_port, b"")

    def _hangs_up_on(self, packet: bytes) -> bool:
        return packet[0] & 0xF0 == PUBLISH and not any(each in _spoken_of(packet) for each in self._allowed)

    def _last_word(self, packet: bytes) -> bytes:
        return b"\x40\x02" + _number(packet, _spoken_of(packet)) if packet[0] & 0x02 else b""


@contextmanager
def pretending(target_port: int, *allowed: bytes) -> Iterator[Pretending]:
    running = Pretending(target_port, *allowed)
    try:
        yield running
    finally:
        running.close()


class OftenHangingUp(HangingUp):
    """Closes the connection on each tenth message, whatever it is."""

    _said = 0

    def _hangs_up_on(self, packet: bytes) -> bool:
        self._said += packet[0] & 0xF0 == PUBLISH
        return packet[0] & 0xF0 == PUBLISH and self._said % 10 == 0


@contextmanager
def often_hanging_up(target_port: int) -> Iterator[OftenHangingUp]:
    running = OftenHangingUp(target_port, b"")
    try:
        yield running
    finally:
        running.close()


class Unacknowledging(Proxy):
    """Lets no PUBACK through to a client while it is `silent`: all else is as ever.

    `but_on`: those of what is published on topics with this are let through. `kind`: what it withholds,
    where that is not PUBACKs. `instead`: a reason to give for each, where it is not to say nothing.
    """

    silent = True

    def __init__(
        self, target_port: int, *, but_on: bytes = b"", kind: int = PUBACK, instead: int | None = None
    ) -> None:
        self._but_on, self._kind, self._instead = but_on, kind, instead
        super().__init__(target_port)

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        said = asked = b""
        wanted = set[bytes]()
        while not (self._closed or self.refusing or number <= self._cut_upto):
            for side in select.select([client, out], [], [], 0.05)[0]:
                data = side.recv(65_536)
                if not data:
                    return
                if side is client:
                    packets, asked = _whole_packets(asked + data)
                    topics = ((each, _spoken_of(each)) for each in packets if each[0] & 0xF6 == 0x32)
                    wanted |= {_number(each, topic) for each, topic in topics if self._is_let_through(topic)}
                    out.sendall(data)
                    continue
                packets, said = _whole_packets(said + data)
                client.sendall(b"".join(self._heard(each, wanted) for each in packets))

    def _is_let_through(self, topic: bytes) -> bool:
        return bool(self._but_on) and self._but_on in topic

    def _heard(self, packet: bytes, wanted: Collection[bytes]) -> bytes:
        if not self.silent or packet[0] & 0xF0 != self._kind or packet[2:4] in wanted:
            return packet
        return b"" if self._instead is None else bytes([packet[0], 3, *packet[2:4], self._instead])


@contextmanager
def unacknowledging(
    target_port: int, *, but_on: bytes = b"", kind: int = PUBACK, instead: int | None = None
) -> Iterator[Unacknowledging]:
    running = Unacknowledging(target_port, but_on=but_on, kind=kind, instead=instead)
    try:
        yield running
    finally:
        running.close()


class Muffling(Proxy):
    """Lets no PUBACK of a client through while it is `silent`: all else is as ever."""

    silent = True

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        asked = b""
        while not (self._closed or number <= self._cut_upto):
            for side in select.select([client, out], [], [], 0.05)[0]:
                data = side.recv(65_536)
                if not data:
                    return
                if side is out:
                    client.sendall(data)
                    continue
                packets, asked = _whole_packets(asked + data)
                out.sendall(
                    b"".join(each for each in packets if not (self.silent and each[0] & 0xF0 == PUBACK))
                )


@contextmanager
def muffling(target_port: int) -> Iterator[Muffling]:
    running = Muffling(target_port)
    try:
        yield running
    finally:
        running.close()


class Stingy(Proxy):
    """Passes one PUBACK on at a time, each so many seconds after the one before, while it is `slow`.

    `most` is how many messages at once it has seen unacknowledged, `topics` what they were on, in order.
    """

    slow = True

    def __init__(self, target_port: int, pace_seconds: float) -> None:
        self._pace = pace_seconds
        self.most = 0
        self.topics: list[str] = []
        super().__init__(target_port)

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        said = asked = b""
        kept, on_the_way, passed_at = deque[bytes](), 0, 0.0
        while not (self._closed or self.refusing or number <= self._cut_upto):
            for side in select.select([client, out], [], [], 0.02)[0]:
                data = side.recv(65_536)
                if not data:
                    return
                if side is client:
                    packets, asked = _whole_packets(asked + data)
                    topics = [_spoken_of(each).decode() for each in packets if each[0] & 0xF6 == 0x32]
                    on_the_way += len(topics)
                    self.most = max(self.most, on_the_way)
                    self.topics += topics
                    out.sendall(data)
                    continue
                packets, said = _whole_packets(said + data)
                kept += [each for each in packets if each[0] & 0xF0 == PUBACK]
                client.sendall(b"".join(each for each in packets if each[0] & 0xF0 != PUBACK))
            while kept and (not self.slow or time.monotonic() - passed_at >= self._pace):
                passed_at, on_the_way = time.monotonic(), on_the_way - 1
                client.sendall(kept.popleft())


@contextmanager
def stingy(target_port: int, *, pace_seconds: float) -> Iterator[Stingy]:
    running = Stingy(target_port, pace_seconds)
    try:
        yield running
    finally:
        running.close()


class Leaving(Proxy):
    """Hangs up soon after each login while it `leaves`, and passes nothing on before it does."""

    leaves = True
    after_seconds = 0.2

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        if self.leaves:
            out.sendall(client.recv(65_536))
            client.sendall(out.recv(65_536))
            deadline = time.monotonic() + self.after_seconds
            while (left := deadline - time.monotonic()) > 0 and not self._closed:
                if select.select([client], [], [], left)[0] and not client.recv(65_536):
                    return
            return
        super()._pass_on(client, out, number)


@contextmanager
def leaving(target_port: int) -> Iterator[Leaving]:
    running = Leaving(target_port)
    try:
        yield running
    finally:
        running.close()


class OfAnEarlierVersion(Proxy):
    """Refuses MQTT 5 while it is `old`, as a broker of 3.1.1 does: by the reason that this version has.

    Or without a word, where it `hangs_up`.
    """

    old = hangs_up = False

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        if self.old and client.recv(4_096, socket.MSG_PEEK)[8:9] == b"\5":
            if not self.hangs_up:
                client.sendall(b"\x20\2\0\1")
            return
        super()._pass_on(client, out, number)


@contextmanager
def of_an_earlier_version(target_port: int) -> Iterator[OfAnEarlierVersion]:
    running = OfAnEarlierVersion(target_port)
    try:
        yield running
    finally:
        running.close()


class AboutToStart(Proxy):
    """Is silent, or hangs up, when it is asked for MQTT 5, until it is asked for 3.1.1: then it is there."""

    def __init__(self, target_port: int, *, hangs_up: bool) -> None:
        self._is_there, self._hangs_up = False, hangs_up
        super().__init__(target_port)

    def _pass_on(self, client: socket.socket, out: socket.socket, number: int) -> None:
        self._is_there |= client.recv(4_096, socket.MSG_PEEK)[8:9] == b"\4"
        if self._is_there:
            super()._pass_on(client, out, number)
        while not (self._hangs_up or self._closed):
            if select.select([client], [], [], 0.05)[0] and not client.recv(65_536):
                return


@contextmanager
def about_to_start(target_port: int, *, hangs_up: bool) -> Iterator[AboutToStart]:
    running = AboutToStart(target_port, hangs_up=hangs_up)
    try:
        yield running
    finally:
        running.close()


class TakingOver(Proxy):
    """Says to a client that another of its id has logged in (MQTT 5: DISCONNECT, 0x8E), and hangs up."""

    def __init__(self, target_port: int, client_id: str) -> None:
        self._newest: socket.socket | None = None
        self._client_id = len(client_id).to_bytes(2) + client_id.encode()
        super().__init__(target_port)

    def _serve(self, client: socket.socket, number: int) -> None:
        if self._client_id not in client.recv(65_536, socket.MSG_PEEK):
            super()._serve(client, number)
            return
        former, self._newest = self._newest, client
        if former:
            with contextlib.suppress(OSError):  # it may have gone by itself
                former.sendall(b"\xe0\x02\x8e\x00")
                former.shutdown(socket.SHUT_RDWR)
        super()._serve(client, number)


@contextmanager
def taking_over(target_port: int, client_id: str) -> Iterator[TakingOver]:
    running = TakingOver(target_port, client_id)
    try:
        yield running
    finally:
        running.close()


def _spoken_of(packet: bytes) -> bytes:
    """The topic of a PUBLISH, all of a SUBSCRIBE."""
    kind = packet[0] & 0xF0
    if kind == 0x30:
        at = next(at for at in range(1, 5) if packet[at] < 128) + 1
        return packet[at + 2 : at + 2 + int.from_bytes(packet[at : at + 2])]
    return packet if kind == 0x80 else b""


def _number(packet: bytes, topic: bytes) -> bytes:
    """Return the number of a PUBLISH at QoS 1."""
    at = packet.index(topic) + len(topic)
    return packet[at : at + 2]


def _whole_packets(data: bytes) -> tuple[list[bytes], bytes]:
    """Split a stream of MQTT into its packets (2.1 of either version) and what is left."""
    packets = []
    while len(data) >= 2:
        length = shift = 0
        for at in range(1, min(len(data), 5)):
            length |= (data[at] & 127) << shift
            shift += 7
            if data[at] < 128:
                break
        else:
            break
        if len(data) <= at + length:
            break
        packets.append(data[: at + 1 + length])
        data = data[at + 1 + length :]
    return packets, data


@contextmanager
def hanging_up(target_port: int, forbidden: bytes) -> Iterator[HangingUp]:
    running = HangingUp(target_port, forbidden)
    try:
        yield running
    finally:
        running.close()
