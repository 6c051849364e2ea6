"""The command line: every command with its arguments; its code is imported when it is called."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dropsight.errors import ConfigError
from dropsight.grammar import PROGRAM, Command, Number, Parser, argument, near
from dropsight.version import VERSION

_SHELLS = ("bash", "zsh", "fish")
_OPTIONS = (
    argument("--debug", "Show tracebacks and debug messages."),
    argument("-V --version", "Print the version.", action="version", version=f"{PROGRAM} {VERSION}"),
)
_CONFIG = argument("-c --config FILE", "Config file (YAML); all keys are optional.", type=Path, dest="file")
_MODEL = argument(
    "--model MODEL", "A .tflite, .onnx, .keras or .h5 file, a SavedModel folder, or builtin:NAME."
)
_AS_DAEMON = (
    argument(
        "-c --config FILE",
        "Classify as the daemon of this config does; files in its folders are their camera's.",
        type=Path,
        dest="file",
    ),
    argument("--camera NAME", "With -c: which camera's crops and mask to apply to all files."),
)
_MEASURED_AS_DAEMON = (
    argument("-c --config FILE", "Measure the answers of the daemon of this config.", type=Path, dest="file"),
    _AS_DAEMON[1],
)
_JSON = argument("--json", "Print JSON, for programs.", dest="as_json")
_TTA = argument("--tta", "Average five views of each image.")
_LABELLED = argument("folder DIR", "A sub-folder of photos for each class.", type=Path)
_CLIPS = (
    argument(
        "--aggregate HOW",
        "How a clip's frames make one answer.",
        choices=("top_k_mean", "mean", "max", "vote", "ema"),
        default="top_k_mean",
    ),
    argument(
        "--sample BY",
        "A clip's keyframes, or every so often; auto: keyframes where close enough.",
        choices=("auto", "keyframes", "every"),
        default="auto",
    ),
    argument("--every-seconds N", "How far apart frames are.", type=Number(float, 0.001), default=0.5),
    argument("--max-frames N", "Most frames of a clip.", type=Number(int, 1), default=64),
)

COMMANDS = {
    "run": Command(
        "Watch folders: classify, log, publish and file away every image.",
        "--watch /srv/ftp/cameras --mqtt mqtt://192.168.1.5",
        "commands.run:run",
        (
            _CONFIG,
            argument("--watch DIR", "Folder; may be repeated.", action="append", default=[]),
            _MODEL,
            argument("--log FILE", "The JSON log."),
            argument("--mqtt URL", "Broker, as mqtt://HOST; or none."),
            argument("--once", "Process what is in the folders, then exit."),
            argument("-v --verbose", "Print one line per image, also if the output is not a terminal."),
        ),
    ),
    "demo": Command(
        "Show dropsight at work: sample photos, its own broker, nothing to set up.",
        "--seconds 20",
        "demo.show:show",
        (argument("--seconds N", "How long to run.", type=Number(float, 1), default=60),),
    ),
    "classify": Command(
        "Classify photos and clips; print label and confidence.",
        "cat.jpg clip.mp4 --top 3",
        "commands.classify:classify",
        (
            argument("images IMAGE", "Image files and video clips.", nargs="+", type=Path),
            *_AS_DAEMON,
            _MODEL,
            _TTA,
            argument("--top K", "How many classes to print.", type=Number(int, 1, 1000), default=1),
            argument("--timeline", "Print what a clip shows when, too."),
            argument("--figure FILE", "Draw a clip's frames and timeline (PNG, SVG, PDF).", type=Path),
            *_CLIPS,
            _JSON,
        ),
    ),
    "batch": Command(
        "Classify many photos and clips into one JSON file, with a progress bar.",
        "photos/ -o results.json",
        "commands.batch:batch",
        (
            argument("paths PATH", "Photos and clips, or folders of them.", nargs="+", type=Path),
            argument("-o --output FILE", "JSON file to write.", type=Path, required=True),
            *_AS_DAEMON,
            _MODEL,
            _TTA,
            argument(
                "--batch-size N",
                "Images in one call of a Keras model or SavedModel; TFLite takes one.",
                type=Number(int, 1),
                default=32,
            ),
            *_CLIPS,
        ),
    ),
    "archive": Command(
        "Classify an archive of any size into Parquet files; run it again to resume where it stopped.",
        "/srv/cards s3://bucket/cards -o results/",
        "commands.archive:archive",
        (
            argument(
                "sources PATH",
                "Photos and clips, folders, globs, lists of them (.txt), URLs such as s3://bucket/cards.",
                nargs="+",
            ),
            argument("-o --output DIR", "Folder or URL for the results."),
            argument(
                "--engine NAME",
                "local: processes on this machine; ray: a Ray cluster.",
                choices=("local", "ray"),
                default="local",
            ),
            argument("--address ADDRESS", "The Ray cluster: auto, HOST:6379 or ray://HOST:10001."),
            _MODEL,
            argument(
                "--shard N",
                "Images per part; default: by the size of the archive.",
                type=Number(int, 1, 100_000),
            ),
            _TTA,
            argument("--embeddings", "Add a column of embeddings: the input of the model's last layer."),
            argument(
                "--unknown FLATNESS",
                "Call flatter answers unknown: 0 to 1, or auto: from the model's own on.",
            ),
            argument(
                "--format LIST",
                "More formats, written at the end: jsonl, csv, megadetector, camtrap-dp, speciesnet.",
                default="parquet",
                dest="formats",
            ),
            argument("--deployments FILE", "For camtrap-dp: a CSV of the folders' coordinates.", type=Path),
            argument("--overwrite", "Start over, replacing the results of another model or list."),
            argument("--status", "Show the progress of the job that writes to PATH."),
            _JSON,
        ),
    ),
    "compare": Command(
        "Compare the results of two models on the same archive.",
        "results-old/ results-new/ --labels labels.csv --html changes.html",
        "commands.compare:compare",
        (
            argument("a OUT_A", "Results of `dropsight archive`: a folder or a URL."),
            argument("b OUT_B", "Results of the other model."),
            argument(
                "--labels FILE",
                "What the files show: a CSV with the columns path and label, or the word folder-names.",
            ),
            argument("--html PAGE", "Write one page with thumbnails of the images that changed."),
            _JSON,
        ),
    ),
    "evaluate": Command(
        "Measure a model on labelled photos and clips: top-1, top-5, calibration, classes, confusions.",
        "labelled/ --model model.tflite --aggregate mean",
        "commands.evaluate:evaluate",
        (
            argument("folder DIR", "A sub-folder of photos and clips for each class.", type=Path),
            *_MEASURED_AS_DAEMON,
            _MODEL,
            _TTA,
            *_CLIPS,
            _JSON,
        ),
    ),
    "calibrate": Command(
        "Fit how far answers can be trusted (temperature, unknown, sets), and write it beside the model.",
        "photos/ --model model.tflite --precision 0.98 --coverage 0.9",
        "commands.calibrate:calibrate",
        (
            _LABELLED,
            *_MEASURED_AS_DAEMON,
            _MODEL,
            argument("-o --output FILE", "Sidecar file to write; default: beside the model.", type=Path),
            argument(
                "--precision P",
                "Also print from which confidence on so many answers are right.",
                type=Number(float, 0.001, 0.9999),
            ),
            argument(
                "--coverage C",
                "Also fit sets of classes that hold the right one so often.",
                type=Number(float, 0.001, 0.9999),
            ),
        ),
    ),
    "explain": Command(
        "Show which parts of an image speak for a class: photo, heatmap and overlay side by side.",
        "clip.mp4 --top 2 -o why.png",
        "commands.explain:explain",
        (
            argument("image IMAGE", "An image file, or a clip: its surest frame is explained.", type=Path),
            argument("-o --output FILE", "Figure to write (PNG).", type=Path, required=True),
            *_AS_DAEMON,
            _MODEL,
            argument(
                "--method METHOD",
                "gradcam, saliency, smoothgrad, integrated (Keras models); occlusion, rise (every model). "
                "Default: gradcam where there are gradients, else rise.",
            ),
            argument(
                "--class K", "Explain this class; default: the most likely one.", type=int, dest="class_index"
            ),
            argument("--top N", "Explain the N most likely classes.", type=Number(int, 1, 10), default=1),
            argument("--layer NAME", "Grad-CAM's layer; default: the last convolution."),
            *_CLIPS,
            _JSON,
        ),
    ),
    "bench": Command(
        "Measure the latency of each stage and the throughput of the daemon on this machine.",
        "--images photos/ --tune -c dropsight.yaml",
        "commands.bench:bench",
        (
            _CONFIG,
            _MODEL,
            argument("--images DIR", "A folder of images; default: the sample photos.", type=Path),
            argument("--tune", "Try splits of the cores; write the best into the config file."),
            argument("--seconds N", "About how long a run takes.", type=Number(float, 0.1), default=3),
            _JSON,
        ),
    ),
    "inspect": Command(
        "Show a model's format, tensors, quantization, labels and normalisation, and where each came from.",
        "model.tflite",
        "commands.inspect:inspect",
        (
            argument("model MODEL", "A model or builtin:NAME; without it, the config's.", nargs="?"),
            argument(
                "--photos DIR",
                "Try the usual normalizations, orders of colors and frames on them.",
                type=Path,
            ),
            argument("--write", "With --photos: put what fits best into the model's sidecar."),
            _CONFIG,
            _JSON,
        ),
    ),
    "check": Command(
        "Test everything that `run` needs: config, folders, model, an image, the broker.",
        "-c /etc/dropsight/dropsight.yaml",
        "commands.check:check",
        (
            _CONFIG,
            argument(
                "--replay LOG",
                "Run the event rules over these logs and say what they would have told; check nothing else.",
                nargs="+",
                type=Path,
            ),
            argument("--picture FILE", "Draw what the model sees of each camera's last picture.", type=Path),
            argument("--json", "With --replay: print JSON, for programs.", dest="as_json"),
        ),
    ),
    "init": Command(
        "Write a config file with every key, its default and what it does.",
        "porch.yaml",
        "commands.init:init",
        (
            argument("file FILE", "File to write.", nargs="?", type=Path, default=Path("dropsight.yaml")),
            argument("--force", "Overwrite an existing file."),
        ),
    ),
    "logs": Command(
        "Show the last results, in colour on a terminal (not with NO_COLOR).",
        "-f",
        "commands.following:logs",
        (
            _CONFIG,
            argument("-n --lines N", "Number of results.", type=Number(int, 0), default=20, dest="last"),
            argument("-f --follow", "Follow: print new results as they come."),
            _JSON,
        ),
    ),
    **{
        name: Command(does, "", "commands.orders:order", (_CONFIG,), {"command": name})
        for name, does in {
            "pause": "Pause the daemon: images wait in their folders until `resume`.",
            "resume": "Resume the daemon after `pause`.",
            "rescan": "Have the daemon scan its folders now.",
            "reload": "Have the daemon reload its config; a faulty one changes nothing.",
        }.items()
    },
    "config": Command(
        "Print the config in force, defaults included.",
        "> dropsight.yaml",
        "commands.settings:show",
        (_CONFIG, argument("--schema", "Print the JSON schema instead.")),
    ),
    "status": Command(
        "Show what the running daemon is doing.", "--json", "commands.status:show", (_CONFIG, _JSON)
    ),
    "notify": Command(
        "Send a test notification to the targets of the config, and say which were reached.",
        "--test phone",
        "commands.notify:notify",
        (
            _CONFIG,
            argument(
                "--test TARGET",
                "The target to test; all targets if no name is given.",
                nargs="?",
                const="",
                required=True,
                dest="name",
            ),
        ),
    ),
    "retire": Command(
        "Remove this device's retained messages, and Home Assistant's device, from the broker.",
        "-c /etc/dropsight/dropsight.yaml",
        "commands.retire:retire",
        (_CONFIG, argument("--device NAME", "Device name; default: the config's, and former ones.")),
    ),
    "completion": Command(
        'Print shell completion for commands, options and paths: eval "$(dropsight completion bash)".',
        "fish > ~/.config/fish/completions/dropsight.fish",
        "cli:show_completion",
        (argument("shell SHELL", "One of bash, zsh and fish.", choices=_SHELLS),),
    ),
}


class Invocation(NamedTuple):
    """What was asked for."""

    command: str
    given: Mapping[str, object]
    debug: bool

    def load(self) -> Callable[[], int | None]:
        """Import what carries it out, and returns the exit code, where None is 0."""
        module, _, function = COMMANDS[self.command].by.partition(":")
        return partial(getattr(import_module(f"dropsight.{module}"), function), **self.given)


def read(words: Sequence[str]) -> Invocation:
    """Return what is asked for; a page that is asked for is shown, and the process ends."""
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    if place == len(words):
        _show_pages(words)
    name = words[place]
    debug: bool = _top().read(words[:place])["debug"]
    if name not in COMMANDS:
        _top().error(f"no such command: {name}{near(name, COMMANDS)}")
    given = parser_of(name).read(words[place + 1 :])
    return Invocation(name, {**COMMANDS[name].always, **given}, debug)


def parser_of(name: str) -> Parser:
    return Parser(f"{PROGRAM} {name}", **_page(name))


def grammar() -> Parser:
    """Return all of it, as pages and completions need it."""
    top = _top()
    commands = top.add_subparsers(title="Commands", prog=PROGRAM, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.does, **_page(name))
    return top


def show_completion(shell: str) -> None:
    import shtab

    print(shtab.complete(grammar(), shell))


def _top() -> Parser:
    does = "Classifies every image that lands in a folder: JSON log, MQTT, made for the Raspberry Pi."
    top = Parser(PROGRAM, does, _OPTIONS)
    top.usage = f"{top.usage} COMMAND ..."
    return top


def _page(name: str) -> dict[str, Any]:
    command = COMMANDS[name]
    example = f"Example: {PROGRAM} {name} {command.example}".rstrip()
    return {"does": command.does, "arguments": command.arguments, "epilog": example}


def _show_pages(words: Sequence[str]) -> NoReturn:
    if not words:
        grammar().print_help(sys.stderr)
        sys.exit(ConfigError.exit_code)
    grammar().read(words)
    grammar().error("no command given")
