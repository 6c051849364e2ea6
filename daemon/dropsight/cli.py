"""The command line: one thin function a command; what is heavy is imported inside."""

from pathlib import Path
from typing import Annotated

import typer

from dropsight.commands.faults import told_plainly
from dropsight.commands.helping import PlainCommand
from dropsight.version import VERSION

app = typer.Typer(
    help="Classifies every image that lands in a folder: JSON log, MQTT, made for the Raspberry Pi.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("-c", "--config", help="Config file (YAML); all keys are optional.", metavar="FILE"),
]
Model = Annotated[str | None, typer.Option(help="A .tflite file or builtin:NAME.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        print(f"dropsight {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("-V", "--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    from dropsight.commands import logs

    logs.set_up(debug=debug)


@app.command(
    cls=PlainCommand, epilog="Example: dropsight run --watch /srv/ftp/cameras --mqtt mqtt://192.168.1.5"
)
def run(
    config: ConfigFile = None,
    watch: Annotated[list[str] | None, typer.Option(help="Folder; may be repeated.", metavar="DIR")] = None,
    model: Model = None,
    log: Annotated[str | None, typer.Option(help="The JSON log.", metavar="FILE")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Broker, as mqtt://HOST; or none.", metavar="URL")] = None,
    once: Annotated[bool, typer.Option("--once", help="Handle what lies in the folders, then exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print a line an image, as on a terminal, elsewhere, too.")
    ] = False,
) -> None:
    """Watch folders: classify, log, publish and file away every image."""
    from dropsight.commands import run as command

    raise typer.Exit(
        command.run(config, watch=watch or [], model=model, log=log, mqtt=mqtt, once=once, verbose=verbose)
    )


@app.command(cls=PlainCommand, epilog="Example: dropsight demo --seconds 20")
def demo(
    seconds: Annotated[float, typer.Option(help="How long to go on.", min=1, metavar="N")] = 60.0,
) -> None:
    """Show dropsight at work: sample photos, a broker of its own, nothing to set up."""
    from dropsight.demo.show import show

    raise typer.Exit(show(seconds))


@app.command(cls=PlainCommand, epilog="Example: dropsight classify cat.jpg --top 3")
def classify(
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE")],
    model: Model = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average five views of each image.")] = False,
    top: Annotated[int, typer.Option(help="How many classes to print.", min=1, max=1000, metavar="K")] = 1,
    as_json: Json = False,
) -> None:
    """Classify files; print label and confidence."""
    from dropsight.commands import classify as command

    raise typer.Exit(command.classify(images, model=model, tta=tta, top=top, as_json=as_json))


@app.command(cls=PlainCommand, epilog="Example: dropsight batch photos/ -o results.json")
def batch(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", metavar="PATH")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the JSON goes.", metavar="FILE")],
    model: Model = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average five views of each image.")] = False,
    batch_size: Annotated[int, typer.Option(help="Images an invoke.", min=1, metavar="N")] = 32,
) -> None:
    """Classify many images into one JSON file, with a progress bar."""
    from dropsight.commands import batch as command

    raise typer.Exit(command.batch(paths, output, model=model, tta=tta, batch_size=batch_size))


@app.command(cls=PlainCommand, epilog="Example: dropsight evaluate photos/ --model model.tflite")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A sub-folder of photos a class.", metavar="DIR")],
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled photos: top-1, top-5, a line a class, what is taken for what."""
    from dropsight.commands import evaluate as command

    command.evaluate(folder, model=model, as_json=as_json)


@app.command(cls=PlainCommand, epilog="Example: dropsight calibrate photos/ --model model.tflite")
def calibrate(
    folder: Annotated[Path, typer.Argument(help="A sub-folder of photos a class.", metavar="DIR")],
    model: Model = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The sidecar; default: beside the model.", metavar="FILE"),
    ] = None,
) -> None:
    """Fit the temperature that makes confidences true, and write it beside the model."""
    from dropsight.commands import calibrate as command

    command.calibrate(folder, model=model, output=output)


@app.command(cls=PlainCommand, epilog="Example: dropsight explain cat.jpg --top 2 -o why.png")
def explain(
    image: Annotated[Path, typer.Argument(help="An image file.", metavar="IMAGE")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where the figure goes (PNG).", metavar="FILE")
    ],
    model: Model = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="gradcam, saliency, smoothgrad, integrated (Keras models); occlusion, rise (every model). "
            "Default: gradcam where there are gradients, else rise.",
            metavar="METHOD",
        ),
    ] = None,
    class_index: Annotated[
        int | None, typer.Option("--class", help="Explain this class; default: the likeliest.", metavar="K")
    ] = None,
    top: Annotated[int, typer.Option(help="So many of the likeliest.", min=1, max=10, metavar="N")] = 1,
    layer: Annotated[
        str | None, typer.Option(help="Grad-CAM's layer; default: the last convolution.", metavar="NAME")
    ] = None,
) -> None:
    """Show which parts of an image speak for a class: photo, heatmap and overlay side by side."""
    from dropsight.commands import explain as command

    command.explain(image, output, model=model, method=method, layer=layer, class_index=class_index, top=top)


@app.command(cls=PlainCommand, epilog="Example: dropsight bench --images photos/ --tune -c dropsight.yaml")
def bench(
    config: ConfigFile = None,
    model: Model = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of images; default: the sample photos.", metavar="DIR")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Try splits of the cores; write the best into the config file.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="About how long a run takes.", min=0.1, metavar="N")] = 3.0,
    as_json: Json = False,
) -> None:
    """Measure the latency of each stage and the throughput of the daemon on this machine."""
    from dropsight.commands import bench as command

    command.bench(config, model=model, images=images, seconds=seconds, tune=tune, as_json=as_json)


@app.command(cls=PlainCommand, epilog="Example: dropsight inspect model.tflite")
def inspect(
    model: Annotated[
        str | None,
        typer.Argument(help="A model or builtin:NAME; without it, the config's.", metavar="MODEL"),
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show a model's format, tensors, quantization, labels and normalisation, and where each came from."""
    from dropsight.commands import inspect as command

    command.inspect(model, config=config, as_json=as_json)


@app.command(cls=PlainCommand, epilog="Example: dropsight check -c /etc/dropsight/dropsight.yaml")
def check(config: ConfigFile = None) -> None:
    """Try everything that `run` needs: config, folders, model, an image, the broker."""
    from dropsight.commands import check as command

    raise typer.Exit(command.check(config))


@app.command(cls=PlainCommand, epilog="Example: dropsight init porch.yaml")
def init(
    file: Annotated[Path, typer.Argument(help="Where it goes.", metavar="FILE")] = Path("dropsight.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Take the place of a file that is there.")] = False,
) -> None:
    """Write a config file with every key, its default and what it does."""
    from dropsight.commands import init as command

    command.init(file, force=force)


@app.command(cls=PlainCommand, epilog="Example: dropsight logs -f")
def logs(
    config: ConfigFile = None,
    last: Annotated[
        int, typer.Option("-n", "--lines", help="How many of the last.", min=0, metavar="N")
    ] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with those that come.")] = False,
    as_json: Json = False,
) -> None:
    """Show the last results, in colour on a terminal (not with NO_COLOR)."""
    from dropsight.commands import following

    following.logs(config, last=last, follow=follow, as_json=as_json)


@app.command(cls=PlainCommand, epilog="Example: dropsight pause")
def pause(config: ConfigFile = None) -> None:
    """Have the daemon leave images where they are until `resume`."""
    from dropsight.commands import orders

    orders.order(config, "pause")


@app.command(cls=PlainCommand, epilog="Example: dropsight resume")
def resume(config: ConfigFile = None) -> None:
    """Have the daemon go on after `pause`."""
    from dropsight.commands import orders

    orders.order(config, "resume")


@app.command(cls=PlainCommand, epilog="Example: dropsight rescan")
def rescan(config: ConfigFile = None) -> None:
    """Have the daemon look through its folders now."""
    from dropsight.commands import orders

    orders.order(config, "rescan")


@app.command(cls=PlainCommand, epilog="Example: dropsight reload")
def reload(config: ConfigFile = None) -> None:
    """Have the daemon read its config again; a faulty one is refused, and the old one goes on."""
    from dropsight.commands import orders

    orders.order(config, "reload")


@app.command(cls=PlainCommand, epilog="Example: dropsight config > dropsight.yaml")
def config(
    file: ConfigFile = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema instead.")] = False,
) -> None:
    """Print the config in force, defaults included."""
    from dropsight.commands import settings

    settings.show(file, schema=schema)


@app.command(cls=PlainCommand, epilog="Example: dropsight status --json")
def status(config: ConfigFile = None, as_json: Json = False) -> None:
    """Show what the running daemon is doing."""
    from dropsight.commands import status as command

    command.show(config, as_json=as_json)


@app.command(cls=PlainCommand, epilog="Example: dropsight retire -c /etc/dropsight/dropsight.yaml")
def retire(
    config: ConfigFile = None,
    device: Annotated[
        str | None, typer.Option(help="Another name; default: the config's, and former ones.", metavar="NAME")
    ] = None,
) -> None:
    """Take what is retained of this device, and Home Assistant's device, from the broker."""
    from dropsight.commands import retire as command

    command.retire(config, device=device)


def main() -> None:
    """Run a command; nothing but `--debug` shows a traceback for what went wrong on purpose."""
    with told_plainly():
        app()
