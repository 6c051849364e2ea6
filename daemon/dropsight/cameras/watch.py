"""Cameras that can be trusted: whether each still sends, and whether what it sends shows anything."""

import bisect
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Literal, TypeAlias, get_args

import msgspec

from dropsight.cameras.rhythm import Rhythm
from dropsight.config import Cameras
from dropsight.images.looks import BLURRED_SHARPNESS, Look
from dropsight.records import timestamp

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["silent", "black", "frozen", "blurred"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# A single bad picture may be a passer-by or a flash.
IN_A_ROW = 3
BLURRED_SHARE, CLEARLY_BETTER = 0.1, 1.5
LEARNED_PICTURES, REMEMBERED_PICTURES, REMEMBERED_WHILE_BLURRED = 20, 256, 4_096
# Beyond so many, those without a folder are forgotten soon; beyond the most, newcomers are not remembered.
LONGEST_LIST, MOST_CAMERAS = 1_024, 8_192
NAMED = 8
SECONDS_A_DAY = 86_400
# Without watch.silence, so long may one that is expected take to send its first image.
EXPECTED_SECONDS = 3_600.0
# Workers take groups: so many images may be noted before an older one.
OUT_OF_ORDER = 64


class Problem(msgspec.Struct, frozen=True):
    text: str
    since: str


class Memory(msgspec.Struct, kw_only=True):
    """What is known of a camera across restarts. `silent_seconds` is as of when it was noted."""

    folder: str = ""
    silent_seconds: float = 0.0
    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    pictures: int = 0
    log_sharpness: float = 0.0
    problems: dict[Kind, Problem] = {}
    has_sent: bool = False


class _Camera(msgspec.Struct):
    """In monotonic seconds: `arrived` is when its newest image came to be, `seen` when one was noted.

    `unlearned`: when others came to be, in order, before which more may still be noted.
    """

    memory: Memory
    seen: float
    arrived: float | None = None
    unlearned: list[float] = msgspec.field(default_factory=list)
    last: Look | None = None
    in_a_row: dict[Kind, int] = msgspec.field(default_factory=dict)

    def learn(self, arrived: float) -> None:
        if self.arrived is not None and arrived > self.arrived:
            self.memory.rhythm.learn(arrived - self.arrived, day=int(time.time() // SECONDS_A_DAY))
        self.arrived = max(arrived, self.arrived or arrived)


class CameraWatch:
    """Thread-safe, and bounded: when there are too many cameras, newcomers are not remembered."""

    def __init__(
        self,
        settings: Cameras,
        memories: Mapping[str, Memory],
        *,
        changed: Callable[[], None],
        expected: Mapping[str, str] = {},
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected` names the folders of cameras that are to send from now on."""
        self._settings, self._changed, self._monotonic = settings, changed, monotonic
        self._expected = expected
        now = monotonic()
        # The time that the daemon was down is nobody's silence.
        self._cameras = {
            name: _Camera(memory, seen=now - memory.silent_seconds) for name, memory in memories.items()
        }
        for name, folder in expected.items():
            self._cameras.setdefault(name, _Camera(Memory(), seen=now)).memory.folder = folder
        self.names = frozenset(self._cameras)
        self._newest = now
        self._news = set(self._cameras)
        self._gone: set[str] = set()
        self._full = False
        self._lock = threading.RLock()

    def remembers(self, name: str) -> bool:
        """Whether anything is kept of this camera, or will be."""
        return name in self.names or len(self.names) < MOST_CAMERAS

    def saw(self, name: str, look: Look) -> None:
        """Judge a picture of a camera."""
        with self._lock:
            camera = self._camera(name)
            if camera is None:
                return
            black = look.is_nearly_black if "black" in camera.memory.problems else look.is_black
            if self._settings.black:
                self._judge(name, camera, "black", "the picture is black", bad=black)
            if not black:
                self._judge_frozen(name, camera, look)
                self._judge_sharpness(name, camera, look)
            camera.last = look

    def recorded(self, name: str, *, folder: str, arrived: float, at_rest: bool = True) -> None:
        """Note that an image, good or bad, came to be at monotonic `arrived` and is on record now.

        While others wait (not `at_rest`), images come out of order: gaps are learned once they are in order.
        """
        with self._lock:
            camera = self._camera(name)
            if camera is None:
                return
            camera.memory.folder, camera.memory.has_sent = folder, True
            bisect.insort(camera.unlearned, arrived)
            while camera.unlearned and (at_rest or len(camera.unlearned) > OUT_OF_ORDER):
                camera.learn(camera.unlearned.pop(0))
            camera.seen = self._monotonic()
            self._newest = max(self._newest, arrived)
            if camera.memory.problems:
                self._end(name, camera, "silent")

    def judge_silence(self, limits: Mapping[str, float | None], *, at_rest: bool) -> None:
        """Look for cameras that have sent nothing for longer than their folder allows, or than is usual.

        While images wait (not `at_rest`), nothing is known of later than the newest on record.
        """
        with self._lock:
            until = self._monotonic() if at_rest else self._newest
            for name, camera in list(self._cameras.items()):
                said = limits.get(camera.memory.folder)
                learned = camera.memory.rhythm.limit_seconds() if self._settings.learned_silence else None
                limit, why = said, "watch.silence"
                if said is None:
                    limit, why = learned, "far longer than usual for it"
                if limit is None and name in self._expected and not camera.memory.has_sent:
                    limit, why = EXPECTED_SECONDS, "watch.cameras expects it"
                if limit is not None and until - camera.seen > limit:
                    self._begin(name, camera, "silent", f"no image for more than {_span(limit)} ({why})")

    def problems(self) -> dict[str, dict[str, str]]:
        """What is wrong at the moment, by camera and kind."""
        with self._lock:
            return {
                name: {kind: problem.text for kind, problem in camera.memory.problems.items()}
                for name, camera in self._cameras.items()
                if camera.memory.problems
            }

    def everything(self) -> dict[str, Mapping[Kind, Problem]]:
        """Take the problems of all cameras, none included."""
        with self._lock:
            self._news.clear()
            return {name: dict(camera.memory.problems) for name, camera in self._cameras.items()}

    def news(self) -> dict[str, Mapping[Kind, Problem]]:
        """Take the problems of cameras where something has changed since they were taken."""
        with self._lock:
            names, self._news = self._news, set()
            return {name: dict(self._cameras[name].memory.problems) for name in names}

    def gone(self) -> set[str]:
        """Take the names of cameras that were forgotten."""
        with self._lock:
            names, self._gone = self._gone, set()
            return names

    def memories(self) -> dict[str, Memory]:
        """Return what is to be kept over a restart."""
        with self._lock:
            now = self._monotonic()
            return {
                name: msgspec.structs.replace(camera.memory, silent_seconds=round(now - camera.seen, 1))
                for name, camera in self._cameras.items()
            }

    def unseen(self, *, seconds: float) -> list[tuple[str, str]]:
        """Return name and folder of the cameras that have not been seen for so long."""
        with self._lock:
            before = self._monotonic() - seconds
            return [
                (name, each.memory.folder)
                for name, each in self._cameras.items()
                if each.seen < before and name not in self._expected
            ]

    def unmissed(self, *, seconds: float) -> list[tuple[str, str]]:
        """Return of those what nobody misses either: it is not known how long they are usually silent."""
        with self._lock:
            unseen = self.unseen(seconds=seconds)
            return [each for each in unseen if self._cameras[each[0]].memory.rhythm.limit_seconds() is None]

    def forget(self, names: Collection[str]) -> None:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.info(
            "removed, because the folder no longer exists: camera %s%s",
            ", ".join(sorted(names)[:NAMED]),
            more,
        )
        with self._lock:
            for name in names:
                self._cameras.pop(name)
                self._news.discard(name)
                self._gone.add(name)
            self.names = frozenset(self._cameras)
        self._changed()

    def _camera(self, name: str) -> _Camera | None:
        camera = self._cameras.get(name)
        if camera is None:
            if len(self._cameras) >= MOST_CAMERAS:
                if not self._full:
                    log.warning("more than %d cameras: no state is kept for the others", MOST_CAMERAS)
                self._full = True
                return None
            camera = self._cameras[name] = _Camera(Memory(), seen=self._monotonic())
            self.names |= {name}
            self._gone.discard(name)
            self._news.add(name)
        return camera

    def _judge_frozen(self, name: str, camera: _Camera, look: Look) -> None:
        if self._settings.frozen is None or camera.last is None:
            return
        same = look.same_as(camera.last)
        if same is not None:
            text = "the same picture again and again"
            self._judge(name, camera, "frozen", text, bad=same, times=self._settings.frozen - 1)

    def _judge_sharpness(self, name: str, camera: _Camera, look: Look) -> None:
        """Against the camera's own usual level, which follows slowly, most slowly a blurred picture."""
        if not self._settings.blur:
            return
        if look.shows_nothing:
            self._judge(name, camera, "blurred", "the picture shows nothing", bad=True)
        if not look.tells_sharpness:
            return
        memory, value = camera.memory, math.log(max(look.sharpness, 1e-6))
        usual = memory.log_sharpness if memory.pictures >= LEARNED_PICTURES else math.inf
        limit = math.log(BLURRED_SHARPNESS)
        if usual is not math.inf:
            limit = max(limit, usual + math.log(BLURRED_SHARE))
        if "blurred" in memory.problems:
            limit += math.log(CLEARLY_BETTER)
        blurred = value < limit
        self._judge(name, camera, "blurred", "the picture is badly blurred", bad=blurred)
        memory.pictures += 1
        longest = REMEMBERED_WHILE_BLURRED if blurred else REMEMBERED_PICTURES
        memory.log_sharpness += (value - memory.log_sharpness) / min(memory.pictures, longest)

    def _judge(
        self, name: str, camera: _Camera, kind: Kind, text: str, *, bad: bool, times: int = IN_A_ROW
    ) -> None:
        if not bad:
            camera.in_a_row[kind] = 0
            self._end(name, camera, kind)
            return
        camera.in_a_row[kind] = camera.in_a_row.get(kind, 0) + 1
        if camera.in_a_row[kind] >= times:
            self._begin(name, camera, kind, text)

    def _begin(self, name: str, camera: _Camera, kind: Kind, text: str) -> None:
        if kind in camera.memory.problems:
            return
        problem = Problem(text, timestamp(time.time()))
        camera.memory.problems = {**camera.memory.problems, kind: problem}
        log.warning("camera %s is %s: %s", name, kind, text)
        self._tell(name)

    def _end(self, name: str, camera: _Camera, kind: Kind) -> None:
        problems = camera.memory.problems
        if kind not in problems:
            return
        camera.memory.problems = {each: problem for each, problem in problems.items() if each != kind}
        log.info("camera %s is no longer %s", name, kind)
        self._tell(name)

    def _tell(self, name: str) -> None:
        self._news.add(name)
        self._changed()


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.3g} s"
