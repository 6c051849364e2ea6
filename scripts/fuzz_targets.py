"""What scripts/fuzz.py throws damaged input at: where it starts from, and what may come of it.

A target returns for whatever is as it should be, errors of ours included; all else it raises is a finding.
"""

import contextlib
import io
import itertools
import json
import os
import re
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from time import thread_time
from urllib.parse import urlsplit

import av
import cv2
import flatbuffers
import msgspec
import numpy as np
import pillow_heif
from ai_edge_litert import schema_py_generated as schema

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from brokers import Subscriber, mosquitto, wait_until  # noqa: E402
from clips import make_clip, numbered  # noqa: E402
from daemons import PHOTOS, House  # noqa: E402
from dropsight import config  # noqa: E402
from dropsight.archive import job_file, manifest, shard_parts  # noqa: E402
from dropsight.archive.storage import Storage  # noqa: E402
from dropsight.commands.replaying import replay  # noqa: E402
from dropsight.config.name_patterns import TooSlowError, name_pattern  # noqa: E402
from dropsight.errors import ConfigError, DropsightError, ImageError, ModelError, StoreError  # noqa: E402
from dropsight.events.compiling import compile_rules, in_words  # noqa: E402
from dropsight.events.machine import Machine  # noqa: E402
from dropsight.events.sighting import sighting_of  # noqa: E402
from dropsight.images.decoding import decode  # noqa: E402
from dropsight.images.header import check_bounds, read_header  # noqa: E402
from dropsight.images.opening import Bounds, ImageFile  # noqa: E402
from dropsight.images.tiff import read_exif  # noqa: E402
from dropsight.intake.tagging import TagFile, tags_of  # noqa: E402
from dropsight.models.backends import locate  # noqa: E402
from dropsight.models.groups import find_groups  # noqa: E402
from dropsight.models.label_files import FoundLabels, unnamed  # noqa: E402
from dropsight.models.labels import decoded as decoded_text  # noqa: E402
from dropsight.models.labels import read_groups, read_labels  # noqa: E402
from dropsight.models.onnx_file import ONNXFile  # noqa: E402
from dropsight.models.onnx_weights import with_its_weights  # noqa: E402
from dropsight.models.outputs import Output, choose  # noqa: E402
from dropsight.models.overrides import ModelOverrides  # noqa: E402
from dropsight.models.sidecar import Sidecar, read_sidecar  # noqa: E402
from dropsight.models.spec import TensorSpec  # noqa: E402
from dropsight.models.tflite_file import is_whole, read_tflite  # noqa: E402
from dropsight.models.thresholds import thresholds_of  # noqa: E402
from dropsight.names import as_json, as_text  # noqa: E402
from dropsight.records import Result  # noqa: E402
from dropsight.records import decode as decode_record  # noqa: E402
from dropsight.video import completeness  # noqa: E402
from dropsight.video.decoder import ClipBounds, ClipDecoder  # noqa: E402
from dropsight.video.sampling import Sampling  # noqa: E402
from dropsight.video.wire import ClipOrder, Frames  # noqa: E402
from fuzz import Target, Throw  # noqa: E402
from results import make_results  # noqa: E402
from tflite_metadata import metadata, with_metadata  # noqa: E402
from webs import ANY_PORT, address  # noqa: E402

# What is within bounds is decoded: 2 megapixels are to need no more than scripts/fuzz.py allows.
BOUNDS = Bounds(max_bytes=2**20, max_pixels=2_000_000)
ANSWER_SECONDS = 8.0


class Finding(Exception):  # noqa: N818 - it is none of ours
    """The daemon did not take an input as it should."""


def reader(
    read: Callable[[bytes], object], *allowed: type[Exception]
) -> Callable[[], AbstractContextManager[Throw]]:
    def throw(data: bytes) -> None:
        with contextlib.suppress(*allowed):
            read(data)

    return lambda: contextlib.nullcontext(throw)


# -- images -------------------------------------------------------------------------------------------------


def picture() -> cv2.typing.MatLike:
    found = cv2.imread(str(PHOTOS[0]))
    if found is None:
        raise FileNotFoundError(PHOTOS[0])
    return cv2.resize(found, (48, 32))


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, picture(), list(options))[1].tobytes()


def pictures() -> list[bytes]:
    kinds = [encoded(suffix) for suffix in (".jpg", ".png", ".webp", ".bmp")]
    progressive = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    lossless = encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    return [*kinds, progressive, lossless, *with_exif(), *dropped()]


def dropped() -> list[bytes]:
    """Those kinds that people drop and OpenCV has."""
    return [encoded(suffix) for suffix in (".gif", ".jp2", ".avif")]


def heics() -> list[bytes]:
    """Of tiles; a process of its own would decode each."""
    rgb = cv2.cvtColor(cv2.resize(picture(), (96, 64)), cv2.COLOR_BGR2RGB)
    tiled = io.BytesIO()
    pillow_heif.from_bytes("RGB", (96, 64), rgb.tobytes()).save(tiled, tile_size=64)
    return [tiled.getvalue()]


def exif_blocks() -> list[bytes]:
    """Of both byte orders: an orientation, a time, and a directory within."""
    blocks = []
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        inner = struct.pack(f"{order}HHHII", 1, 0x9003, 2, 20, 90)
        outer = [(0x112, 3, 1, 6), (0x132, 2, 20, 90), (0x8769, 4, 1, 60)]
        entries = b"".join(struct.pack(f"{order}HHII", *tag) for tag in outer)
        head = mark + struct.pack(f"{order}IH", 8, len(outer)) + entries
        blocks.append((head.ljust(60, b"\0") + inner).ljust(90, b"\0") + b"2024:05:06 07:08:09\0")
    return blocks


def with_exif() -> Iterator[bytes]:
    jpeg, png = encoded(".jpg"), encoded(".png")
    for block in exif_blocks():
        body = b"Exif\0\0" + block
        yield jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
        yield png[:33] + struct.pack(">I", len(block)) + b"eXIf" + block + bytes(4) + png[33:]


def tiffs() -> list[bytes]:
    deep = cv2.imencode(".tif", np.asarray(picture(), np.uint16) * 257)[1].tobytes()
    alpha = cv2.imencode(".tif", cv2.cvtColor(picture(), cv2.COLOR_BGR2BGRA))[1].tobytes()
    plain = encoded(".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1)
    return [encoded(".tif"), plain, deep, alpha]


def decoded(data: bytes) -> None:
    header = read_header(data)
    check_bounds(header, BOUNDS)
    pixels = decode(data, header, at_least=(32, 32), how="stretch")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise Finding(f"pixels of {pixels.dtype} {pixels.shape}")


# -- clips --------------------------------------------------------------------------------------------------


CLIP_BOUNDS = ClipBounds(max_bytes=2**20, max_pixels=2_000_000, cpu_seconds=4, seconds=8)
CLIP_ORDER = ClipOrder(
    Sampling(max_frames=8), Frames((32, 32), "crop", 0.875), 2_000_000, 4, whole_only=False
)


def clips() -> list[bytes]:
    kinds = [
        *(("mp4", "libx264", "yuv420p"), ("mp4", "libx265", "yuv420p"), ("matroska", "libx264", "yuv420p")),
        *(("avi", "mjpeg", "yuvj420p"), ("mpegts", "mpeg2video", "yuv420p"), ("webm", "libvpx", "yuv420p")),
        *(("h264", "libx264", "yuv420p"), ("flv", "flv1", "yuv420p")),
    ]
    av.logging.set_level(av.logging.PANIC)
    with tempfile.TemporaryDirectory() as folder:
        path, pictures = Path(folder) / "clip", numbered(12, height=48, width=64)
        return [
            make_clip(path, pictures, codec=codec, pix_fmt=pix_fmt, container=container).read_bytes()
            for container, codec, pix_fmt in kinds
        ]


@contextmanager
def the_clip_decoder() -> Iterator[Throw]:
    """A crash of its process by a signal is what there is a process for; an exception in it is a finding."""
    with ClipDecoder(CLIP_BOUNDS) as decoder:

        def throw(data: bytes) -> None:
            fd = os.memfd_create("clip")
            os.write(fd, data)
            try:
                with ImageFile(fd, os.fstat(fd)) as file:
                    completeness.is_whole(file)
                    list(decoder.decode(file, CLIP_ORDER))
            except ImageError as error:
                if "ends the process" in str(error) or "nobody understands" in str(error):
                    raise Finding(str(error)) from error

        yield throw


# -- models and configs -------------------------------------------------------------------------------------


def models() -> list[bytes]:
    """The bundled graph without its weights, with metadata: what the readers read, and little else."""
    tree = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(locate("builtin:efficientnet_lite0").read_bytes(), 0)
    )
    for buffer in tree.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            buffer.data = None
    builder = flatbuffers.Builder(2**16)
    builder.Finish(tree.Pack(builder), b"TFL3")
    block = metadata(127.5, 63.75, "names.txt")
    return [with_metadata(bytes(builder.Output()), block, {"names.txt": "cat\ndog\n"})]


def read_model(data: bytes) -> None:
    if is_whole(data):
        read_tflite(data)


def onnx_models() -> list[bytes]:
    """A Softmax of a scaled input, with labels and a size."""

    def node(kind: bytes, *tensors: bytes) -> bytes:
        *inputs, output = tensors
        return packed((1, inputs), (2, [output]), (4, [kind]))

    scale = b"\x10\x01" + packed((4, [b"\x81\x80\x80\x3b"]), (8, [b"s"]))
    graph = packed((1, [node(b"Mul", b"x", b"s", b"y"), node(b"Softmax", b"y", b"z")]), (5, [scale]))
    texts = [packed((1, [b"names"]), (2, [b"{0: 'a'}"])), packed((1, [b"imgsz"]), (2, [b"[8, 8]"]))]
    return [b"\x08\x08" + packed((2, [b"pytorch"]), (7, [graph]), (14, texts))]


def packed(*fields: tuple[int, list[bytes]]) -> bytes:
    """Write a short protocol buffer of texts and messages."""
    written = ((bytes([number << 3 | 2, len(each)]), each) for number, many in fields for each in many)
    return b"".join(head + each for head, each in written)


def read_onnx(data: bytes) -> None:
    file = ONNXFile(data)
    file.activations(["z"])
    file.normalization("x")
    _ = file.names, file.size, file.quantization, file.weights_elsewhere


def parted() -> list[bytes]:
    """Two tensors whose values lie in w.data."""

    def place(**said: str) -> list[bytes]:
        return [packed((1, [key.encode()]), (2, [value.encode()])) for key, value in said.items()]

    one = b"\x08\x02\x10\x01" + packed((8, [b"s"]), (13, place(location="w.data", offset="8", length="8")))
    other = b"\x08\x01\x10\x01" + packed((13, place(location="w.data")))
    graph = packed((5, [one + b"\x70\x01", other + b"\x70\x01"]), (11, [b"x"]))
    return [b"\x08\x08" + packed((2, [b"pytorch"]), (7, [graph]))]


def weighed(path: Path) -> None:
    """Put a model together; ONNXFile then reads what comes of it."""
    path.with_name("w.data").write_bytes(bytes(range(64)))
    with contextlib.suppress(ValueError):
        read_onnx(with_its_weights(path, path.read_bytes()))


def labels() -> list[bytes]:
    forms = (
        "cat\ndog\n",
        "0 cat\n1: dog\n",
        '{"0": "cat", "1": ["n02", "dog"]}',
        '[{"id": 0, "name": "cat"}]',
    )
    grouped = "class;group\ncat;pet\nlynx;\n"
    table, items = 'index,name\n0,"cat, black"\n1,dog\n', "item { id: 1 display_name: 'cat' }\n"
    return [*(form.encode() for form in (*forms, table, items, grouped)), "chäs\n".encode("utf-16")]


def read_names(data: bytes) -> None:
    text = decoded_text(data)
    read_labels(text)
    read_groups(text)


def a_sidecar() -> AbstractContextManager[Throw]:
    return a_file("m.yaml", described, ModelError)


def described(path: Path) -> None:
    """Read a sidecar, and what it says of a model of 50 classes."""
    model, output = path.with_suffix(".tflite"), TensorSpec("out", (1, 50), np.dtype(np.float32))
    sidecar = read_sidecar(model) or Sidecar()
    labels = FoundLabels(unnamed(50), "default")
    find_groups(model, ModelOverrides(), sidecar, labels, multi_label=False)
    wanted = {str(name): least for name, least in sidecar.thresholds.items()}
    thresholds_of(model, wanted, [(Output(output, "logistic"), labels.names)])
    choose(model, ModelOverrides(), sidecar, [Output(output, "logistic", ("out",))])


def sidecars() -> list[bytes]:
    whole = (
        "labels: names.txt\nnormalization: {mean: [127.5], std: [1, 2, 3]}\ntemperature: 1.3\n"
        "input_size: [224, 224]\nheads: {species: 0, sex: {output: 1, labels: sexes.txt}}\ncolor_order: BGR\n"
        "golden:\n  - {image: cat.jpg, class: tabby, confidence: 0.9, tolerance: 0.1}\n"
    )
    groups = "groups: {cat: [class 3, '*4*'], dog: 7-9, all: &a ['*', 0-49], none: *a}\nunknown: 0.6\n"
    return [whole.encode(), LAUGHS, f"{groups}thresholds: {{class 3: 0.3, '*': 0.6}}\noutput: out\n".encode()]


LAUGHS = b"a: &a [1, 2]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in b"bcdefghij"
)


def rules() -> list[bytes]:
    whole = """
    location: {latitude: 52.5, longitude: 13.4, time_zone: Europe/Berlin}
    events:
    - {name: fox, labels: [red fox, "h:*"], confidence: {"*": 0.1, red fox: 0.8}, confirm: 1 of 3}
    - {name: dusk, labels: ["*"], active: "sunset-30m..sunrise+1h", days: "mon..fri", cooldown_seconds: 9}
    - {name: rare, labels: ["*"], cameras: [f*], tags: {site: north, n: 3}, active: 22:00-6:30, unless: fox}
    """
    short = "events: [{name: a, labels: ['*'], confirm: 1 of 1, renotify_above: [0.9]}]"
    return [whole.encode(), LAUGHS, short.encode()]


RECORD = {
    "status": "ok",
    "id": "a",
    "camera": "front",
    "label": "red fox",
    "predicted_class": 1,
    "confidence": 0.9,
    "predictions": [{"class": 1, "label": "red fox", "confidence": 0.9}],
    "tags": {"site": "north", "n": 3},
}


def ruled(path: Path) -> None:
    """Compile the rules of a config, say them, and have them see two records and the time pass."""
    found = compile_rules(config.load(path))
    machine = Machine(found)
    for time in ("2026-11-28T22:00:00Z", "2026-11-28T22:00:01Z"):
        record = decode_record(json.dumps({**RECORD, "time": time}).encode())
        if isinstance(record, Result) and (sighting := sighting_of(record)):
            machine.step(sighting)
    machine.tick(2e9)
    for rule in found:
        in_words(rule)


# -- names and what lies beside them ------------------------------------------------------------------------

TAGS_OF = "(?P<site>[^/]+)/(?P<nr>[0-9]+)?_?(?P<captured>[^_]*)"
PATTERN_SECONDS = 1.0


def tagged() -> list[bytes]:
    said = b'{"site": "north", "n": 3, "ok": true, "captured": "2026-11-28T10:15:30+02:00", "\\u001b": "\\n"}'
    return [b"north/7_20261128101530.jpg\n" + said, b"a/b_1764324930500.jpg\n{}", b"\n[]", b"x\n" + b"[" * 99]


def read_tags(data: bytes) -> None:
    name, _, said = data.partition(b"\n")
    sidecar = TagFile("x.json", said)
    tags = tags_of(as_text(os.fsdecode(name)), sidecar if sidecar.is_whole else None, TAGS_OF)
    json.loads(as_json([tags.tags, tags.captured, tags.warnings]))


def patterns() -> list[bytes]:
    forms = (
        *(TAGS_OF, "(?P<a>.*)_(?P<b>.*)_(?P<c>[0-9]+)z", "(?i)^(\\w+)-(?:a|b?)(?=.*x)(?>y*)z*+$"),
        *("(?P<q>a)?(?(q)b|c{2,4}?)(?P=q)", "(?:[a-z]+_)*(?:aa?|a.){1,2}[^_/]*?"),
    )
    return [form.encode() for form in forms]


def search(data: bytes) -> None:
    """A pattern that is taken is searched for in any path in no time."""
    pattern = name_pattern(data[:200].decode(errors="replace"))
    for piece in ("_", "a", "a_", "/a", "1", pattern.compiled.pattern or "x"):
        path = (piece * pattern.longest)[: pattern.longest - 1]
        for each in (path, path + "!"):
            began = thread_time()
            pattern.find(each)
            if thread_time() - began > PATTERN_SECONDS:
                raise Finding(f"{each!r} takes {thread_time() - began:.1f} s")


def configs() -> list[bytes]:
    whole = (resources.files("dropsight.config") / "dropsight.yaml").read_bytes()
    short = b"watch: [{path: /srv/in, after: keep}]\nmqtt: {url: 'mqtt://u:p@hub:1883'}\nweb: null\n"
    return [whole, short, b"model: {path: x.tflite}\nlimits: {max_bytes: 20MB}\n", LAUGHS]


def a_config() -> AbstractContextManager[Throw]:
    return a_file("dropsight.yaml", config.load, ConfigError)


@contextmanager
def a_file(name: str, read: Callable[[Path], object], allowed: type[Exception]) -> Iterator[Throw]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name

        def throw(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(allowed):
                read(path)

        yield throw


# -- what strangers send of archives, and logs ---------------------------------------------------------------


def results() -> list[bytes]:
    """A part, a manifest and a job's file."""
    with tempfile.TemporaryDirectory() as folder:
        make_results(folder, {f"{number}.jpg": ("cat", 0.5) for number in range(3)})
        names = ("part-000000.parquet", manifest.NAME, job_file.NAME)
        return [(Path(folder) / name).read_bytes() for name in names]


@contextmanager
def read_results() -> Iterator[Throw]:
    """Each input in the place of each file, beside sound ones."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(make_results(folder, {f"{number}.jpg": ("cat", 0.5) for number in range(3)}))
        reads: dict[str, Callable[[], object]] = {
            "part-000000.parquet": lambda: list(shard_parts.read_all(storage)),
            manifest.NAME: lambda: list(manifest.read_all(storage)),
            job_file.NAME: lambda: job_file.read_job(storage),
        }

        def throw(data: bytes) -> None:
            for name, read in reads.items():
                (Path(folder) / name).write_bytes(data)
                with contextlib.suppress(StoreError, MemoryError):
                    read()

        yield throw


def logs() -> list[bytes]:
    times = ("2026-11-28T22:00:00Z", "2026-11-28T22:00:01+01:00")
    lines = [json.dumps({**RECORD, "time": time}).encode() for time in times]
    return [b"\n".join(lines), b"[" * 99 + lines[0], lines[1] + b"\n{}\n{"]


def replayed(path: Path) -> None:
    replay(REPLAYING, [path])


REPLAYING = msgspec.convert({"events": [{"name": "a", "labels": ["*"], "confirm": "1 of 1"}]}, config.Config)


# -- a running daemon ---------------------------------------------------------------------------------------


class Lair:
    """A daemon with a broker and a web part, and what it has logged that no input may bring about."""

    def __init__(self, stack: ExitStack, **settings: object) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-fuzz-")))
        self.house = House(self.folder, settings)
        self.house.start()
        stack.callback(self.house.kill)
        self._read = 0

    def check(self) -> None:
        process = self.house.process
        if process is None or process.poll() is not None:
            raise Finding(f"the daemon ended: {self.house.daemon_log()[-2000:]}")
        with (self.folder / "daemon.log").open("rb") as log:
            log.seek(self._read)
            said = log.read()
        if b"Traceback" in said:
            raise Finding(f"the daemon logged: {said.decode(errors='replace')[-2000:]}")
        self._read += said.rfind(b"\n") + 1


def exchanged(connection: socket.socket, data: bytes, most: int = 2**16) -> bytes:
    """Send, say that this is all, and return the beginning of the answer."""
    connection.settimeout(ANSWER_SECONDS)
    answer = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while len(answer) < most and (piece := connection.recv(most)):
            answer += piece
            if b"text/event-stream" in answer:  # has no end
                break
    return answer


@contextmanager
def the_control_socket() -> Iterator[Throw]:
    with ExitStack() as stack:
        lair = Lair(stack)
        path = lair.folder / "state" / "dropsight.sock"

        def throw(data: bytes) -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                answer = exchanged(connection, data)
            if answer:
                json.loads(answer.splitlines()[0])
            lair.check()

        yield throw


@contextmanager
def the_web_part() -> Iterator[Throw]:
    with ExitStack() as stack:
        lair = Lair(stack, web=ANY_PORT)
        where = urlsplit(address(lair.house))

        def throw(data: bytes) -> None:
            with socket.create_connection((where.hostname, where.port or 0)) as connection:
                answer = exchanged(connection, data)
            if answer.startswith(b"HTTP/1.1 5"):
                raise Finding(answer[:200])
            lair.check()

        yield throw


@contextmanager
def mqtt_commands() -> Iterator[Throw]:
    with ExitStack() as stack:
        broker = stack.enter_context(
            mosquitto(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-fuzz-"))))
        )
        lair = Lair(stack, mqtt={"url": broker.url})
        hearer = stack.enter_context(Subscriber(broker.port, "dropsight/test/command/response"))
        wait_until(lambda: lair.house.status()["mqtt"]["connected"], what="a connection")
        numbers = itertools.count(1)

        def answers() -> bool:
            """Whether one is there; of many commands at once some are dropped, so this asks each time."""
            hearer.publish("dropsight/test/command", b'{"command": "stats"}')
            return bool(hearer.messages)

        def throw(data: bytes) -> None:
            hearer.publish("dropsight/test/command", data)
            if next(numbers) % 100 == 0:
                hearer.messages.clear()
                wait_until(answers, seconds=ANSWER_SECONDS, what="an answer over MQTT")
            lair.check()

        yield throw


def orders() -> list[bytes]:
    names = ("status", "stats", "ping", "pause", "resume", "rescan", "explain", "nothing")
    deep = b'{"command":' * 2_000 + b"1" + b"}" * 2_000
    return [*(json.dumps({"command": name, "id": "a-1"}).encode() + b"\n" for name in names), deep]


def requests() -> list[bytes]:
    gets = (
        "/",
        "/static/main.js",
        "/healthz",
        "/metrics",
        "/api/stats",
        "/api/results?limit=5&status=ok&before=77&min_confidence=0.5&label=cat&camera=%ff",
        "/api/results/stream",
        "/api/records/0123456789abcdef",
        "/api/images/0123456789abcdef/thumbnail",
        "/api/export?format=csv&since=2024-01-01T00:00:00Z",
    )
    head = (
        "Host: 127.0.0.1\r\nX-Dropsight: 1\r\nAuthorization: Bearer x\r\nCookie: a=b\r\nRange: bytes=0-5\r\n"
    )
    posts = (
        "/login",
        "/api/commands/pause",
        "/api/commands/rescan",
        "/api/images/0123456789abcdef/explanation",
    )
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=x"
    return [
        *(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode() for path in gets),
        *(f"POST {path} HTTP/1.1\r\n{head}{form}".encode() for path in posts),
    ]


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
