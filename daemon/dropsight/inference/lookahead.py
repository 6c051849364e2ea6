"""Work on a stream by several threads: in order, and never far ahead of who takes the results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def look_ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int, most: int
) -> Generator[R, None, None]:
    """Yield what `work` makes of each item, in order; at most `most` items are in hand.

    Items are asked for in the caller's thread. A result that is there is handed on before the next item is
    taken in, so that one is never further behind a slow stream than by an item.
    """
    waiting: deque[Future[R]] = deque()
    # Woken for each result, this thread would take a core from the others as often: it sleeps until they have
    # done half of what they need not wait for.
    spare = max(most - threads, 0) // 2
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= most:
                    wait((waiting[spare],))
                while waiting and (len(waiting) >= most or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
