"""MQTT over WebSockets as paho speaks it, with limits on what a broker may have us keep."""

import socket
import ssl
import time
from typing import Any

from paho.mqtt.client import WebsocketConnectionError, _WebsocketWrapper

# Of the answer to our wish to speak over WebSockets.
HANDSHAKE_BYTES = 16_384
_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
# Frames that go on or are binary, and such as have 125 bytes at most (RFC 6455, 5.5).
_DATA, _CONTROL = {0x0, 0x2}, {_CLOSE, _PING, _PONG}
_CONTROL_BYTES = 125


class FrugalWebSocket(_WebsocketWrapper):
    """Keeps nothing of a frame (RFC 6455, 5.2) but where in it we are.

    paho keeps a frame until it ends, which may have 2^63 bytes, and copies all of it at each read. The
    handshake has so many `seconds`, in however many pieces its answer comes.
    """

    def __init__(self, plain: socket.socket | ssl.SSLSocket, *, seconds: float, **more: Any) -> None:  # noqa: ANN401 - paho's
        self._seconds = seconds
        self._head, self._control, self._unsent = bytearray(), bytearray(), bytearray()
        self._opcode = self._left = 0
        super().__init__(plain, **more)

    def _do_handshake(self, extra_headers: Any) -> None:  # noqa: ANN401 - paho's
        whole, self._socket = self._socket, _Handshake(self._socket, self._seconds)  # type: ignore[assignment]
        try:
            super()._do_handshake(extra_headers)
        except IndexError as error:
            raise WebsocketConnectionError("WebSocket handshake error, no secret key") from error
        finally:
            self._socket = whole

    def _recv_impl(self, length: int) -> bytes:
        """Raises BlockingIOError where there is nothing for MQTT yet."""
        try:
            if not self._left:
                self._begin_frame()
            if self._opcode in _DATA and self._left:
                return self._payload(length)
            if self._left:
                self._control += self._payload(_CONTROL_BYTES)
            if not self._left:
                self._answer()
        except ConnectionError:
            self.connected = False
            return b""
        raise BlockingIOError

    def _begin_frame(self) -> None:
        while len(self._head) < (size := _head_size(self._head)):
            self._head += self._chunk(size - len(self._head))
        first, second, *length = self._head
        self._opcode, self._left = first & 0x0F, int.from_bytes(length) if length else second & 0x7F
        self._head, self._control = bytearray(), bytearray()
        is_masked, is_long = bool(second & 0x80), self._left > _CONTROL_BYTES
        if is_masked or self._opcode not in _DATA | _CONTROL or (self._opcode in _CONTROL and is_long):
            raise ConnectionAbortedError

    def _payload(self, most: int) -> bytes:
        data = self._chunk(min(most, self._left))
        self._left -= len(data)
        return data

    def _chunk(self, most: int) -> bytes:
        data = self._socket.recv(most)
        if not data:
            raise ConnectionAbortedError
        return data

    def _answer(self) -> None:
        if self._opcode in {_CLOSE, _PING} and not (self._sendbuffer or self._unsent):  # never within a frame
            opcode = _PONG if self._opcode == _PING else _CLOSE
            self._unsent = self._create_frame(opcode, self._control)
            self._send_answer()

    def _send_answer(self) -> None:
        del self._unsent[: self._socket.send(self._unsent)]

    def _send_impl(self, data: bytes | bytearray) -> int:
        """Send what is left of an answer first: a frame within a frame is the end of all that follows."""
        if self._unsent:
            self._send_answer()
        return 0 if self._unsent else super()._send_impl(data)


class _Handshake:
    """The socket until the handshake is over."""

    def __init__(self, plain: socket.socket | ssl.SSLSocket, seconds: float) -> None:
        self._plain, self._left = plain, HANDSHAKE_BYTES
        self._deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> int:
        return self._plain.send(data)

    def recv(self, size: int) -> bytes:
        if not self._left:
            raise WebsocketConnectionError("WebSocket handshake error, the response header is too long")
        self._left -= 1
        self._plain.settimeout(max(self._deadline - time.monotonic(), 0.001))
        return self._plain.recv(size)


def _head_size(head: bytearray) -> int:
    if len(head) < 2:
        return 2
    return {126: 4, 127: 10}.get(head[1] & 0x7F, 2)
