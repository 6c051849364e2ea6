"""How long to wait before the next attempt to connect."""

import random

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 300.0


def pause_seconds(failures: int, chance: random.Random) -> float:
    """Double from 1 s to 5 min with the number of failures in a row, less up to a quarter by chance.

    The jitter keeps a factory's devices from returning to their broker all at once.
    """
    longest = min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_SECONDS)
    return longest * chance.uniform(0.75, 1.0)
