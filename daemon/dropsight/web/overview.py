"""The dashboard's overview: the status, the disk, the last day, the cameras, recent speed and latency."""

import os
import time

import msgspec

from dropsight.names import as_json
from dropsight.sinks.reports import Status
from dropsight.web.history import POINT_SECONDS, Camera, DayCounts, DayHistory, Point, QuarterHour
from dropsight.web.hub import Hub
from dropsight.web.pictures import PictureFiles
from dropsight.web.shown_daemon import ShownDaemon

DISK_SECONDS = 10.0


class Disk(msgspec.Struct, frozen=True):
    """The file system of the journal."""

    free_bytes: int
    total_bytes: int


class Overview(msgspec.Struct, frozen=True):
    """`course` is a quarter of an hour, in the stream its last point; `protected`: a token is asked for."""

    time: float
    status: Status
    disk: Disk
    day: DayCounts
    cameras: dict[str, Camera]
    course: list[Point]
    course_seconds: float
    streams: int
    streams_dropped: int
    protected: bool


class Overviews:
    """For the event loop's thread; `days`, `hub` and `cache` may be fed from others.

    `newest` was on record before.
    """

    def __init__(self, daemon: ShownDaemon, *, protected: bool, newest: int) -> None:
        self.daemon, self.days, self.course = daemon, DayHistory(), QuarterHour()
        self.hub = Hub(self.pulse)
        self.cache = PictureFiles()
        self.recalled_from: int | None = newest + 1
        self._protected = protected
        self._disk, self._disk_at = Disk(0, 0), 0.0

    def note(self) -> None:
        """Lengthen the course by a point; due every `POINT_SECONDS`."""
        waiting = self.daemon.status().stats.counters.waiting
        self.course.add(self.daemon.distributions()["total"], waiting=waiting)

    def overview(self) -> Overview:
        return self._overview(self.daemon.status(), list(self.course.points))

    def pulse(self) -> bytes:
        """Return the event that keeps a dashboard up to date: the overview without what only grows."""
        status = self.daemon.status()
        stats = msgspec.structs.replace(status.stats, classes={})
        seen = self._overview(msgspec.structs.replace(status, stats=stats), list(self.course.points)[-1:])
        return b"event: stats\ndata: %b\n\n" % as_json(seen)

    def _overview(self, status: Status, course: list[Point]) -> Overview:
        return Overview(
            time=time.time(),
            status=status,
            disk=self._look_at_disk(),
            day=self.days.day(),
            cameras=self.days.cameras(),
            course=course,
            course_seconds=POINT_SECONDS,
            streams=len(self.hub.clients),
            streams_dropped=self.hub.dropped,
            protected=self._protected,
        )

    def _look_at_disk(self) -> Disk:
        if time.monotonic() - self._disk_at > DISK_SECONDS:
            found = os.statvfs(self.daemon.config.store.path.parent)
            self._disk = Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
            self._disk_at = time.monotonic()
        return self._disk
