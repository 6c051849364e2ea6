"""The network that the tests have for themselves."""

import os
import socket
import struct
import subprocess
import sys

import pytest

from daemons import ROOT
from private_network import MOST_UNSENT_BYTES

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is sure to get a network of its own")
def test_several_packets_may_be_unsent_so_that_none_waits_for_a_delayed_acknowledgement() -> None:
    """A single one in flight waits 40 ms for its ACK, so that megabytes take seconds."""
    code = "import socket, sys; sys.path.insert(0, sys.argv[1]); from private_network import *;"
    code += "print(fcntl.ioctl(socket.socket(), 0x8921, struct.pack('16s16x', b'lo')).hex())"
    scripts = str(ROOT / "scripts")
    launch = [sys.executable, f"{scripts}/private_network.py", sys.executable, "-c", code, scripts]
    done = subprocess.run(launch, capture_output=True, text=True, check=True)
    (mtu,) = struct.unpack("16xi12x", bytes.fromhex(done.stdout))
    assert 4 * mtu <= MOST_UNSENT_BYTES
