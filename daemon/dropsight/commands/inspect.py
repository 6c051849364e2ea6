"""`dropsight inspect`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dropsight.commands.fits import probe
from dropsight.commands.settings import find_config, settings
from dropsight.errors import ConfigError
from dropsight.models.backends import locate, open_first
from dropsight.models.guesses import guess_of
from dropsight.models.isolated import try_model
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import HeadSpec, Model, ModelOptions, ModelSpec, TensorSpec
from dropsight.names import as_shown


def inspect(model: str | None, *, photos: Path | None, write: bool, file: Path | None, as_json: bool) -> None:
    """Print what is known of a model, or how it fits photos; without one, of the config's in force."""
    if write and photos is None:
        raise ConfigError(["--write needs --photos DIR, by which it is found what fits"])
    opened = _opened(model, file, threads=len(os.sched_getaffinity(0)) if photos else None)
    if photos is not None:
        probe(opened, photos, write=write, as_json=as_json)
        return
    spec = opened.spec
    if as_json:
        encoded = msgspec.json.encode({**_fields(spec), "guess": guess_of(spec)}, enc_hook=str)
        sys.stdout.buffer.write(msgspec.json.format(encoded, indent=2) + b"\n")
        return
    for name, value in _facts(spec):
        print(f"{name:<14} {as_shown(value)}")


def _opened(model: str | None, file: Path | None, *, threads: int | None) -> Model:
    """Open it as it is tried, and say on stderr what is not as wished."""
    if model is None:
        config = settings(find_config(file))
        wanted = config.model
        said = ModelOverrides.of(wanted, config.groups)
        options = ModelOptions.of(wanted)
        paths: tuple[str, ...] = (wanted.path, *wanted.fallback)
    else:
        said, options, paths = ModelOverrides(), ModelOptions(), (model,)
    options = msgspec.structs.replace(options, threads=threads or options.threads)

    def trial(path: str | Path, options: ModelOptions) -> None:
        try_model(locate(path), said=said, options=options)

    opened, reasons, acceleration = open_first(paths, said=said, options=options, trial=trial)
    spec = opened.spec
    for reason in reasons:
        print(f"dropsight: falling back to {spec.path}, because {reason}", file=sys.stderr)
    for fault in spec.faults:
        print(as_shown(f"dropsight: {spec.path}: {fault}"), file=sys.stderr)
    if acceleration and acceleration.fault:
        print(f"dropsight: {spec.path}: runs on {acceleration}", file=sys.stderr)
    return opened


def _facts(spec: ModelSpec) -> list[tuple[str, str]]:
    normalization = spec.normalization
    mean, std = (_numbers(values) for values in (normalization.mean, normalization.std))
    return [
        ("model", spec.name),
        ("path", str(spec.path)),
        ("format", spec.format),
        ("interpreter", spec.backend),
        ("quantization", spec.quantization),
        ("digest", spec.digest),
        ("input", _tensor(spec.input)),
        *([("taken as", _sizes(spec.taken))] if spec.taken[1:] not in {(), spec.input.shape[1:]} else []),
        ("size", _size(spec)),
        ("layout", _layout(spec)),
        ("output", _tensor(spec.output)),
        ("activation", _activation(spec)),
        ("labels", f"{len(spec.labels)} ({_examples(spec.labels)}) from {spec.labels_from}"),
        ("normalization", f"(pixel - {mean}) / {std} from {spec.normalization_from}"),
        ("color order", f"{spec.color_order} from {spec.color_order_from}" if spec.channels == 3 else "gray"),
        ("framing", _framing(spec)),
        ("temperature", f"{spec.temperature:g}"),
        ("groups", _groups(spec)),
        *([("unknown", f"above a flatness of {spec.unknown:g}")] if spec.unknown else []),
        *([("sets", f"cover {spec.sets.coverage:g} from {spec.sets.least:g} on")] if spec.sets else []),
        *_heads(spec),
        *([("kernels", str(spec.kernels))] if spec.kernels else []),
        *([("guess", guess)] if (guess := guess_of(spec)) else []),
        *([("runs on", str(spec.acceleration))] if spec.acceleration else []),
    ]


def _examples(labels: Sequence[str]) -> str:
    return ", ".join((*labels[:3], "...") if len(labels) > 3 else labels)


def _activation(spec: ModelSpec) -> str:
    if spec.multi_label:
        return "logistic: each class for itself, several may be there (multi-label)"
    return "none: its scores are logits" if spec.activation == "none" else spec.activation


def _framing(spec: ModelSpec) -> str:
    how = {
        "crop": f"the central {spec.framing.central:g} of a picture",
        "stretch": "the whole picture, stretched",
        "letterbox": "the whole picture, with borders",
        "cover": "the whole picture, in overlapping squares (two of 16:9), by the surest of each class",
    }
    return f"{how[spec.framing.resize]}, from {spec.framing_from}"


def _groups(spec: ModelSpec) -> str:
    names = ", ".join(group.name for group in spec.groups)
    return f"{len(spec.groups)} from {spec.groups_from}: {names}" if spec.groups else "none"


def _heads(spec: ModelSpec) -> list[tuple[str, str]]:
    return [(f"head {head.name}", _head(head)) for head in spec.heads]


def _head(head: HeadSpec) -> str:
    labels = f"{len(head.labels)} classes ({_examples(head.labels)}) from {head.labels_from}"
    return f"{labels}; {head.activation}, {_tensor(head.output)}"


def _size(spec: ModelSpec) -> str:
    guesses = {
        "default": "a guess, as the model fixes none; model.input_size gives another",
        "square": "a guess, as the model takes so many numbers; model.input_size gives another",
    }
    return f"{spec.height} x {spec.width}, {guesses.get(spec.size_from, f'from {spec.size_from}')}"


def _fields(spec: ModelSpec) -> dict[str, object]:
    return msgspec.structs.asdict(spec)


def _layout(spec: ModelSpec) -> str:
    order = {"NHWC": "channels last", "NCHW": "channels first"}[spec.layout]
    return f"{spec.layout}: {order}, from {spec.layout_from}"


def _tensor(tensor: TensorSpec) -> str:
    scale = f", scale {tensor.scale:g}, zero point {tensor.zero_point}" if tensor.quantized else ""
    return f"{_sizes(tensor.shape)} {tensor.dtype.name}{scale} ({tensor.name})"


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join("any" if size == -1 else str(size) for size in shape)


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
