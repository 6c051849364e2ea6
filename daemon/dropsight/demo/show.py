"""`dropsight demo`: the whole daemon, on real photos, before one's eyes."""

import itertools
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from dropsight import installing
from dropsight.config import Config, load
from dropsight.daemon.assembly import Daemon
from dropsight.demo.loopback import LoopbackBroker, free_port
from dropsight.records import Failure, Result
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.recording import Recorded
from dropsight.web.extra import is_installed

CAMERAS = ("porch", "garden")
SECONDS_BETWEEN = 1.0
WEB_PORT = 8080
_HEADING = (
    f"{'camera':<8} {'photo':<20} {'confidence':>10}  {'label':<22} "
    f"{'decode':>7} {'invoke':>7} {'total ms':>9}"
)


def show(seconds: float) -> int:
    """Drop a photo a second into a temporary inbox for so long, at most; print what comes of it."""
    logging.getLogger().setLevel(logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="dropsight-demo-") as folder,
        LoopbackBroker() as broker,
        Lifecycle() as lifecycle,
    ):
        root = Path(folder)
        web_port = free_port(WEB_PORT) if is_installed() else None
        daemon = Daemon(_config(root, broker.port, web_port), on_recorded=_print)
        print(_introduction(root, broker.port, web_port, seconds), flush=True)
        dropper = threading.Thread(target=_drop_photos, args=(root, seconds, lifecycle), name="camera")
        dropper.start()
        code = daemon.run(lifecycle)
        dropper.join()
    print("\nThat was it. Next: dropsight run --watch YOUR_FOLDER", flush=True)
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
        f"Photos are dropped into {root / 'inbox'}; drop some of yours, too.",
        f"It ends by itself after {seconds:g} s, or with Ctrl-C.",
        "",
        _HEADING,
    )
    return "\n".join(lines)


def _drop_photos(root: Path, seconds: float, lifecycle: Lifecycle) -> None:
    end = time.monotonic() + seconds
    photos = [
        path for path in (resources.files("dropsight") / "samples").iterdir() if path.name.endswith(".jpg")
    ]
    photos.sort(key=lambda photo: photo.name)
    for number, (photo, camera) in enumerate(zip(itertools.cycle(photos), itertools.cycle(CAMERAS))):
        target = root / "inbox" / camera / f"{number:04}-{photo.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with photo.open("rb") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        if lifecycle.wait(min(SECONDS_BETWEEN, max(end - time.monotonic(), 0.0))) or time.monotonic() >= end:
            break
    lifecycle.request_stop()


def _print(recorded: Sequence[Recorded]) -> None:
    for entry in recorded:
        record = entry.finished.record
        name = Path(record.image_path).name
        if isinstance(record, Result):
            spent = record.latency_ms
            print(
                f"{record.camera:<8} {name:<20} {record.confidence:>10.1%}  {record.label:<22} "
                f"{spent.decode:>7.1f} {spent.inference:>7.1f} {entry.total_ms:>9.1f}",
                flush=True,
            )
        elif isinstance(record, Failure):
            print(f"{record.camera:<8} {name:<20} {'failed':>10}  {record.error.message}", flush=True)
    sys.stdout.flush()
