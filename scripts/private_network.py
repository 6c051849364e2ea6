"""Runs a command in a network of its own: every port is free there, and nobody who should not hear listens.

    python3 scripts/private_network.py COMMAND [ARGUMENT...]

Without root it takes a user namespace for it. Where the kernel allows neither, it says so, and runs the
command in the machine's network. What root needs that one for finds it in OUTER_NETWORK, for `nsenter
--net=`.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER of sched.h
# SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU, SIOCADDRT of sockios.h
GET_FLAGS, SET_FLAGS, SET_MTU, ADD_ROUTE = 0x8913, 0x8914, 0x8922, 0x890B
IS_UP = 0x1  # for interfaces and routes
MULTICAST = ("224.0.0.0", "240.0.0.0")
OUTER_NETWORK = "_DROPSIGHT_OUTER_NETWORK"
MOST_UNSENT_BYTES = 65_536
# Of loopback's own 65,536 only one may be unsent, and the next waits 40 ms for its delayed ACK.
PACKET_BYTES = 16_384


def enter() -> None:
    """Leave the machine's network; raises OSError where that is not allowed."""
    user, group, outer = os.geteuid(), os.getegid(), f"/proc/{os.getppid()}/ns/net"
    as_root = user == 0
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK if as_root else NEW_NETWORK | NEW_USER):
        raise OSError(ctypes.get_errno(), "unshare")
    if as_root:
        os.environ[OUTER_NETWORK] = outer
    else:
        # The same user inside as outside: what is asked of permissions is answered as ever.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        loopback = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, GET_FLAGS, loopback))
        fcntl.ioctl(any_socket, SET_MTU, struct.pack("16si12x", b"lo", PACKET_BYTES))
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", flags | IS_UP))
        _lead_multicast_home(any_socket)
    # Least, first and most bytes that wait to be sent: a client that does not read is found out sooner.
    with contextlib.suppress(OSError):  # containers may not
        Path("/proc/sys/net/ipv4/tcp_wmem").write_text(f"4096 16384 {MOST_UNSENT_BYTES}")


def _lead_multicast_home(any_socket: socket.socket) -> None:
    """Programs that look for others by mDNS do not start where there is no way for that."""
    device = ctypes.create_string_buffer(b"lo")
    group, mask = (
        struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address)) for address in MULTICAST
    )
    nowhere = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes(4))
    # struct rtentry of route.h: destination, gateway, mask, flags, device.
    route = struct.pack(
        "@L16s16s16sHhLPhPLLH", 0, group, nowhere, mask, IS_UP, 0, 0, 0, 0, ctypes.addressof(device), 0, 0, 0
    )
    fcntl.ioctl(any_socket, ADD_ROUTE, route)


def main() -> None:
    """Replace this process by the command."""
    try:
        enter()
    except OSError as error:
        print(
            f"no network of our own ({error}): the tests use this machine's, and a broker on its port 1883"
            " would hear some of them",
            file=sys.stderr,
        )
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command is the caller's


if __name__ == "__main__":
    main()
