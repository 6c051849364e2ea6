"""The commands over photos, clips and models, which need no daemon, with their arguments."""

from pathlib import Path

from dropsight.grammar import CONFIG, JSON, MODEL, Command, Needs, Number, argument

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
_TTA = argument("--tta", "Average five views of each image.")
_ARCHIVES = Needs("archive", ("pyarrow", "fsspec"))
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

OVER_PICTURES = {
    "classify": Command(
        "Classify photos and clips; print label and confidence.",
        "cat.jpg clip.mp4 --top 3",
        "commands.classify:classify",
        (
            argument("images IMAGE", "Image files and video clips.", nargs="+", type=Path),
            *_AS_DAEMON,
            MODEL,
            _TTA,
            argument("--top K", "How many classes to print.", type=Number(int, 1, 1000), default=1),
            argument("--timeline", "Print what a clip shows when, too."),
            argument("--figure FILE", "Draw a clip's frames and timeline (PNG, SVG, PDF).", type=Path),
            *_CLIPS,
            JSON,
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
            MODEL,
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
            MODEL,
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
            JSON,
        ),
        needs=_ARCHIVES,
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
            JSON,
        ),
        needs=_ARCHIVES,
    ),
    "evaluate": Command(
        "Measure a model on labelled photos and clips: top-1, top-5, calibration, classes, confusions.",
        "labelled/ --model model.tflite --aggregate mean",
        "commands.evaluate:evaluate",
        (
            argument("folder DIR", "A sub-folder of photos and clips for each class.", type=Path),
            *_MEASURED_AS_DAEMON,
            MODEL,
            _TTA,
            *_CLIPS,
            JSON,
        ),
    ),
    "calibrate": Command(
        "Fit how far answers can be trusted (temperature, unknown, sets), and write it beside the model.",
        "photos/ --model model.tflite --precision 0.98 --coverage 0.9",
        "commands.calibrate:calibrate",
        (
            _LABELLED,
            *_MEASURED_AS_DAEMON,
            MODEL,
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
            MODEL,
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
            JSON,
        ),
    ),
    "bench": Command(
        "Measure the latency of each stage and the throughput of the daemon on this machine.",
        "--images photos/ --tune -c dropsight.yaml",
        "commands.bench:bench",
        (
            CONFIG,
            MODEL,
            argument("--images DIR", "A folder of images; default: the sample photos.", type=Path),
            argument("--tune", "Try splits of the cores; write the best into the config file."),
            argument("--seconds N", "About how long a run takes.", type=Number(float, 0.1), default=3),
            JSON,
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
            CONFIG,
            JSON,
        ),
    ),
}
