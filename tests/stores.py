"""Servers of a test's own, to whom all processes find that are begun meanwhile."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processes import begin, end


@contextmanager
def s3_server() -> Iterator[str]:
    from moto.core.base_backend import BackendDict
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    moto = ThreadedMotoServer("127.0.0.1", port=0)
    moto.start()
    # Both keep what an earlier server of this process had.
    BackendDict.reset()
    S3FileSystem.clear_instance_cache()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    S3FileSystem.clear_instance_cache()
    moto.stop()


@contextmanager
def sftp_server(user: str, password: str, known_hosts: Path) -> Iterator[str]:
    """Serve all files from a process of its own; give the beginning of URLs, write the server's key down."""
    script = Path(__file__).with_name("sftp_server.py")
    process = begin([sys.executable, str(script), user, password], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        port, key = process.stdout.readline().decode().split(maxsplit=1)
        known_hosts.write_text(f"[127.0.0.1]:{port} {key}")
        yield f"sftp://{user}@127.0.0.1:{port}"
    finally:
        end(process)


@contextmanager
def answering(answer: bytes, asked: list[bytes] | None = None) -> Iterator[str]:
    """Give the URL of a server that says this to everybody; what it is asked is noted."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    question = connection.recv(65_536)
                    if asked is not None:
                        asked.append(question)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
