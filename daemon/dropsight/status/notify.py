"""The word to systemd (sd_notify): a datagram to the socket that it names in the environment."""

import contextlib
import os
import socket


def notify(**fields: str) -> None:
    """Send fields such as READY=1; nothing happens where no supervisor listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    # A line is a field: what has several lines must not look like several fields.
    message = "\n".join(f"{name}={'; '.join(value.splitlines())}" for name, value in fields.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1.0)
        channel.sendto(message.encode(errors="backslashreplace"), address)
