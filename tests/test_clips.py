"""Clips: decoded in a process of their own, sampled, classified as photos are, and merged."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import pytest
from onnx import helper

from clips import make_clip, number_of, numbered, of_photos
from daemons import PHOTOS, dropsight
from dropsight import ClipResult, ImageFailure, ImageInferenceRuntime, VideoInferenceRuntime, children
from dropsight.commands.mixed import outcomes
from dropsight.errors import ImageError, MachineError, MemoryShortError
from dropsight.images.opening import open_named
from dropsight.video import decoder as decoding
from dropsight.video.child import answers
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.sniffing import is_clip
from dropsight.video.wire import ClipEnd, ClipFrame, ClipHeader, ClipOrder, Frames
from test_onnx import classifier

CONTAINERS = {
    "mp4": ("libx264", None),
    "mov": ("mpeg4", None),
    "mkv": ("libx264", None),
    "webm": ("libvpx-vp9", None),
    "avi": ("mjpeg", None),
    "ts": ("libx264", None),
    "mpg": ("mpeg2video", "mpeg"),
    "flv": ("flv1", None),
    "h264": ("libx264", None),
}
PLAYLISTS = {
    "concat.avi": "ffconcat version 1.0\nfile '{other}'\n",
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "reference.mov": "RTSPtextrtsp://127.0.0.1/stream",
    "sdp.ts": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


def order(*, max_pixels: int = 10**8, whole_only: bool = True, **sampling: object) -> ClipOrder:
    every = Sampling(**{"skip_still": False, **sampling})  # type: ignore[arg-type] # of these very names
    return ClipOrder(every, Frames(None, "crop", 0.875), max_pixels, 60.0, whole_only=whole_only)


def seen(decoder: ClipDecoder, path: Path, wanted: ClipOrder) -> tuple[ClipHeader, list[ClipFrame], ClipEnd]:
    with open_named(path) as file:
        header, *frames, end = decoder.decode(file, wanted)
    assert isinstance(header, ClipHeader)
    assert isinstance(end, ClipEnd)
    return header, [each for each in frames if isinstance(each, ClipFrame)], end


def numbers(frames: list[ClipFrame]) -> list[int]:
    pictures = [np.frombuffer(each.pixels or b"", np.uint8) for each in frames]
    return [number_of(picture) for picture in pictures]


@pytest.fixture(scope="module")
def decoder() -> Iterator[ClipDecoder]:
    with ClipDecoder(ClipBounds()) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        kind: make_clip(
            folder / f"clip.{kind}",
            numbered(40),
            codec=codec,
            container=container,
            rate=25 if kind == "mpg" else 10,
            pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        for kind, (codec, container) in CONTAINERS.items()
    }


@pytest.fixture(scope="module")
def images() -> ImageInferenceRuntime:
    return ImageInferenceRuntime()


@pytest.fixture(scope="module")
def runtime(images: ImageInferenceRuntime) -> Iterator[VideoInferenceRuntime]:
    with VideoInferenceRuntime(images=images) as runtime:
        yield runtime


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_frames_of_every_container_are_those_of_their_times(
    decoder: ClipDecoder, made: dict[str, Path], kind: str
) -> None:
    header, frames, end = seen(decoder, made[kind], order(sample="every"))
    rate = 25 if kind == "mpg" else 10
    assert header.frames == 40
    assert header.timed is (kind != "h264")
    assert header.fps == pytest.approx(rate, rel=0.01)
    assert np.allclose([each.index for each in frames], numbers(frames), atol=1)  # codecs are lossy
    assert np.allclose(
        [each.time for each in frames], np.array([each.index for each in frames]) / rate, atol=0.02
    )
    assert end.warnings == ()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_clip_is_told_by_its_first_bytes(made: dict[str, Path], kind: str) -> None:
    assert is_clip(made[kind].read_bytes()[:1024])


def test_no_photo_and_no_text_is_taken_for_a_clip() -> None:
    heads = [photo.read_bytes()[:1024] for photo in PHOTOS]
    texts = [text.encode() for text in PLAYLISTS.values()]
    assert not any(map(is_clip, [*heads, *texts, b"", b"\0" * 1024, b"G" * 100]))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "h264"])
def test_keyframes_alone_are_decoded_where_they_are_close_enough(
    decoder: ClipDecoder, made: dict[str, Path], kind: str
) -> None:
    header, frames, end = seen(decoder, made[kind], order(every_seconds=1.0))
    assert header.sampling == "keyframes"
    assert numbers(frames) == [0, 10, 20, 30]
    assert end.frames_read == 4


@pytest.mark.parametrize("kind", ["mp4", "avi", "mkv", "ts"])
def test_opencv_alone_finds_nearly_the_same_frames(
    made: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dropsight.video.container", None)
    header, *frames, _ = answers(str(made[kind]), order())
    assert isinstance(header, ClipHeader)
    assert header.reader.startswith("OpenCV")
    found = numbers([each for each in frames if isinstance(each, ClipFrame)])
    assert np.allclose(found, range(0, 40, 5), atol=1)


@pytest.mark.parametrize("by", ["PyAV", "OpenCV"])
def test_frames_at_certain_times_are_had_as_small_pictures_alone(
    made: dict[str, Path], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "OpenCV":
        monkeypatch.setitem(__import__("sys").modules, "dropsight.video.container", None)
    wanted = msgspec.structs.replace(order(), frames=None, at=(1.2, 2.5), thumbnail=32)
    header, *frames, _ = answers(str(made["mp4"]), wanted)
    assert isinstance(header, ClipHeader)
    assert header.reader.startswith(by)
    found = [each for each in frames if isinstance(each, ClipFrame)]
    assert [(each.index, each.pixels) for each in found] == [(12, None), (25, None)]
    small = [cv2.imdecode(np.frombuffer(each.thumbnail, np.uint8), cv2.IMREAD_COLOR) for each in found]
    assert [each.shape for each in small if each is not None] == [(21, 32, 3)] * 2


def test_a_lossless_clip_of_one_photo_gets_the_photos_scores_bit_by_bit(
    runtime: VideoInferenceRuntime, images: ImageInferenceRuntime, tmp_path: Path
) -> None:
    for number, picture in enumerate(of_photos(PHOTOS[:4])):
        photo = tmp_path / f"{number}.png"
        cv2.imwrite(str(photo), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        clip = make_clip(tmp_path / f"{number}.mkv", [picture], codec="ffv1", pix_fmt="bgr0")
        answer, expected = runtime.predict(clip), images.predict(photo)
        assert answer.predictions == expected.predictions
        assert answer.clip.frames_classified == 1


def test_what_shows_for_a_moment_is_the_answer_with_its_time(
    runtime: VideoInferenceRuntime, images: ImageInferenceRuntime, tmp_path: Path
) -> None:
    panda = next(photo for photo in PHOTOS if photo.stem == "panda")
    other = next(photo for photo in PHOTOS if photo.stem != "panda")
    scene, short = of_photos([other, panda])
    clip = make_clip(tmp_path / "clip.mp4", [*[scene] * 100, *[short] * 20, *[scene] * 30])
    answer = runtime.predict(clip)
    shown = {each.label for each in answer.predictions}
    assert images.predict(short).label in shown
    assert images.predict(scene).label in shown
    part = next(each for each in answer.clip.segments if each.label == images.predict(short).label)
    assert (part.begins, part.ends) == pytest.approx((10.0, 12.0), abs=0.51)
    assert answer.clip.frames_classified < len(answer.clip.timeline)
    assert len(answer.to_json()) < 8_000
    assert json.loads(answer.to_json())["kind"] == "clip"


def test_of_a_model_of_several_labels_at_once_a_clip_says_so_as_a_photo_does(tmp_path: Path) -> None:
    sigmoid = [helper.make_node("Sigmoid", ["logits"], ["output"])]
    model = classifier(tmp_path / "m.onnx", after=sigmoid)
    clip = make_clip(tmp_path / "clip.mp4", of_photos(PHOTOS[:1]) * 5)
    with VideoInferenceRuntime(model) as runtime:
        assert json.loads(runtime.predict(clip).to_json())["multi_label"] is True


@pytest.mark.parametrize("version", [av.__version__, "19.0.2"])
def test_a_clip_whose_title_is_no_utf_8_is_read_by_pyav_18_and_19(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """19 has another `open`: without what this one asks of 18."""
    titled, clip = tmp_path / "titled.mkv", tmp_path / "clip.mkv"
    with av.open(str(titled), "w") as made:
        made.metadata["title"] = "GARDEN"
        stream = made.add_stream("mpeg4", rate=10)
        stream.height, stream.width = 64, 96
        for picture in numbered(10):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode())
    clip.write_bytes(titled.read_bytes().replace(b"GARDEN", b"G\xe4RDEN"))
    if version != av.__version__:
        real = av.open
        monkeypatch.setattr(av, "__version__", version)
        replaced = {str(clip): str(titled)}
        monkeypatch.setattr(av, "open", lambda file, *, options: real(replaced[file], options=options))
    header, *frames, _ = answers(str(clip), order(sample="every"))
    assert isinstance(header, ClipHeader)
    assert len(frames) == 2


def test_a_clip_turned_by_its_camera_is_upright(decoder: ClipDecoder, tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48] = 255
    plain, turned = make_clip(tmp_path / "plain.mp4", [picture] * 5), tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata["rotate"] = "90"
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = bytearray(turned.read_bytes())
    identity = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 0x40000000], ">i4").tobytes()
    quarter = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 0x40000000], ">i4").tobytes()
    place = data.rfind(identity, 0, data.rfind(b"mdhd"))
    data[place : place + len(quarter)] = quarter
    turned.write_bytes(data)
    _, frames, _ = seen(decoder, turned, order())
    assert (frames[0].height, frames[0].width) == (96, 64)
    upright = np.frombuffer(frames[0].pixels or b"", np.uint8).reshape(96, 64, 3)
    assert upright[:40].mean() > 200  # the left half is the upper one
    assert upright[56:].mean() < 50


@pytest.mark.parametrize("name", PLAYLISTS)
def test_no_playlist_opens_another_file_or_the_network(
    decoder: ClipDecoder, made: dict[str, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    playlist = tmp_path / name
    playlist.write_text(PLAYLISTS[name].format(other=made["mp4"]))
    with pytest.raises(ImageError):
        seen(decoder, playlist, order())
    monkeypatch.setitem(__import__("sys").modules, "dropsight.video.container", None)
    assert [type(each).__name__ for each in answers(str(playlist), order())] == ["ClipFault"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_clip_cut_off_anywhere_is_an_error_or_an_answer_and_the_next_one_is_read(
    decoder: ClipDecoder, made: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    data = made[kind].read_bytes()
    for part in range(1, 16):
        cut = tmp_path / f"{part}.{kind}"
        cut.write_bytes(data[: len(data) * part // 16])
        for whole_only in (True, False):
            try:
                _, frames, _ = seen(decoder, cut, order(whole_only=whole_only))
            except ImageError as error:
                assert error.code in {"truncated", "not_an_image"}, error  # noqa: PT017 - one of two ends
            else:
                assert frames
    assert seen(decoder, made[kind], order())[0].frames == 40


@pytest.mark.parametrize("kind", ["mkv", "avi", "flv"])
def test_a_clip_that_lost_its_second_half_is_truncated_or_says_so(
    decoder: ClipDecoder, tmp_path: Path, kind: str
) -> None:
    random = np.random.default_rng(7)
    noise = [random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(60)]
    codec, _ = CONTAINERS[kind]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = make_clip(tmp_path / f"whole.{kind}", noise, codec=codec, pix_fmt=pix_fmt)
    half = tmp_path / f"half.{kind}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match="it ends after") as found:
        seen(decoder, half, order())
    assert found.value.code == "truncated"
    _, frames, end = seen(decoder, half, order(whole_only=False))
    assert frames
    assert "of 6.0 s" in end.warnings[0]


@pytest.mark.parametrize("odd", [{"first": 6_000}, {"last_stays": 600}])
def test_a_clip_whose_times_begin_late_or_whose_last_picture_stays_is_whole(
    decoder: ClipDecoder, tmp_path: Path, odd: dict[str, int]
) -> None:
    """As of a recording cut in pieces, or with subtitles that end after it: such were truncated."""
    clip = make_clip(tmp_path / "odd.mkv", numbered(40), **odd)  # type: ignore[arg-type]
    header, frames, end = seen(decoder, clip, order())
    assert header.duration == pytest.approx(4.0)
    assert frames
    assert not end.warnings


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "ts"])
def test_flipped_bits_end_in_an_error_or_an_answer(
    decoder: ClipDecoder, made: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    random = np.random.default_rng(7)
    data = np.frombuffer(made[kind].read_bytes(), np.uint8)
    for number in range(20):
        damaged = data.copy()
        places = random.integers(0, len(data), 8)
        damaged[places] ^= np.uint8(1) << random.integers(0, 8, 8).astype(np.uint8)
        (path := tmp_path / f"{number}.{kind}").write_bytes(damaged.tobytes())
        try:
            seen(decoder, path, order(whole_only=False))
        except ImageError as error:
            assert str(error)  # noqa: PT017 - one of two ends
    assert seen(decoder, made[kind], order())[0].frames == 40


def test_what_is_no_video_says_so(decoder: ClipDecoder, tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as target:
        stream = target.add_stream("aac", rate=8000)
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        quiet.sample_rate = 8000
        for packet in stream.encode(quiet):
            target.mux(packet)
        for packet in stream.encode():
            target.mux(packet)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "zeros.mp4").write_bytes(bytes(10_000))
    codes = {}
    for name in ("sound", "empty", "zeros"):
        with pytest.raises(ImageError) as found:
            seen(decoder, tmp_path / f"{name}.mp4", order())
        codes[name] = found.value.code
    assert codes == {"sound": "not_an_image", "empty": "empty", "zeros": "truncated"}


def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(
    decoder: ClipDecoder, made: dict[str, Path]
) -> None:
    for kind in ("mp4", "ts", "h264"):
        with pytest.raises(ImageError, match="more than the limit") as found:
            seen(decoder, made[kind], order(max_pixels=1_000))
        assert found.value.code == "too_many_pixels"


def test_a_clip_that_is_too_long_is_refused(decoder: ClipDecoder, made: dict[str, Path]) -> None:
    with pytest.raises(ImageError, match="4 s long, more than the limit of 2 s") as found:
        seen(decoder, made["mp4"], order(max_seconds=2.0))
    assert found.value.code == "too_large"


def test_ten_thousand_frames_a_second_are_no_trouble(decoder: ClipDecoder, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "fast.mkv", numbered(50), rate=10_000)
    _, frames, _ = seen(decoder, clip, order())
    assert frames


def test_the_end_of_the_decoding_process_is_no_clips_fault_and_the_next_one_is_read(
    made: dict[str, Path],
) -> None:
    with ClipDecoder(ClipBounds()) as decoder, open_named(made["mp4"]) as file:
        parts = decoder.decode(file, order())
        next(parts)
        assert decoder.pid
        os.kill(decoder.pid, signal.SIGSTOP)
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(MachineError, match="clips wait"):
            list(parts)
        assert len(list(decoder.decode(file, order()))) > 2
        os.kill(decoder.pid, signal.SIGKILL)  # between two clips
        assert len(list(decoder.decode(file, order()))) > 2


@pytest.mark.parametrize(
    ("then", "fault"),
    [("os.kill(os.getpid(), 9)", MemoryShortError), ("os.kill(os.getpid(), 11)", ImageError)],
)
def test_a_process_that_ends_amid_a_message_ends_as_between_two(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, then: str, fault: type[Exception]
) -> None:
    """The kernel, short of memory, ends it anywhere: the clip was failed for good as by a bug of ours."""
    program = (
        "import os, socket, sys; orders = socket.socket(fileno=int(sys.argv[1]));"
        f"socket.recv_fds(orders, 65536, 1); orders.sendall(bytes((0, 0, 1, 0, 7))); {then}"
    )
    monkeypatch.setattr(children, "command", lambda _, *given: [sys.executable, "-c", program, *given])
    with (
        ClipDecoder(ClipBounds()) as decoder,
        open_named(made["mp4"]) as file,
        pytest.raises(fault),
    ):
        list(decoder.decode(file, order()))


def test_a_process_that_says_what_nobody_understands_is_ended_and_the_clip_refused(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import socket, sys; orders = socket.socket(fileno=int(sys.argv[1]));"
        "socket.recv_fds(orders, 65536, 1); orders.sendall(bytes((0, 0, 0, 1, 0xC1))); orders.recv(1)"
    )
    monkeypatch.setattr(children, "command", lambda _, *given: [sys.executable, "-c", program, *given])
    monkeypatch.setattr(decoding, "_DEATH_SECONDS", 0.0)
    with ClipDecoder(ClipBounds()) as decoder, open_named(made["mp4"]) as file:
        with pytest.raises(ImageError, match="sent invalid data"):
            list(decoder.decode(file, order()))
        assert decoder.pid is None


def test_a_clip_that_takes_too_long_is_refused_and_its_process_ended(made: dict[str, Path]) -> None:
    with ClipDecoder(ClipBounds(seconds=0.0)) as decoder, open_named(made["mp4"]) as file:
        with pytest.raises(ImageError, match="more than the limit of 0 s"):
            list(decoder.decode(file, order()))
        assert decoder.pid is None


def test_a_clip_whose_every_frame_comes_in_time_is_refused_once_all_of_them_take_too_long(
    made: dict[str, Path],
) -> None:
    """Only a frame that took a second was looked at, and a clip could go on for hours."""
    with ClipDecoder(ClipBounds(seconds=0.5)) as decoder, open_named(made["mp4"]) as file:
        slow = (part for part in decoder.decode(file, order()) if not time.sleep(0.2))  # type: ignore[func-returns-value] # it waits
        with pytest.raises(ImageError, match=r"more than the limit of 0\.5 s"):
            list(slow)


def test_who_stops_early_ends_the_process(made: dict[str, Path]) -> None:
    with ClipDecoder(ClipBounds()) as decoder, open_named(made["mp4"]) as file:
        parts = decoder.decode(file, order())
        next(parts)
        parts.close()  # type: ignore[attr-defined] # a generator
        assert decoder.pid is None


def test_a_batch_has_an_entry_for_each_clip_also_for_what_is_none(
    runtime: VideoInferenceRuntime, made: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "no.mp4").write_text("no clip")
    batch = runtime.predict_batch([made["mp4"], tmp_path / "no.mp4", tmp_path / "gone.mp4"])
    assert [type(each) for each in batch.results] == [ClipResult, ImageFailure, ImageFailure]


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"aggregate": "median"}, {"sample": "all"}, {"every_seconds": 0}, {"max_frames": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            VideoInferenceRuntime(**wrong)


def test_classify_prints_a_clip_as_a_photo_and_its_timeline(
    tmp_path: Path,
) -> None:
    panda = next(photo for photo in PHOTOS if photo.stem == "panda")
    clip = make_clip(tmp_path / "clip.mp4", of_photos([panda]) * 20)
    told = dropsight("classify", str(panda), str(clip), "--timeline").stdout
    group, photo, of_clip, line, facts, segment = told.splitlines()
    assert group.split()[2:] == of_clip.split()[2:] == ["bear"]
    assert photo.split()[1:] == line.split()[1:] == ["giant", "panda"]
    assert "2.0 s of h264 320x240; frames classified: 1" in facts
    assert segment.split()[:4] == ["0.0", "to", "2.0", "s"]


@pytest.mark.slow
def test_the_figure_of_a_clip_is_a_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", [each for each in of_photos(PHOTOS[:3]) for _ in range(10)])
    figure = tmp_path / "timeline.png"
    assert dropsight("classify", str(clip), "--figure", str(figure)).stdout
    assert np.asarray(cv2.imread(str(figure))).std() > 10


def test_a_timeline_is_for_clips_only() -> None:
    refused = dropsight("classify", str(PHOTOS[0]), "--timeline")
    assert refused.returncode == 2
    assert "photos have no timeline" in refused.stderr


@pytest.mark.slow
def test_batch_takes_photos_and_clips_of_a_folder_alike(
    tmp_path: Path,
) -> None:
    (folder := tmp_path / "mixed").mkdir()
    make_clip(folder / "b.mp4", [of_photos(PHOTOS[:1])[0]] * 5)
    (folder / "a.jpg").write_bytes(PHOTOS[0].read_bytes())
    (folder / "c.mkv").write_text("no clip")
    told = dropsight("batch", str(folder), "-o", str(tmp_path / "results.json")).stdout
    assert "3 of 3 images" in told
    entries = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [each.get("kind") for each in entries] == [None, "clip", None]
    assert entries[2]["error"]["code"] in {"not_an_image", "unsupported_format"}


def test_of_many_files_the_first_answer_waits_for_none_of_the_last(
    images: ImageInferenceRuntime, made: dict[str, Path], tmp_path: Path
) -> None:
    paths = [*(PHOTOS[number % len(PHOTOS)] for number in range(60)), tmp_path / "last.mp4"]
    found = outcomes(paths, images)
    next(found)
    shutil.copyfile(made["mp4"], paths[-1])
    *between, last = found
    assert [each.image_path for each in between] == list(map(str, paths[1:-1]))
    assert isinstance(last, ClipResult)


@pytest.mark.slow
def test_the_decoding_process_ends_with_who_began_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        import subprocess
        import sys

        command = [sys.executable, "-P", "-m", "dropsight.video.child", str(theirs.fileno()), str(2**30)]
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd="/")
    ours.close()
    assert child.wait(60) == 0
