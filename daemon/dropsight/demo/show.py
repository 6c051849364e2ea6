"""`dropsight demo`: the whole daemon, on real photos, before one's eyes."""

import itertools
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from dropsight import installing
from dropsight.config import Config, load
from dropsight.demo.clip import ClipMaker
from dropsight.demo.loopback import LoopbackBroker, free_port
from dropsight.service.daemon import Daemon
from dropsight.service.lifecycle import Lifecycle
from dropsight.sinks.terminal import open_terminal
from dropsight.web.extra import is_installed

CAMERAS = ("porch", "garden")
SECONDS_BETWEEN = 1.0
WEB_PORT = 8080
RELOAD_SECONDS = 5.0
"""How long a page may take to come back when it is loaded anew."""


def show(seconds: float) -> int:
    """Drop a photo a second, and a clip, into a temporary inbox for so long; print what comes of it."""
    logging.getLogger().setLevel(logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="dropsight-demo-") as folder,
        LoopbackBroker() as broker,
        Lifecycle() as lifecycle,
    ):
        root = Path(folder)
        web_port = free_port(WEB_PORT) if is_installed() else None
        terminal = open_terminal(passing=True)
        daemon = Daemon(_config(root, broker.port, web_port), lifecycle, terminal=terminal)
        print(_introduction(root, broker.port, web_port, seconds), flush=True)
        dropper = threading.Thread(
            target=_drop_photos, args=(root, seconds, lifecycle, lambda: daemon.watchers), name="camera"
        )
        dropper.start()
        code = daemon.run()
        dropper.join()
    print(f"\nThat was it. Next: {installing.program()} run --watch YOUR_FOLDER", flush=True)
    return code


def _config(root: Path, port: int, web_port: int | None) -> Config:
    overrides = {
        "device": "demo",
        "watch": [
            {
                "path": str(root / "inbox"),
                "processed": str(root / "processed"),
                "failed": str(root / "failed"),
            }
        ],
        "log.path": str(root / "logs" / "results.jsonl"),
        "store.path": str(root / "state" / "journal.db"),
        "mqtt.url": f"mqtt://127.0.0.1:{port}",
        "mqtt.protocol": "3.1.1",
        "stats.interval_seconds": 5,
        "web": None if web_port is None else {"listen": f"127.0.0.1:{web_port}"},
    }
    return load(None, overrides=overrides)


def _introduction(root: Path, port: int, web_port: int | None, seconds: float) -> str:
    dashboard = (
        f"at http://127.0.0.1:{web_port}/" if web_port else f"not installed: {installing.with_extra('web')}"
    )
    lines = (
        f"The dashboard is {dashboard}",
        f"A broker listens on 127.0.0.1:{port}; watch it from another terminal:",
        f"    mosquitto_sub -p {port} -v -t 'dropsight/#'",
        f"Photos and a clip are dropped into {root / 'inbox'}; drop some of yours, too.",
        f"It ends after {seconds:g} s, unless the dashboard is open then, or with Ctrl-C.",
        "",
    )
    return "\n".join(lines)


def _drop_photos(root: Path, seconds: float, lifecycle: Lifecycle, watchers: Callable[[], int]) -> None:
    ending = _Ending(seconds, watchers)
    photos = [
        path for path in (resources.files("dropsight") / "samples").iterdir() if path.name.endswith(".jpg")
    ]
    photos.sort(key=lambda photo: photo.name)
    with ClipMaker(root) as maker:
        waiting: ClipMaker | None = maker
        for number, (photo, camera) in enumerate(zip(itertools.cycle(photos), itertools.cycle(CAMERAS))):
            target = root / "inbox" / camera / f"{number:04}-{photo.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with photo.open("rb") as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            if waiting and waiting.is_done:
                _drop_clip(waiting.clip(), target.parent / f"{number:04}-clip")
                waiting = None
            if lifecycle.wait(min(SECONDS_BETWEEN, ending.seconds_left())) or ending.is_due():
                break
    lifecycle.request_stop()


def _drop_clip(clip: Path | None, target: Path) -> None:
    if clip is None:
        print("There is no clip: the OpenCV that is installed here writes none.", flush=True)
    else:
        clip.rename(target.with_suffix(clip.suffix))


class _Ending:
    """After so many seconds; while somebody has the dashboard open, when the last one has left it."""

    def __init__(self, seconds: float, watchers: Callable[[], int]) -> None:
        self._end, self._watchers, self._held = time.monotonic() + seconds, watchers, False

    def seconds_left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def is_due(self) -> bool:
        if self._held and self._watchers():
            self._end = time.monotonic() + RELOAD_SECONDS
        elif not self.seconds_left() and self._watchers():
            print("The dashboard is open: running until you close it, or with Ctrl-C.", flush=True)
            self._held, self._end = True, time.monotonic() + RELOAD_SECONDS
        return not self.seconds_left()
