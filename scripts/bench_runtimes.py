"""Ways to run a TFLite model, in turns: Interpreter and CompiledModel, threads, batches, the weight cache.

scripts/bench_runtimes.py [MODEL]; each way has a process of its own. Load and first invoke in milliseconds,
resident memory of the first and of one more, images a second of all together.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dropsight.models.backends import locate
from machine import machine

# way, how many of them, threads of each, images an invoke
TRIED = [
    ("interpreter", 2, 1, 1),
    ("interpreter", 1, 2, 1),
    ("interpreter", 2, 1, 4),
    ("interpreter", 2, 1, 16),
    ("compiled", 2, 1, 1),
    ("compiled", 1, 2, 1),
    ("cached", 2, 1, 1),
]


def _interpreter(content: bytes, threads: int, batch: int) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=content, num_threads=threads)
    (inputs,), (outputs,) = made.get_input_details(), made.get_output_details()
    shape = (batch, *inputs["shape"][1:])
    made.resize_tensor_input(inputs["index"], shape)
    made.allocate_tensors()
    images = np.zeros(shape, inputs["dtype"])

    def invoke() -> object:
        made.set_tensor(inputs["index"], images)
        made.invoke()
        return made.get_tensor(outputs["index"])

    return invoke


def _compiled(content: bytes, threads: int, cache: str) -> Callable[[], object]:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.options import Options

    plain = Interpreter(model_content=content)
    (inputs,), (outputs,) = plain.get_input_details(), plain.get_output_details()
    options = Options(hardware_accelerators=HardwareAccelerator.CPU)
    options.cpu_options.num_threads = threads
    options.cpu_options.xnnpack_weight_cache_path = cache
    made = CompiledModel.from_buffer(content, options=options)
    given, found = made.create_input_buffers(0), made.create_output_buffers(0)
    image, count = np.zeros(inputs["shape"], inputs["dtype"]), int(np.prod(outputs["shape"]))

    def invoke() -> object:
        given[0].write(image)
        made.run_by_index(0, given, found)
        return found[0].read(count, outputs["dtype"])

    return invoke


def one(model: Path, images: int, way: str, how_many: int, threads: int, batch: int) -> dict[str, float]:
    """Measure in this very process."""
    content = model.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "weights") if way == "cached" else ""

        def make() -> Callable[[], object]:
            plain = way == "interpreter"
            ours = _interpreter(content, threads, batch) if plain else _compiled(content, threads, cache)
            ours()
            return ours

        before = _resident_mib()
        began = time.perf_counter()
        made = [make()]
        loaded, after = time.perf_counter(), _resident_mib()
        made += [make() for _ in range(how_many - 1)]
        more = _resident_mib()
        turns = max(images // (batch * how_many), 1)
        spent = _all_at_once(made, turns)
    return {
        "load_and_first_ms": (loaded - began) * 1e3,
        "first_mib": after - before,
        "one_more_mib": more - after,
        "images_per_second": turns * batch * how_many / spent,
    }


def _all_at_once(made: Sequence[Callable[[], object]], turns: int) -> float:
    threads = [threading.Thread(target=_turn, args=(each, turns)) for each in made]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _turn(invoke: Callable[[], object], turns: int) -> None:
    for _ in range(turns):
        invoke()


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="?", default="builtin:efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=240, help="for each way and round")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = locate(args.model)
    if args.one:
        way, *numbers = args.one
        print(json.dumps(one(model, args.images, way, *map(int, numbers))))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for tried in TRIED:
            command = [sys.executable, __file__, str(model), "--images", str(args.images)]
            command += ["--one", *map(str, tried)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            name = "{} x{}, {} threads, batch {}".format(*tried)
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: {key: round(statistics.median(run[key] for run in runs), 1) for key in runs[0]}
        for name, runs in found.items()
    }
    print(json.dumps({"machine": machine(), "ways": medians}, indent=2))


if __name__ == "__main__":
    main()
