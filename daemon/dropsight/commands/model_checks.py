"""What `dropsight check` tries of the model: it opens, runs where it was asked to, says what a cat is."""

import time
from pathlib import Path

import msgspec

from dropsight.classify.engine import open_engine
from dropsight.classify.work import Engine
from dropsight.commands.verdicts import running_status, say
from dropsight.config import Config
from dropsight.errors import ModelError
from dropsight.images.opening import open_image
from dropsight.inference import pipeline
from dropsight.models.guesses import guess_of
from dropsight.models.spec import ModelSpec

SAMPLE = Path(__file__).parent.parent / "samples" / "chelsea.jpg"


def open_model(config: Config) -> Engine:
    one = msgspec.structs.replace(config.inference, workers=1)
    engine = open_engine(msgspec.structs.replace(config, inference=one))
    spec = engine.plan.spec
    proved = f", {len(spec.golden)} golden images correct" if spec.golden else ""
    say("ok", "model", f"{spec.name}, {spec.quantization}, {_classes(spec)}{proved}")
    for fault in spec.faults:
        say("warn", "model", fault)
    if guess := guess_of(spec):
        say("warn", "model", guess)
    for why in engine.instead_of:
        say("warn", "model", f"a fallback, because {why}")
    return engine


def _classes(spec: ModelSpec) -> str:
    if not spec.heads:
        groups = f" in {len(spec.groups)} groups" if spec.groups else ""
        return f"{len(spec.labels)} classes{groups}"
    return f"classes: {', '.join(f'{len(head.labels)} of {head.name}' for head in spec.heads)}"


def check_device(config: Config, engine: Engine) -> None:
    device = engine.acceleration
    if device is None:
        return
    if device.fault:
        running = running_status(config)
        theirs = running.model.acceleration if running else None
        if theirs is None or theirs.fault or theirs.device != device.device:
            raise ModelError(str(device))
        device = theirs
    say("ok", "runs on", str(device))


def check_kernels(engine: Engine) -> None:
    kernels = engine.plan.spec.kernels
    if kernels and kernels.fault:
        raise ModelError(str(kernels))
    if kernels:
        say("ok", "kernels", str(kernels))


def check_image(engine: Engine) -> None:
    began = time.perf_counter()
    with open_image(SAMPLE) as file:
        prepared = pipeline.prepare(*pipeline.read(file, engine.plan), engine.plan)
    answer = pipeline.predict(engine.models[0], prepared, engine.plan)
    best = answer.predictions[0]
    spent_ms = (time.perf_counter() - began) * 1e3
    wording = answer.best.wording
    among = f", {wording.group} ({wording.group_confidence:.1%})" if wording.group else ""
    named = f"{best.label} ({best.confidence:.1%}){among}{' or unknown' if wording.would_be else ''}"
    say("ok", "image", f"a cat is {named} in {spent_ms:.1f} ms")
