"""Addresses to listen at: HOST:PORT, and whether only this machine reaches them."""

import ipaddress


def host_and_port(text: str) -> tuple[str, int]:
    """Split HOST:PORT, an IPv6 host without its brackets; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(text)
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
