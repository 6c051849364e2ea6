"""Measure what dashboards cost the pipeline: images a second with and without them, turn and turn about.

    python scripts/bench_web.py                # 100 streams with figures, /metrics scraped every second
    python scripts/bench_web.py --rounds 6 --streams 10

Without them means `web: null`. The clients run on the same cores as the daemon, in a process of their own
that only reads: what they themselves cost is part of the ratio.
"""

import argparse
import http.client
import multiprocessing
import selectors
import shutil
import socket
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_pipeline import generate  # noqa: E402
from daemons import House  # noqa: E402
from webs import ANY_PORT, address  # noqa: E402

READ_BYTES = 2**18
SCRAPE_SECONDS = 1.0
READ_PAUSE_SECONDS = 0.02  # a client's own haste is not what is measured
LOOK_SECONDS = 0.02
REQUEST = b"GET /api/results/stream?stats=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def follow(
    url: str, count: int, ready: Event, over: Event, read: "multiprocessing.Queue[tuple[int, int]]"
) -> None:
    """Hold so many streams open, read all that comes and scrape every second, until it is over."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    watched = selectors.DefaultSelector()
    for _ in range(count):
        client = socket.create_connection((host, port))
        client.sendall(REQUEST)
        watched.register(client, selectors.EVENT_READ)
    scraper = http.client.HTTPConnection(host, port)
    got, scrapes, next_scrape = 0, 0, time.monotonic()
    ready.set()
    while not over.is_set():
        for key, _ in watched.select(SCRAPE_SECONDS / 4):
            chunk = key.fileobj.recv(READ_BYTES) if isinstance(key.fileobj, socket.socket) else b""
            if not chunk:
                raise SystemExit("a stream was hung up on")
            got += len(chunk)
        if time.monotonic() >= next_scrape:
            scraper.request("GET", "/metrics")
            scraper.getresponse().read()
            scrapes, next_scrape = scrapes + 1, next_scrape + SCRAPE_SECONDS
        time.sleep(READ_PAUSE_SECONDS)
    read.put((got, scrapes))


def throughput(root: Path, images: int, streams: int) -> float:
    """Return images a second of a daemon that gets so many at once; no streams: without the web part."""
    house = House(root, {"web": ANY_PORT if streams else None})
    house.start()
    ready, over = multiprocessing.Event(), multiprocessing.Event()
    read: multiprocessing.Queue[tuple[int, int]] = multiprocessing.Queue()
    followers = None
    try:
        if streams:
            arguments = (address(house), streams, ready, over, read)
            followers = multiprocessing.Process(target=follow, args=arguments)
            followers.start()
            ready.wait(30)
        began = time.monotonic()
        # A folder that is renamed in arrives whole.
        (root / "coming").rename(house.inbox / "camera")
        while house.finished() < images:
            time.sleep(LOOK_SECONDS)
        speed = images / (time.monotonic() - began)
        over.set()
        if followers:
            got, scrapes = read.get(timeout=10)
            followers.join()
            print(f"          {streams} streams read {got / 2**20:.0f} MiB, {scrapes} scrapes", flush=True)
        house.stop()
        return speed
    finally:
        over.set()
        house.kill()
        if followers and followers.is_alive():
            followers.terminate()


def fill(root: Path, photos: Path, images: int) -> None:
    """Lay images out for a run beside the inbox: copying is not what is measured."""
    (root / "coming").mkdir(parents=True)
    found = sorted(photos.iterdir())
    for number in range(images):
        shutil.copyfile(found[number % len(found)], root / "coming" / f"{number:05}.jpg")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--size", default="640x480")
    arguments = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="dropsight-bench-web-") as folder:
        photos = Path(folder) / "photos"
        generate(photos, f"{arguments.size}.jpg", 30)
        for number in range(arguments.rounds):
            speeds: dict[int, float] = {}
            # Who comes first changes: a machine that grows slower would favour the first.
            for streams in sorted((0, arguments.streams), reverse=number % 2 == 1):
                root = Path(folder) / f"{number}-{streams}"
                fill(root, photos, arguments.images)
                speeds[streams] = throughput(root, arguments.images, streams)
                shutil.rmtree(root)
            ratios.append(speeds[arguments.streams] / speeds[0])
            told = f"without {speeds[0]:.1f}/s, with {speeds[arguments.streams]:.1f}/s"
            print(f"round {number + 1}: {told}, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
