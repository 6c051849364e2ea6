"""The process that notifies: Apprise takes 50 MB, and any of its services may hang or die.

    python -P -m dropsight.sinks.notify.messenger SOCKET-DESCRIPTOR MEMORY-BYTES

Each message on the socket brings another socket, on which one errand comes in and one receipt goes out; so a
target that is slow holds up no other. URLs come in by no other way.
"""

import logging
import os
import socket
import sys
import threading
from contextlib import closing, suppress
from dataclasses import dataclass

import apprise
import msgspec
from apprise.attachment.file import AttachFile

from dropsight import children
from dropsight.sinks.notify.answers import bound_answers
from dropsight.sinks.notify.errand import MESSAGE_BYTES, Errand, Receipt
from dropsight.sinks.notify.hearing import Ear, Heard, spoken

CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0
# Between the requests of one notification; the next is hours or minutes away.
MOST_PAUSE_SECONDS = 1.0
STACK_BYTES = 2**20
UNKNOWN = "it is no URL that Apprise knows"


@dataclass(frozen=True, slots=True)
class Porter:
    """Carries orders out. Thread-safe."""

    ear: Ear

    def receipt(self, errand: Errand, picture: int | None) -> Receipt:
        """`picture` is the descriptor of a JPEG."""
        plugin = apprise.Apprise.instantiate(
            errand.url, asset=_asset(errand.sender), suppress_exceptions=True
        )
        if not isinstance(plugin, apprise.NotifyBase):
            return Receipt(UNKNOWN)
        if not errand.send:
            return Receipt()
        plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, MOST_PAUSE_SECONDS)
        headers = getattr(plugin, "headers", None)
        if isinstance(headers, dict):  # where the protocol has such: a receiver knows what comes twice
            headers["X-Dropsight-Id"] = errand.id
        plain = None
        if picture is not None and plugin.attachment_support:
            fault = self._fault(plugin, errand, picture)
            if fault is None or not fault.blames_picture:
                return Receipt(fault.spoken() if fault else None)
            plain = fault.spoken()
        fault = self._fault(plugin, errand, None)
        return Receipt(fault.spoken()) if fault else Receipt(plain=plain)

    def _fault(self, plugin: apprise.NotifyBase, errand: Errand, picture: int | None) -> Heard | None:
        """Return None where it was taken."""
        heard = self.ear.listen()
        return None if self._notify(plugin, errand, picture) else heard

    def _notify(
        self, plugin: apprise.NotifyBase, errand: Errand, picture: int | None
    ) -> apprise.AppriseResult:
        service = apprise.Apprise(asset=plugin.asset)
        service.add(plugin)
        attached = None
        if picture is not None:
            attached = apprise.AppriseAttachment(asset=plugin.asset)
            path = f"/proc/self/fd/{picture}"  # many a plugin opens it by its path
            held = AttachFile(path, name=errand.picture, mimetype="image/jpeg", asset=plugin.asset)  # type: ignore[no-untyped-call]
            attached.add(held)
        return service.notify(
            body=errand.body, title=errand.title, attach=attached, body_format=apprise.NotifyFormat.TEXT
        )


def _asset(sender: str) -> apprise.AppriseAsset:
    return apprise.AppriseAsset(
        app_id=sender,
        app_desc=sender,
        async_mode=False,
        image_url_mask="",
        image_url_logo="",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        # Unless the URL asks for it (redirect=yes): a receiver is not to choose whom the picture goes to.
        http_redirects=False,
        # What is given up goes on in a thread of a few for all; the daemon ends this process instead.
        service_timeout=0,
    )


def serve(door: socket.socket, porter: Porter) -> None:
    """Until the other side hangs up: then nobody hears a receipt."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        for descriptor in descriptors:
            visit = socket.socket(fileno=descriptor)
            threading.Thread(target=_receive, args=(visit, porter), daemon=True).start()
        if not message:
            return


def _receive(visit: socket.socket, porter: Porter) -> None:
    with closing(visit), suppress(BrokenPipeError, ConnectionResetError):
        message, descriptors, _, _ = socket.recv_fds(visit, MESSAGE_BYTES, 1)
        if not message:
            return
        try:
            errand = msgspec.msgpack.decode(message, type=Errand)
            receipt = porter.receipt(errand, descriptors[0] if descriptors else None)
        except Exception as error:  # noqa: BLE001 - of one of a hundred and forty services
            receipt = Receipt(spoken(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        visit.sendall(msgspec.msgpack.encode(receipt))


def listen() -> Ear:
    """Have Apprise's log heard by nobody else: it may name what is secret."""
    ear, log = Ear(), logging.getLogger("apprise")
    log.handlers, log.propagate = [ear], False
    log.setLevel(logging.WARNING)
    return ear


def main(arguments: list[str]) -> int:
    descriptor, memory = map(int, arguments)
    children.confine(memory)
    bound_answers()
    threading.stack_size(STACK_BYTES)  # they count as memory, one for each target
    porter = Porter(listen())
    # Unless the URL says otherwise; of what is longer than a service takes, some would take nothing.
    apprise.NotifyBase.overflow_mode = apprise.OverflowMode.SPLIT
    apprise.URLBase.socket_connect_timeout = CONNECT_SECONDS
    apprise.URLBase.socket_read_timeout = READ_SECONDS
    apprise.Apprise.instantiate("json://localhost")  # imports the services, before several threads do
    with socket.socket(fileno=descriptor) as door, suppress(ConnectionResetError):
        serve(door, porter)
    os._exit(0)  # whatever a service waits for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
