"""Measure the way of one image, from close() of its file to a subscriber's callback at QoS 1.

    scripts/bench_latency.py --rates 1 10 50

The record is durable before it is published. Beside it stands what decode and invoke cost by themselves.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bench_pipeline import generate  # noqa: E402
from brokers import mosquitto, wait_until  # noqa: E402
from daemons import House  # noqa: E402
from dropsight.classify.engine import open_engine  # noqa: E402
from dropsight.commands.bench import stage_latencies  # noqa: E402
from dropsight.config import load  # noqa: E402
from machine import machine  # noqa: E402

SIZE = "640x480.jpg"
WARM_UP = 5


class Arrivals:
    """When each image's record came, in monotonic seconds, by the name of the image."""

    def __init__(self, port: int) -> None:
        self.at: dict[str, float] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("dropsight/+/result/#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not subscribed.wait(10):
            raise SystemExit("the broker does not let us subscribe")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        self.at[json.loads(message.payload)["image_path"]] = now


def drop_at(rate: float, seconds: float, pictures: Sequence[bytes], inbox: Path) -> dict[str, float]:
    """Write images at this rate; return when each was closed, in monotonic seconds."""
    closed: dict[str, float] = {}
    began = time.monotonic()
    for number in range(int(rate * seconds) + WARM_UP):
        name = f"{rate:g}-{number:05}.jpg"
        time.sleep(max(began + number / rate - time.monotonic(), 0))
        (inbox / name).write_bytes(pictures[number % len(pictures)])
        closed[name] = time.monotonic()
    return dict(list(closed.items())[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rates", nargs="+", type=float, default=[1, 10, 50], help="images a second")
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, mosquitto(Path(folder)) as broker:
        root = Path(folder)
        photos = generate(root / "photos", SIZE, 13)
        pictures = [photo.read_bytes() for photo in photos]
        stages = stage_latencies(open_engine(load(None)), photos, seconds=3)
        raw = stages["decode"][0] + stages["preprocess"][0] + stages["inference"][0]
        found: dict[str, object] = {"raw_ms": round(raw, 2)}
        house, arrivals = House(root, {"mqtt": {"url": broker.url}}), Arrivals(broker.port)
        house.start()
        try:
            for rate in args.rates:
                closed = drop_at(rate, args.seconds, pictures, house.inbox)
                wait_until(lambda closed=closed: closed.keys() <= arrivals.at.keys())  # type: ignore[misc]
                spent = [(arrivals.at[name] - at) * 1e3 for name, at in closed.items()]
                p50, p99 = np.percentile(spent, (50, 99))
                print(f"{rate:>5g} images/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms", file=sys.stderr)
                found[f"{rate:g}"] = {
                    "p50_ms": round(p50, 2),
                    "p99_ms": round(p99, 2),
                    "p50_less_raw_ms": round(p50 - raw, 2),
                    "p99_to_p50": round(p99 / p50, 2),
                }
        finally:
            house.kill()
            arrivals.close()
    print(json.dumps({"machine": machine(), **found}, indent=2))


if __name__ == "__main__":
    main()
