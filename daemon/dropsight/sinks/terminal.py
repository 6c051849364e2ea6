"""Results as lines on a terminal; the daemon never waits for it."""

import contextlib
import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dropsight.journal.event_messages import EventMessage
from dropsight.journal.recording import Durable, Recorded, RecordedEvent
from dropsight.records import (
    ClipFacts,
    EventPhase,
    Expired,
    Failure,
    Record,
    Result,
    burst_in,
    shown_confidence,
    shown_label,
)
from dropsight.status.stats import Snapshot
from dropsight.threads import begin

log = logging.getLogger(__name__)

STDOUT = 1
QUEUED_GROUPS = 64
END_SECONDS = 2.0
UNSURE = 0.5
NARROW = 80
_BOLD, _RED, _GREEN, _YELLOW = "1", "31", "32", "33"


class Terminal:
    """One line per image and a summary at the end, written by a thread of its own.

    A terminal that is held, or on a slow line, is told how many lines it missed.
    """

    def __init__(self, descriptor: int, *, colour: bool, passing: bool) -> None:
        self._descriptor, self._colour, self._passing = descriptor, colour, passing
        self._table = Table()
        self._groups: queue.Queue[Sequence[Durable] | None] = queue.Queue(QUEUED_GROUPS)
        self._missed = 0
        self._names: Counter[str] = Counter()
        self._told = False
        self._thread = begin(threading.Thread(target=self._run, name="terminal", daemon=True))

    def hear(self, recorded: Sequence[Durable], /) -> None:
        """Pass on what was recorded, on the recorder's thread."""
        results = (each.record for each in recorded if isinstance(each, Recorded))
        self._names.update(shown_label(each) for each in results if isinstance(each, Result))
        try:
            self._groups.put_nowait(recorded)
        except queue.Full:
            self._missed += len(recorded)

    def end(self, snapshot: Snapshot, *, results: Path) -> None:
        """Show what is left, and say what it all was."""
        with contextlib.suppress(queue.Full):
            self._groups.put(None, timeout=END_SECONDS)
        self._thread.join(END_SECONDS)
        if not self._thread.is_alive():
            with contextlib.suppress(OSError):
                lines = closing(snapshot, self._names, None if self._passing else results)
                self._write("\n".join(["", *lines, ""]))

    def _run(self) -> None:
        try:
            while (group := self._groups.get()) is not None:
                self._show(group)
        except OSError as error:
            log.warning("results are no longer shown here: %s", error.strerror)

    def _show(self, group: Sequence[Durable]) -> None:
        self._table.room = self._columns()
        lines = [] if self._told else [self._painted(self._table.heading(), _BOLD)]
        self._told = True
        if self._missed:
            lines.append(f"({self._missed} more than this terminal took in time)")
            self._missed = 0
        lines += [self._line(entry) for entry in group]
        self._write("\n".join([*lines, ""]))

    def _line(self, entry: Durable) -> str:
        if isinstance(entry, RecordedEvent):
            return self._painted(printable(told_words(entry.message)), _BOLD)
        record = entry.record
        before, verdict, after = self._table.cells(record, entry.total_ms)
        colour = _GREEN
        if isinstance(record, Failure):
            colour = _RED
        elif isinstance(record, Expired) or shown_confidence(record) < UNSURE:
            colour = _YELLOW
        return f"{before} {self._painted(verdict, colour)}  {after}".rstrip()

    def _painted(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour else text

    def _columns(self) -> int | None:
        try:
            return os.get_terminal_size(self._descriptor).columns or NARROW
        except OSError:
            return None

    def _write(self, text: str) -> None:
        # Past Python's own buffers: their lock, held by a thread that hangs here, would not let us exit.
        data = memoryview(text.encode(errors="replace"))
        while data:
            data = data[os.write(self._descriptor, data) :]


class Table:
    """Columns as wide as what was in them so far, within the `room` that a terminal has; None: all of it."""

    def __init__(self) -> None:
        self.room: int | None = None
        self._widest = [8, 24, 22]

    def heading(self) -> str:
        camera, photo, label = (
            f"{name:<{width}}" for name, width in zip(_NAMES, self._widths(), strict=True)
        )
        return f"{camera} {photo} confidence  {label}{self._figures('decode', 'invoke', 'total ms')}"

    def cells(self, record: Record, total_ms: float) -> tuple[str, str, str]:
        """Return what is before the verdict, the verdict, and what is after it."""
        burst = burst_in(record)
        name = burst.name if burst else record.image_path.removeprefix(f"{record.camera}/")
        camera, photo, label = map(printable, (record.camera, name, _label(record)))
        widest = (camera, photo, label if isinstance(record, Result) else "")
        self._widest = [max(pair) for pair in zip(self._widest, map(columns, widest), strict=True)]
        widths = self._widths()
        before = f"{_fitted(camera, widths[0])} {_fitted(photo, widths[1], keep_end=True)}"
        if not isinstance(record, Result):
            verdict = "failed" if isinstance(record, Failure) else "expired"
            room = None if self.room is None else self.room - columns(before) - 14
            return before, f"{verdict:>10}", label if room is None else _cut(label, max(room, 1))
        spent = record.latency_ms
        figures = self._figures(f"{spent.decode:.1f}", f"{spent.inference:.1f}", f"{total_ms:.1f}")
        return before, f"{shown_confidence(record):>10.1%}", _fitted(label, widths[2]) + figures

    def _figures(self, decode: str, invoke: str, total: str) -> str:
        return f" {total:>9}" if self._narrow else f" {decode:>7} {invoke:>7} {total:>9}"

    @property
    def _narrow(self) -> bool:
        return self.room is not None and self.room < NARROW

    def _widths(self) -> list[int]:
        widths = list(self._widest)
        if self.room is not None:
            others = 2 + 10 + 2 + len(self._figures("", "", "")) + 1  # the last column makes terminals wrap
            while sum(widths) > max(self.room - others, 15):
                widths[widths.index(max(widths))] -= 1
        return widths


_NAMES = ("camera", "photo", "label")


def open_terminal(*, passing: bool = False) -> Terminal:
    """On standard output; `passing`: the results are gone when it ends."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not os.isatty(STDOUT)
    return Terminal(STDOUT, colour=not plain, passing=passing)


def closing(snapshot: Snapshot, names: Counter[str], results: Path | None) -> list[str]:
    """What a person wants to know at the end."""
    counters, total = snapshot.counters, snapshot.latency_ms.since_start["total"]
    counts = {"classified": counters.done, "failed": counters.failed, "expired": counters.expired}
    parts = [f"{count} {what}" for what, count in counts.items() if count] or ["no images"]
    if waiting := max(snapshot.folders.images, counters.waiting):
        parts.append(f"{waiting} still in their folders")
    line = f"{', '.join(parts)} in {snapshot.uptime_seconds:.0f} s"
    if total.count:
        line += f"; half took at most {total.p50:.0f} ms, 95 % at most {total.p95:.0f} ms"
    lines = [line]
    if names:
        most = (f"{printable(name)} {count}" for name, count in names.most_common(5))
        lines.append(f"Most seen: {', '.join(most)}")
    if results and counters.done + counters.failed + counters.expired:
        lines.append(f"The results are in {results}")
    return lines


def columns(text: str) -> int:
    """How many a terminal gives this."""
    if text.isascii():
        return len(text)
    import unicodedata  # a megabyte that few names need

    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def printable(text: str) -> str:
    """A file's name may hold anything, orders to the terminal included."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def told_words(message: EventMessage) -> str:
    """Say what an event does, in a line."""
    said = message.best.label.removeprefix("group:")
    if message.best.id:  # else it is a problem, whose label says what is wrong
        answers = f"{message.count} answer{'s' * (message.count != 1)}"
        said = f"{said} {message.best.confidence:.0%}, {answers}"
    return f"{message.camera}: {happens(message.name, message.phase)} ({said})"


def happens(name: str, phase: EventPhase) -> str:
    return f"{name} { ({'start': 'begins', 'update': 'goes on', 'end': 'is over'}[phase]) }"


def clip_words(clip: ClipFacts) -> str:
    return f"clip, {clip.duration:.1f} s, surest at {clip.peak.time:.1f} s"


def where_words(record: Result) -> str:
    """Say in which part of the picture it is, to be followed by more."""
    return f"{record.region}; " if record.region else ""


def _label(record: Record) -> str:
    match record:
        case Result(clip=ClipFacts() as clip):
            return f"{shown_label(record)} ({where_words(record)}{clip_words(clip)})"
        case Result(region=str() as region):
            return f"{shown_label(record)} ({region})"
        case Result():
            return shown_label(record)
        case Failure():
            return record.error.message
        case Expired():
            return f"{record.age_seconds:.0f} s old when its turn came"


def _fitted(text: str, width: int, *, keep_end: bool = False) -> str:
    text = _cut(text, width, keep_end=keep_end)
    return text + " " * (width - columns(text))


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """At most so wide; files differ at the end of their names."""
    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[1:] if keep_end else text[:-1]
    return f"\N{HORIZONTAL ELLIPSIS}{text}" if keep_end else f"{text}\N{HORIZONTAL ELLIPSIS}"
