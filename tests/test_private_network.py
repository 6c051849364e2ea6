"""The network that the tests have for themselves."""

import os
import socket
import subprocess
import sys

import pytest

from daemons import ROOT

CODE = """
import socket, sys
with socket.socket() as caller:
    print(caller.connect_ex(("127.0.0.1", int(sys.argv[1]))) != 0)
print(bool(socket.create_server(("127.0.0.1", int(sys.argv[1])))))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is sure to get a network of its own")
def test_the_tests_neither_reach_nor_miss_a_port_that_somebody_else_has() -> None:
    """A broker of the house on 1883 must hear nothing of them, and they must not fail for it."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        port = str(neighbour.getsockname()[1])
        launch = [
            sys.executable,
            str(ROOT / "scripts" / "private_network.py"),
            sys.executable,
            "-c",
            CODE,
            port,
        ]
        done = subprocess.run(launch, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")
