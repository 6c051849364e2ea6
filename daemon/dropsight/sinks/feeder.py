"""Delivers the journal's records to a receiver, in order, and retries with pauses until it has them."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from dropsight import crashpoints
from dropsight.errors import ConfigError, DamagedError, SinkError, StoreError
from dropsight.journal.event_messages import message_in
from dropsight.journal.outbox import Delivery, HeldOutbox
from dropsight.records import RECORDS, Status
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.sink import FollowerStatus
from dropsight.sinks.summons import Summons
from dropsight.status.troubles import Troubles

# So often a receiver is asked to take a record that it has refused, before it is asked for another.
ATTEMPTS = 3
# Of a pause between them, as a number of failures: who refuses one is there, and others wait behind it.
LONGEST_PAUSE = 5
# So many records are looked at for another one.
OTHERS = 64
LONGEST_WAIT_SECONDS = 3600.0
# While more is there to hand on, the journal notes the place so often.
NOTE_SECONDS = 0.05


class LaterError(SinkError):
    """The receiver answers that it takes nothing now, perhaps for so many seconds."""

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = min(seconds, LONGEST_WAIT_SECONDS)


class TurnedAwayError(SinkError):
    """The receiver refuses our credentials, whatever we send."""


class DeclinedError(SinkError):
    """The receiver rejects these records."""


class _Named(msgspec.Struct):
    id: str


def id_of(delivery: Delivery) -> str:
    """Return what is the same only where it is told once more: an event has several messages."""
    if delivery.status == "event":
        return message_in(delivery.line).message_id
    return msgspec.json.decode(delivery.line, type=_Named).id


class Receiver(Protocol):
    """The one thing to write for a new sink."""

    def take(self, group: Sequence[Delivery]) -> None:
        """Return once it has them for good; raises SinkError, and is asked again.

        What it has taken may come once more after a loss of power or connection, with the same id. Raises
        DeclinedError for records to set aside, if it does so again and takes others, and LaterError to be
        left alone for a while.
        """

    def close(self) -> None:
        """Let go of its connection or file; `take` may be called again."""


class Feeder:
    """A follower of the journal, for any receiver; the one in force is made by `receiver`.

    `group`: so many records are handed over at once; those of other `statuses` are passed by.
    """

    def __init__(
        self,
        name: str,
        receiver: Callable[[], Receiver],
        outbox: HeldOutbox,
        troubles: Troubles,
        *,
        to: str,
        group: int = 1,
        statuses: Collection[Status] = RECORDS,
    ) -> None:
        self.troubles, self._outbox = troubles, outbox
        self.tried = self.refused = False
        self._name, self._to, self._group, self._statuses = name, to, group, statuses
        self._group_now = group
        """Who has too much to do with a whole group for an answer in time gets smaller ones."""
        self._make, self._receiver = receiver, receiver()
        self._next: Receiver | None = None
        self._summons, self._lost = Summons(), False
        self._place, self._noted_at = outbox.acknowledged(), 0.0
        self._delivered = self._set_aside = 0
        self._failures = self._declined = self._one_by_one_upto = self._others_upto = 0
        self._takes_others = False
        self._ahead = set[int]()
        """What it has taken before it was its turn."""
        self._chance = random.Random()  # noqa: S311 - jitter

    def standing(self) -> FollowerStatus:
        return FollowerStatus(self._to, self._delivered, self._set_aside)

    def read_secrets(self) -> None:
        self._next = self._make()
        self.wake()

    def wake(self) -> None:
        self._summons.wake()

    def stop(self, *, drain_seconds: float) -> None:
        self._summons.stop(drain_seconds=drain_seconds)

    def run(self) -> None:
        while not self._is_over():
            self._summons.heard()
            if not self._hand_on():
                if self._summons.to_end:
                    break
                self._summons.wait()
        self._note()
        self._receiver.close()

    def _is_over(self) -> bool:
        return self._summons.to_end and (self._lost or self._summons.is_late)

    def _hand_on(self) -> bool:
        """Tell whether there was anything."""
        self._renew()
        group, wanted = list[Delivery](), list[Delivery]()
        try:
            group = self._next_group()
            wanted = self._wanted(group)
            if wanted:
                crashpoints.reach("before_delivery")
                self._receiver.take(wanted)
                crashpoints.reach("after_delivery")
        except DamagedError:
            raise
        except DeclinedError as error:
            self._decline(group, wanted, error)
        except (SinkError, StoreError) as error:
            if wanted:
                self._group_now = max(len(wanted) // 2, 1)
            self._fail(error)
        else:
            if wanted:
                self._succeed(len(wanted))
            if group:
                self._move_on(group)
        finally:
            self.tried = True
        if not group or time.monotonic() - self._noted_at >= NOTE_SECONDS:
            self._note()
        return bool(group) or self._lost

    def _renew(self) -> None:
        """Come back with what its files hold by now: who renews a certificate or a token need not tell us."""
        if self._lost and self._next is None:
            with suppress(ConfigError):  # of files that are just being renewed, the former content serves
                self._next = self._make()
        if self._next:
            self._receiver.close()
            self._receiver, self._next = self._next, None

    def _note(self) -> None:
        self._noted_at = time.monotonic()
        if self._place > self._outbox.acknowledged():
            self._outbox.acknowledge(self._place)
        self._outbox.let_go()

    def _next_group(self) -> list[Delivery]:
        return self._outbox.take(self._place, 1 if self._place < self._one_by_one_upto else self._group_now)

    def _wanted(self, group: Sequence[Delivery]) -> list[Delivery]:
        return [each for each in group if each.status in self._statuses and each.seq not in self._ahead]

    def _move_on(self, group: Sequence[Delivery]) -> None:
        self._declined, self._takes_others = 0, False
        self._place = group[-1].seq
        self._ahead = {seq for seq in self._ahead if seq > self._place}

    def _succeed(self, count: int) -> None:
        self._delivered += count
        self._group_now = min(self._group_now + 1, self._group)
        self._failures, self._lost, self.refused = 0, False, False
        self.troubles.cleared(self._name)

    def _decline(self, group: Sequence[Delivery], wanted: Sequence[Delivery], error: DeclinedError) -> None:
        """Have one record stop no other: find it in its group, and leave it out if it alone is refused."""
        self._lost = False
        if len(wanted) > 1:
            self._one_by_one_upto = group[-1].seq
            return
        self.refused = True
        self._declined += 1
        if not self._takes_others:
            self.troubles.raised(self._name, error)
            self._note()
            self._ask_for_another(group[-1].seq)
            return
        self._set_aside += 1
        fault = f"record {id_of(wanted[0])} is set aside (it is in the log, and not delivered): {error}"
        self.troubles.raised(self._name, SinkError(fault))
        self._move_on(group)

    def _ask_for_another(self, after: int) -> None:
        """Find out whether it refuses all, as a proxy may whose receiver starts anew; rest if it may."""
        if self._declined >= ATTEMPTS:
            self._takes_others = self._takes_one_behind(after)
            self._lost = not self._takes_others
        if not self._takes_others:
            self._rest(pause_seconds(min(self._declined, LONGEST_PAUSE), self._chance))

    def _takes_one_behind(self, place: int) -> bool:
        """Offer one, each time the next of those that are there."""
        with suppress(SinkError, StoreError):  # which are told of when the one before is offered again
            some = self._outbox.pending(max(place, self._others_upto), OTHERS)
            others = self._wanted(some)[:1]
            self._others_upto = (others or some)[-1].seq if some else 0
            if others:
                self._receiver.take(others)
                self._ahead.add(others[0].seq)
                self._delivered += 1
                return True
        return False

    def _fail(self, error: SinkError | StoreError) -> None:
        self._failures += 1
        self._lost, self._takes_others = not isinstance(error, LaterError), False
        self.refused = isinstance(error, TurnedAwayError)
        self.troubles.raised(self._name, error)
        self._note()
        least = error.seconds if isinstance(error, LaterError) else 0.0
        self._rest(max(pause_seconds(self._failures, self._chance), least))

    def _rest(self, seconds: float) -> None:
        """Unless it is time to end before, or there are other secrets to come in with."""
        self._summons.rest(seconds, unless=lambda: self._is_over() or self._next is not None)
