"""The follower of the journal that tells one target of events, and retries for a day."""

import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from hashlib import blake2b

from dropsight import crashpoints
from dropsight.classify.resources import give_memory_back
from dropsight.errors import DamagedError, DropsightError, SinkError, StoreError
from dropsight.journal.event_messages import EventMessage, message_in
from dropsight.journal.outbox import Outbox
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.notify import notification_queue, words
from dropsight.sinks.notify.allowance import MOST, Key, Sent, ToldSource
from dropsight.sinks.notify.notification import Notification
from dropsight.sinks.notify.notification_queue import QueuedMessage
from dropsight.sinks.notify.notifier_parts import EventRecords, NotifierParts
from dropsight.sinks.notify.quiet import quiet_until
from dropsight.sinks.notify.remarks import hold_of, remark, source_of
from dropsight.sinks.notify.targets import Target
from dropsight.sinks.sink import FollowerStatus
from dropsight.sinks.summons import Summons
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 86_400.0
LONGEST_SIDE = 640
_PAGE = 200
_MOST_AT_ONCE = 1_000
_LOOK_SECONDS = 60.0
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


class Notifier:
    """What waits together for any reason goes out together, as a digest."""

    def __init__(
        self,
        target: Target,
        read: Callable[[], Target],
        outbox: Outbox,
        troubles: Troubles,
        parts: NotifierParts,
        *,
        on_record: EventRecords,
        zone: tzinfo | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"notify:{target.label}"
        self.troubles, self.tried, self.refused = troubles, False, False
        self._target, self._read, self._next = target, read, target
        self._outbox, self._parts, self._on_record = outbox, parts, on_record
        self._zone, self._clock = zone, clock
        self._summons, self._lost = Summons(), False
        self._place = self._outbox.acknowledged()
        self._waiting = parts.queue.count(self.name)
        self._behind = self._waiting > 1
        """Whether what waits has waited: then it goes out as one."""
        self._hold: str | None = None
        """Why what waits is not sent now, where that is no trouble."""
        self._batch: Sequence[QueuedMessage] = ()
        """What the last attempt was about, and so will be the next."""
        self._idle_since = -math.inf
        """When nothing waited but of who has had his share; news of another one ends that."""
        self._late = set[Key]()
        """Who has had his share: what waits of such a one goes out as one."""
        self._delivered = self._set_aside = self._failures = 0
        self._failed_at, self._retry_at = 0.0, -math.inf
        self._plain: str | None = None
        self._chance = random.Random()  # noqa: S311 - jitter

    def standing(self) -> FollowerStatus:
        to = self._target.shown + (f" ({self._hold})" if self._hold and self._waiting else "")
        return FollowerStatus(to, self._delivered, self._set_aside, self._waiting)

    def read_secrets(self) -> None:
        self._next = self._read()
        self.wake()

    def wake(self) -> None:
        self._summons.wake()

    def stop(self, *, drain_seconds: float) -> None:
        self._summons.stop(drain_seconds=drain_seconds)

    def run(self) -> None:
        while not self._is_over():
            self._summons.heard()
            pause = self._turn()
            self.tried = True
            if pause == 0:
                continue
            if self._summons.to_end:
                break
            self._rest(pause)
        self._parts.leave()

    def _is_over(self) -> bool:
        return self._summons.to_end and (self._lost or self._summons.is_late)

    def _rest(self, seconds: float) -> None:
        """For so long, or until there is news; and see to the process that notifies meanwhile."""
        until = time.monotonic() + seconds
        while True:
            resting = self._parts.dispatcher.seconds_to_rest()
            left = min(until - time.monotonic(), math.inf if resting is None else resting)
            if self._summons.wait(self._bounded(left)) or time.monotonic() >= until:
                return

    @staticmethod
    def _bounded(seconds: float) -> float | None:
        return None if seconds == math.inf else min(max(seconds, 0.0), threading.TIMEOUT_MAX)

    def _turn(self) -> float:
        """Do what is to be done now; return how long to rest, where there is no news."""
        try:
            self._collect()
            return self._tell()
        except DamagedError:
            raise
        except StoreError as error:
            return self._fail(error)

    def _collect(self) -> None:
        """Take over from the journal what is for this target."""
        start = self._place
        while group := self._outbox.pending(self._place, _PAGE):
            found = [message_in(each.line) for each in group if each.status == "event"]
            if mine := [each for each in found if self._target.name in each.notify]:
                crashpoints.reach("before_holding")
                inboxes = self._on_record.inboxes(mine)
                if gone := self._parts.queue.add(self.name, mine, inboxes):
                    self._give_up(
                        gone, "the oldest notifications", f"more than {notification_queue.MOST:,} wait"
                    )
                self._waiting = self._parts.queue.count(self.name)
                full = self._parts.allowance.full(self._clock()).keys()
                sources = (ToldSource(inbox, each.camera) for inbox, each in zip(inboxes, mine, strict=True))
                if any(full.isdisjoint(each.keys) for each in sources):
                    self._idle_since = -math.inf
            self._place = group[-1].seq
        if self._place > start:
            self._outbox.acknowledge(self._place)

    def _tell(self) -> float:
        if self._next is not self._target:
            self._target, self._retry_at = self._next, -math.inf
        if not self._waiting:
            self._behind = False
            return math.inf
        if (left := self._retry_at - time.monotonic()) > 0:
            return left
        here = datetime.fromtimestamp(self._clock()).astimezone(self._zone)
        now = here.timestamp()  # rounded as it is there: at an earlier one, what was sent is of times to come
        if end := quiet_until(self._target.settings.quiet, here.replace(tzinfo=None)):
            self._behind, self._hold = self._waiting > 1, f"quiet until {end:%H:%M}"
            return _held_for((end - here.replace(tzinfo=None)).total_seconds())
        return self._take_and_send(now, here)

    def _take_and_send(self, now: float, here: datetime) -> float:
        """Send what is allowed within the hour."""
        allowance = self._parts.allowance
        # Before what waits is read: of a flood, thousands at each news.
        if seconds := allowance.seconds_to_next(now):
            self._behind, self._hold = self._waiting > 1, f"{MOST} were sent within the hour"
            return _held_for(seconds)
        if self._idle_since <= now < self._idle_since + _LOOK_SECONDS:
            return self._idle_since + _LOOK_SECONDS - now
        batch = self._batch or self._chosen(now)
        if not batch:
            self._behind, self._hold = False, hold_of(allowance, now)
            self._idle_since = now
            return _LOOK_SECONDS
        sent = Sent(now, source_of(batch))
        # What was tried before goes out as it is, with the id that it had.
        if allowance.take(sent, beyond_share=bool(self._batch)):
            return 0  # another target took the last one
        self._hold, self._batch = None, batch
        return self._send(sent, here)

    def _chosen(self, now: float) -> Sequence[QueuedMessage]:
        """Return what is to go out now, but of nobody who has had his share."""
        full = self._parts.allowance.full(now).keys()
        self._late |= full

        def waiting(most: int, of: Key | None = None) -> list[QueuedMessage]:
            return self._parts.queue.waiting(
                self.name,
                most,
                wanted=lambda each: full.isdisjoint(keys := each.source.keys) and (of is None or of in keys),
            )

        found = waiting(_MOST_AT_ONCE if self._behind else 1)
        if len(found) == 1 and (late := self._late & found[0].source.keys):
            found = waiting(_MOST_AT_ONCE, min(late, key=len))
        return found

    def _send(self, sent: Sent, here: datetime) -> float:
        messages = [held.message for held in self._batch]
        try:
            crashpoints.reach("before_telling")
            plain = self._carry(messages, here)
            crashpoints.reach("after_telling")
            self._parts.queue.told(self._batch, sent)
        except DropsightError as error:
            self._parts.allowance.give_back(sent)
            if isinstance(error, SinkError | StoreError) and not isinstance(error, DamagedError):
                return self._fail(error)
            raise
        self._succeed(plain)
        return 0

    def _carry(self, messages: Sequence[EventMessage], here: datetime) -> str | None:
        """Return why it was told without its picture, None where it had it or is to have none."""
        best = max(messages, key=lambda each: each.best.confidence)
        picture, why = self._picture(best)
        notification = self._notification(messages, best, here)
        receipt = self._parts.dispatcher.carry(notification, picture, stopping=self._is_over)
        if receipt.fault:
            raise SinkError(receipt.fault)
        return why or receipt.plain

    def _notification(
        self, messages: Sequence[EventMessage], best: EventMessage, here: datetime
    ) -> Notification:
        if len(messages) == 1:
            title, key = words.title_of(best), best.message_id
            body = words.body_of(best, now=here, zone=self._zone)
        else:
            title, body = words.digest(messages, now=here, zone=self._zone)
            ids = "".join(each.message_id for each in messages)
            key = blake2b(ids.encode(), digest_size=16).hexdigest()
        body += remark(self._batch, self._parts.allowance, late=self._late, now=here.timestamp())
        name = f"{_NOT_IN_NAMES.sub('_', best.camera[: words.NAME_LETTERS])}-{best.best.id[:12]}.jpg"
        return Notification(self._target.url, title, body, key, words.sender(best.device), name)

    def _picture(self, message: EventMessage) -> tuple[bytes | None, str | None]:
        if not (self._target.settings.pictures and message.best.id):  # problems have none
            return None, None
        try:
            return self._on_record.picture(message.best.id, LONGEST_SIDE), None
        except FileNotFoundError:
            return None, "its file is gone"
        except DamagedError:
            raise
        except Exception as error:  # one picture of a stranger is not to keep all others from being told of
            if not isinstance(error, DropsightError | OSError):
                log.exception("internal error: no picture of %s", message.best.id)
            return None, str(error)
        finally:
            give_memory_back()  # a large picture decoded leaves 8 MB behind

    def _succeed(self, plain: str | None) -> None:
        if plain and plain != self._plain:
            log.warning("%s: sent without the picture: %s", self.name, plain)
        self._plain = plain
        self._delivered += len(self._batch)
        self._late -= {key for each in self._batch for key in each.source.keys}
        self._batch = ()
        self._waiting = self._parts.queue.count(self.name)
        self._failures, self._lost = 0, False
        self.troubles.cleared(self.name)

    def _fail(self, error: SinkError | StoreError) -> float:
        if self._is_over():
            return math.inf
        now = time.monotonic()
        spent = now - self._failed_at if self._failures else 0.0
        self._failures, self._failed_at, self._lost = self._failures + 1, now, True
        self._behind = True
        fault = SinkError(f"{self.name} ({self._target.shown}) was not notified: {error}")
        self.troubles.raised(self.name, error if isinstance(error, StoreError) else fault)
        if isinstance(error, SinkError) and (
            gone := self._parts.queue.tried(self.name, spent, most=GIVE_UP_SECONDS)
        ):
            self._batch = ()
            self._waiting = self._parts.queue.count(self.name)
            what = f"{len(gone)} notification{'s' * (len(gone) != 1)}"
            self._give_up(len(gone), what, f"tried for a day: {error}")
        pause = pause_seconds(self._failures, self._chance)
        self._retry_at = now + pause
        return pause

    def _give_up(self, count: int, what: str, why: str) -> None:
        """`what` has no number where it would change with every event of a flood: each change is a line."""
        self._set_aside += count
        text = f"{self.name} ({self._target.shown}): given up: {what}; {why}"
        self.troubles.raised(self.name, SinkError(text))


def _held_for(seconds: float) -> float:
    """Look again before: a wall clock may be set."""
    return min(max(seconds, 1.0), _LOOK_SECONDS)
