"""How many images there are, and how far they have come."""

import msgspec


class Counters(msgspec.Struct, frozen=True):
    """Images since the start of the daemon; seen = done + failed + waiting + expired, at every moment."""

    seen: int
    done: int
    failed: int
    waiting: int
    expired: int
    queued: int
    postponed: int
    in_hand: int
