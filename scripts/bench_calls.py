"""What carries one image: files and functions of ours that it passes through, and all calls that it costs.

    scripts/bench_calls.py [--images 100 300] [--broker]

Counted in `run --once` over few photos and over many, so that what comes once cancels out: a model that
answers at once, and no broker, or a Mosquitto. A hop is a call of a function of ours from another file; those
that come less often than every second image, kill points and heartbeats are left out.
"""

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import mosquitto  # noqa: E402
from tiny_tflite import tiny  # noqa: E402

PACKAGE = f"{os.sep}dropsight{os.sep}"
LEFT_OUT = ("crashpoints.py", "heartbeats.py")
# In place of who has called: what is called is of no file.
NATIVE = "native"
PARTS = {"paho": f"{os.sep}paho{os.sep}mqtt{os.sep}", "sinks.mqtt": f"{PACKAGE}sinks{os.sep}mqtt{os.sep}"}


def trace(out: Path, arguments: list[str]) -> None:
    """Run dropsight in this process, and write down who has called what."""
    calls: Counter[tuple[str, str]] = Counter()

    def hear(frame: FrameType, event: str, _found: object) -> None:
        if event == "c_call":
            calls[NATIVE, frame.f_code.co_filename] += 1
        elif event == "call":
            before = frame.f_back.f_code.co_filename if frame.f_back else ""
            calls[before, frame.f_code.co_filename] += 1

    sys.argv = ["dropsight", *arguments]
    from dropsight.entry import main as run

    threading.setprofile(hear)
    sys.setprofile(hear)
    try:
        run()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
        out.write_bytes(pickle.dumps(dict(calls)))


def traced(folder: Path, images: int, broker: str) -> Counter[tuple[str, str]]:
    (inbox := folder / "inbox").mkdir(parents=True)
    photo = next((ROOT / "daemon" / "dropsight" / "samples").glob("*.jpg"))
    for number in range(images):
        shutil.copy(photo, inbox / f"{number}.jpg")
    model, out = folder / "tiny.tflite", folder / "calls"
    model.write_bytes(tiny([("float32", (1, 32, 32, 3))], [("float32", (1, 1000))]))
    options = ["run", "--once", "--watch", str(inbox), "--model", str(model), "--mqtt", broker]
    command = [sys.executable, __file__, "--trace", str(out), *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Counter(pickle.loads(out.read_bytes()))  # noqa: S301 - our own


def main() -> None:
    if sys.argv[1:2] == ["--trace"]:
        trace(Path(sys.argv[2]), sys.argv[3:])
        return
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--images", type=int, nargs=2, default=[100, 300], metavar=("FEW", "MANY"))
    parser.add_argument("--broker", action="store_true", help="publish each record, to a Mosquitto")
    arguments = parser.parse_args()
    few, many = arguments.images
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-calls-")))
        broker = stack.enter_context(mosquitto(folder)).url if arguments.broker else "none"
        once, found = (traced(folder / str(count), count, broker) for count in (few, many))
    found.subtract(once)
    each = {key: count / (many - few) for key, count in found.items()}
    hops = {
        key: round(count)
        for key, count in each.items()
        if count >= 0.5 and key[0] != key[1] and all(PACKAGE in file for file in key)
        if not any(file.endswith(LEFT_OUT) for file in key)
    }
    files = {file for key in hops for file in key}
    print(f"{len(files)} files, {sum(hops.values())} hops from file to file")
    for part, path in {"all": "", **(PARTS if arguments.broker else {})}.items():
        natives = sum(count for key, count in each.items() if key[0] == NATIVE and path in key[1])
        calls = sum(count for key, count in each.items() if key[0] != NATIVE and path in key[1])
        print(f"{part}: {calls:.0f} calls in Python, {natives:.0f} of native functions")


if __name__ == "__main__":
    main()
