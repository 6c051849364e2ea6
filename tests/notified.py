"""Those who are told of events: servers on loopback, and a notifier with what it follows."""

import email
import email.policy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any, Self

import cv2
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from brokers import free_port
from daemons import PHOTOS
from dropsight.config import Notify
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail
from dropsight.journal.event_messages import EventBest, EventMessage, encode_message
from dropsight.journal.outbox import Delivery
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.sinks.notify.notification import Notification, Receipt
from dropsight.sinks.notify.notifier import Notifier
from dropsight.sinks.notify.notifier_parts import EventRecords, NotifierParts
from dropsight.sinks.notify.targets import Target
from dropsight.status.troubles import Troubles


class MailServer:
    """Takes mail, or answers as `says` says."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.says: Callable[[EmailMessage], str] = lambda _: "250 taken"
        self.port = free_port()
        self.url = f"mailto://127.0.0.1:{self.port}?mode=insecure&from=pi@example.org&to=ann@example.org"
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        said = self.says(message)
        if said.startswith("250"):
            self.taken.append(message)
        return said

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class NotedDispatcher(Dispatcher):
    """Begins no process: notes what it would have had told."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications: list[Notification] = []

    def carry(self, notification: Notification, *_: object, **__: object) -> Receipt:
        self.notifications.append(notification)
        return Receipt()


class SharedDispatcher(Dispatcher):
    """One process for many tests: those who leave do not end it."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


def message(number: int, *, name: str = "fox", camera: str = "front", **more: Any) -> EventMessage:
    """Of an event of its own."""
    at = f"2026-11-28T21:{number % 60:02}:00Z"
    facts: dict[str, Any] = {
        "event_type": name,
        "id": f"event{number}",
        "phase": "start",
        "device": "pi",
        "started": at,
        "count": 2,
        "best": EventBest(f"record{number:08}", 0.5 + number / 1000, "red fox"),
        "notify": ["phone"],
        "time": at,
    }
    return EventMessage(**{**facts, "name": name, "camera": camera, **more})


class Events:
    """An outbox with these events, and records between them; `mark` outlives the process."""

    def __init__(self, messages: Sequence[EventMessage] = (), mark: Path | None = None) -> None:
        self.place, self._mark, self._all = 0, mark, list[Delivery]()
        for each in messages:
            self.add(each)

    def add(self, told: EventMessage) -> None:
        seq = len(self._all) + 1
        self._all.append(Delivery(seq, told.camera, "ok", b'{"status":"ok"}'))
        self._all.append(Delivery(seq + 1, told.camera, "event", encode_message(told)))

    def pending(self, after: int, limit: int) -> list[Delivery]:
        return self._all[after : after + limit]

    def acknowledge(self, seq: int) -> None:
        self.place = seq
        if self._mark:
            self._mark.write_text(str(seq))

    def acknowledged(self) -> int:
        return int(self._mark.read_text()) if self._mark and self._mark.exists() else self.place


@cache
def large_photo(folder: Path) -> Path:
    photo, small = folder / "large.png", cv2.imread(str(PHOTOS[0]))
    assert small is not None
    cv2.imwrite(str(photo), cv2.resize(small, (1600, 1200)))
    return photo


class Told:
    """Notifiers for these URLs, each on a thread of its own, with parts in `state`."""

    def __init__(
        self,
        state: Path,
        dispatcher: Dispatcher,
        *,
        settings: Notify = Notify(),  # noqa: B008
        inboxes: int = 1,
    ) -> None:
        self.parts = NotifierParts(state, dispatcher, inboxes=inboxes)
        self.now = [1_795_900_000.0000002]  # between two microseconds
        self.inboxes = dict[str, str]()
        self._state, self._settings = state, settings
        self._stack = ExitStack()
        self._drawing = threading.Lock()

    def by(
        self,
        events: Events,
        url: str,
        place: int = 1,
        *,
        then: str | None = None,
        picture: Callable[[str, int], bytes] | None = None,
    ) -> Notifier:
        """Have it told through this URL, after a reload through another; a record `gone` has no picture."""
        target, later = (Target("phone", self._settings, place, each) for each in (url, then or url))

        def photo(record: str, longest: int) -> bytes:
            if record == "gone":
                raise FileNotFoundError(record)
            with self._drawing:  # several are told at once
                large = large_photo(self._state)
            return thumbnail(str(large), Bounds(), longest=longest)

        notifier = Notifier(
            target,
            lambda: later,
            events,
            Troubles(logging.getLogger("dropsight.test")),
            self.parts.enter(),
            on_record=EventRecords(
                picture or photo, lambda told: [self.inboxes.get(each.camera, "") for each in told]
            ),
            clock=lambda: self.now[0],
        )
        thread = threading.Thread(target=notifier.run)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(notifier.stop, drain_seconds=0)
        return notifier

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextmanager
def own_dispatcher(**how: float) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(**how)
    try:
        yield dispatcher
    finally:
        dispatcher.close()
