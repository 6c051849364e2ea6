"""The process that notifies: Apprise takes 50 MB, and any of its services may hang or die.

    python -P -m dropsight.sinks.notify.apprise_process SOCKET-DESCRIPTOR MEMORY-BYTES

Each message on the socket brings another socket, on which one notification comes in and one receipt goes out;
so a target that is slow holds up no other. URLs come in by no other way.
"""

import logging
import os
import socket
import sys
import threading
from contextlib import closing, suppress

import apprise
import msgspec
from apprise.attachment.file import AttachFile

from dropsight import children
from dropsight.sinks.notify.answer_bounds import bound_answers
from dropsight.sinks.notify.apprise_faults import CapturedWarning, WarningCapture, spoken
from dropsight.sinks.notify.notification import MESSAGE_BYTES, Notification, Receipt
from dropsight.threads import begins

CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0
# Between the requests of one notification; the next is hours or minutes away.
MOST_PAUSE_SECONDS = 1.0
STACK_BYTES = 2**20
UNKNOWN = "not a URL that Apprise knows"


class AppriseSender(msgspec.Struct, frozen=True):
    """Sends by Apprise, and says what became of it. Thread-safe."""

    warnings: WarningCapture

    def receipt(self, notification: Notification, picture: int | None) -> Receipt:
        """`picture` is the descriptor of a JPEG."""
        plugin = apprise.Apprise.instantiate(
            notification.url, asset=_asset(notification.sender), suppress_exceptions=True
        )
        if not isinstance(plugin, apprise.NotifyBase):
            return Receipt(UNKNOWN)
        if not notification.send:
            return Receipt()
        plugin.request_rate_per_sec = min(plugin.request_rate_per_sec, MOST_PAUSE_SECONDS)
        headers = getattr(plugin, "headers", None)
        if isinstance(headers, dict):  # where the protocol has such: a receiver knows what comes twice
            headers["X-Dropsight-Id"] = notification.id
        plain = None
        if picture is not None and plugin.attachment_support:
            fault = self._fault(plugin, notification, picture)
            if fault is None or not fault.blames_picture:
                return Receipt(fault.spoken() if fault else None)
            plain = fault.spoken()
        fault = self._fault(plugin, notification, None)
        return Receipt(fault.spoken()) if fault else Receipt(plain=plain)

    def _fault(
        self, plugin: apprise.NotifyBase, notification: Notification, picture: int | None
    ) -> CapturedWarning | None:
        """Return None where it was taken."""
        captured = self.warnings.listen()
        return None if self._notify(plugin, notification, picture) else captured

    def _notify(
        self, plugin: apprise.NotifyBase, notification: Notification, picture: int | None
    ) -> apprise.AppriseResult:
        service = apprise.Apprise(asset=plugin.asset)
        service.add(plugin)
        attached = None
        if picture is not None:
            attached = apprise.AppriseAttachment(asset=plugin.asset)
            path = f"/proc/self/fd/{picture}"  # many a plugin opens it by its path
            held = AttachFile(path, name=notification.picture, mimetype="image/jpeg", asset=plugin.asset)  # type: ignore[no-untyped-call]
            attached.add(held)
        return service.notify(
            body=notification.body,
            title=notification.title,
            attach=attached,
            body_format=apprise.NotifyFormat.TEXT,
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


def serve(door: socket.socket, sender: AppriseSender) -> None:
    """Until the other side hangs up: then nobody hears a receipt."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        for descriptor in descriptors:
            visit = socket.socket(fileno=descriptor)
            if not begins(threading.Thread(target=_receive, args=(visit, sender), daemon=True)):
                _receive(visit, sender)  # who comes meanwhile waits
        if not message:
            return


def _receive(visit: socket.socket, sender: AppriseSender) -> None:
    with closing(visit), suppress(BrokenPipeError, ConnectionResetError):
        message, descriptors, _, _ = socket.recv_fds(visit, MESSAGE_BYTES, 1)
        if not message:
            return
        try:
            notification = msgspec.msgpack.decode(message, type=Notification)
            receipt = sender.receipt(notification, descriptors[0] if descriptors else None)
        except Exception as error:  # noqa: BLE001 - of one of a hundred and forty services
            receipt = Receipt(spoken(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        visit.sendall(msgspec.msgpack.encode(receipt))


def listen() -> WarningCapture:
    """Have Apprise's log heard by nobody else: it may name what is secret."""
    warnings, log = WarningCapture(), logging.getLogger("apprise")
    log.handlers, log.propagate = [warnings], False
    log.setLevel(logging.WARNING)
    return warnings


def main(arguments: list[str]) -> int:
    descriptor, memory = map(int, arguments)
    children.confine(memory)
    bound_answers()
    threading.stack_size(STACK_BYTES)  # they count as memory, one for each target
    sender = AppriseSender(listen())
    # Unless the URL says otherwise; of what is longer than a service takes, some would take nothing.
    apprise.NotifyBase.overflow_mode = apprise.OverflowMode.SPLIT
    apprise.URLBase.socket_connect_timeout = CONNECT_SECONDS
    apprise.URLBase.socket_read_timeout = READ_SECONDS
    apprise.Apprise.instantiate("json://localhost")  # imports the services, before several threads do
    with socket.socket(fileno=descriptor) as door, suppress(ConnectionResetError):
        serve(door, sender)
    os._exit(0)  # whatever a service waits for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
