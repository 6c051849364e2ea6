"""What scripts/fuzz.py throws damaged input at: where it starts from, and what may come of it.

A target returns for whatever is as it should be, errors of ours included; all else it raises is a finding.
"""

import re

from dropsight.config.name_patterns import TooSlowError
from dropsight.errors import ConfigError, DropsightError, ImageError, ModelError
from dropsight.images.header import read_header
from dropsight.images.tiff import read_exif
from fuzz import Target
from fuzz_daemon import mqtt_commands, orders, requests, the_control_socket, the_web_part
from fuzz_models import (
    a_sidecar,
    labels,
    models,
    onnx_models,
    parted,
    read_model,
    read_names,
    read_onnx,
    sidecars,
    weighed,
)
from fuzz_pictures import clips, decoded, exif_blocks, heics, pictures, the_clip_decoder, tiffs
from fuzz_texts import (
    a_config,
    configs,
    logs,
    patterns,
    read_results,
    read_tags,
    replayed,
    results,
    ruled,
    rules,
    search,
    tagged,
)
from fuzz_throwing import a_file, reader

TARGETS = {
    target.name: target
    for target in (
        Target("header", lambda: pictures() + heics(), reader(read_header, ImageError)),
        Target("tiff", tiffs, reader(read_header, ImageError)),
        Target("exif", exif_blocks, reader(read_exif)),
        Target("decoding", lambda: pictures() + tiffs(), reader(decoded, ImageError)),
        Target("clips", clips, the_clip_decoder, guided=False),
        Target("model", models, reader(read_model, ModelError)),
        Target("onnx", onnx_models, reader(read_onnx, ValueError)),
        Target("weights", parted, lambda: a_file("m.onnx", weighed, ModelError)),
        Target("labels", labels, reader(read_names, ValueError)),
        Target("sidecar", sidecars, a_sidecar),
        Target("config", configs, a_config),
        Target("rules", rules, lambda: a_file("dropsight.yaml", ruled, ConfigError)),
        Target("results", results, read_results, guided=False),
        Target("log", logs, lambda: a_file("results.jsonl", replayed, DropsightError)),
        Target("tags", tagged, reader(read_tags)),
        Target("pattern", patterns, reader(search, re.error, TooSlowError, RecursionError, OverflowError)),
        Target("control", orders, the_control_socket, guided=False),
        Target("mqtt", orders, mqtt_commands, guided=False),
        Target("web", requests, the_web_part, guided=False),
    )
}
