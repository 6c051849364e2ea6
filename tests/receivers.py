"""Receivers of webhooks: HTTP servers that answer as a test tells them to, or misbehave."""

import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self


class Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: Any


class Turn(NamedTuple):
    """An answer, or what is done instead of one."""

    status: int = 200
    headers: Mapping[str, str] = {}
    instead: Callable[[BaseHTTPRequestHandler], None] | None = None


class Receiver:
    """Answers each request by the next turn, as soon as there is none left by the last of them."""

    def __init__(
        self,
        turns: Sequence[Turn] = (Turn(),),
        *,
        tls: tuple[Path, Path] | None = None,
        read: Callable[[bytes], Any] = json.loads,
    ) -> None:
        self.asked: list[Request] = []
        """All that came."""
        self.taken: list[Any] = []
        """The bodies of those that were answered by 200."""
        self.judge: Callable[[Request], Turn] | None = None
        self._turns, self._read = list(turns), read
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> list[str]:
        return [body["id"] for body in self.taken]

    def _turn(self, request: Request) -> Turn:
        self.asked.append(request)
        if self.judge:
            return self.judge(request)
        return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = receiver._read(self.rfile.read(int(self.headers["Content-Length"])))
                turn = receiver._turn(Request(self.path, dict(self.headers), body))
                if turn.status == 200:
                    receiver.taken.append(body)
                if turn.instead:
                    self.close_connection = True
                    turn.instead(self)
                    return
                self.send_response(turn.status)
                for name, value in {"Content-Length": "2", **turn.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        return Handler


_PROCESS = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "ab") as file:
            file.write(body["id"].encode() + b"\\n")
            file.flush()
            os.fsync(file.fileno())
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass

HTTPServer.allow_reuse_address = True
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class ReceiverProcess:
    """A receiver to be killed, which has what it took in a file before it says so."""

    def __init__(self, root: Path, port: int) -> None:
        self._file, self._port = root / "received", port
        self.url = f"http://127.0.0.1:{port}/hook"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [sys.executable, "-c", _PROCESS, str(self._port), str(self._file)]
        self._process = subprocess.Popen(arguments)

    def kill(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def ids(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path
