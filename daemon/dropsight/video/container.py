"""Clips by PyAV, which tells keyframes from others before anything is decoded."""

import errno
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ImageError, MachineError
from dropsight.images.framing import Pixels
from dropsight.threads import is_lacking
from dropsight.video.clip_reader import FORMATS, PROTOCOLS, DecodedFrame, check_length, check_size, missing
from dropsight.video.sampling import ChosenFrames, choose
from dropsight.video.wire import ClipHeader, ClipOrder

# Four hours at 60 frames a second, twice over: a file that has more was made to have more.
_MOST_PACKETS = 2_000_000
# Of what FFmpeg says for damaged files, too, as EIO, nothing.
_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE}
# Where a transport stream is damaged, what reads it asks for another try, and goes on behind that place.
_MOST_TRIES = 1_000
_LATEST_FRAMES = 1_000_000.0


class _Packets(NamedTuple):
    """Of all packets, in the file's order: their times in seconds, whether each is a keyframe."""

    times: NDArray[np.float64]
    keys: NDArray[np.bool_]
    timed: bool
    end: float
    """When the last packet of any stream ends, a subtitle's among them, by the file's clock."""

    @property
    def seconds(self) -> float:
        """From the first of the video to that end."""
        return self.end - float(self.times.min())

    def duration(self, rate: float) -> float:
        """Of the video alone."""
        return float(self.times.max() - self.times.min()) + 1 / rate


class ContainerReader:
    """Goes through the file twice: through its packets, to choose, then decoding what the chosen need.

    Neither frame counts nor durations of headers are used for choosing: they may say anything.
    """

    def __init__(self, path: str, order: ClipOrder) -> None:
        self._path, self._order = path, order
        self.frames_read = self._damaged = 0
        with _opened(path, order) as container:
            stream = _video(container)
            check_size(stream.width, stream.height, order.max_pixels)
            rate = _rate(stream)
            self._packets = packets = _packets_of(container, stream, rate)
            claimed = _claimed(container, stream)
            announced = _announced(container, stream, packets, packets.duration(rate))
            codec, size = stream.codec_context.name, (stream.width, stream.height)
        self._in_time = np.argsort(packets.times, kind="stable")
        times, keys = packets.times[self._in_time], packets.keys[self._in_time]
        duration = packets.duration(rate)
        check_length(duration, order.sampling.max_seconds)
        # Matroska counts from 0, however late the first packet is, as in pieces of a recording.
        self._short = missing(max(duration, packets.seconds, packets.end), claimed)
        self._short = self._short or missing(duration, announced)
        if self._short and order.whole_only:
            raise ImageError("truncated", self._short)
        self._chosen: ChosenFrames = choose(times, keys, order.sampling, at=order.at)
        self._times = times
        fps = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else rate
        self.header = ClipHeader(
            duration=round(duration, 3),
            fps=round(float(fps), 3),
            codec=codec,
            width=size[0],
            height=size[1],
            frames=len(times),
            sampling=self._chosen.by,
            timed=packets.timed,
            reader=f"PyAV {av.__version__}",
        )

    def frames(self) -> Iterator[DecodedFrame]:
        """See Reader."""
        wanted = iter(self._chosen.frames)
        index = next(wanted, None)
        slack = 0.5 / max(self.header.fps, 1e-3)
        began = time.perf_counter()
        for at, frame in self._decoded():
            if index is None:
                return
            if at < self._times[index] - slack:
                continue
            pixels = _upright(frame, self._order.max_pixels)
            now = time.perf_counter()
            yield DecodedFrame(float(self._times[index] - self._times[0]), index, pixels, (now - began) * 1e3)
            while index is not None and self._times[index] <= at + slack:
                index = next(wanted, None)
            began = time.perf_counter()

    def warnings(self) -> tuple[str, ...]:
        """See Reader."""
        told = [self._short] if self._short else []
        if self._damaged:
            told.append(f"{self._damaged} damaged packets were passed over")
        return tuple(told)

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """Yield frames with their times, those that are wanted among them."""
        keys_only = self._chosen.by == "keyframes"
        needed = self._needed()
        with _opened(self._path, self._order) as container:
            stream = _video(container)
            context = stream.codec_context
            context.thread_count = 1  # photos are worked on meanwhile
            if keys_only:
                context.skip_frame = "NONKEY"
            context.options = {"max_pixels": str(self._order.max_pixels)}
            # A stream without timestamps is decoded whole, so that frames are known by their number.
            shown = self._times[self._packets.keys[self._in_time]] if keys_only else self._times
            untimed = iter(() if self._packets.timed else shown)
            for number, packet in enumerate(_demuxed(container, stream)):
                if number >= len(needed):
                    break
                if needed[number]:
                    yield from self._timed(self._decode(packet), stream, untimed)
            yield from self._timed(self._decode(None, context), stream, untimed)

    def _timed(
        self,
        frames: list[Any],
        stream: Any,  # noqa: ANN401 - PyAV's
        untimed: Iterator[np.floating],
    ) -> Iterator[tuple[float, Any]]:
        for frame in frames:
            self.frames_read += 1
            at = next(untimed, None)
            if at is not None:
                yield float(at), frame
            elif frame.pts is not None:
                yield float(frame.pts * stream.time_base), frame

    def _decode(self, packet: Any, context: Any = None) -> list[Any]:  # noqa: ANN401 - PyAV's
        try:
            return list(packet.decode() if context is None else context.decode(None))
        except av.error.EOFError:
            return []
        except (av.error.InvalidDataError, av.error.UnknownError, av.error.ExternalError):
            self._damaged += 1
            return []
        except (av.error.FFmpegError, ValueError) as error:
            raise _refusal(error, self._order.max_pixels) from error

    def _needed(self) -> NDArray[np.bool_]:
        """Return which packets to decode: chosen keyframes, or what leads from a keyframe to each chosen."""
        packets, chosen = self._packets, self._in_time[list(self._chosen.frames)]
        if not packets.timed:  # a frame is known by its number, so all come
            return packets.keys if self._chosen.by == "keyframes" else np.ones(len(packets.times), bool)
        needed = np.zeros(len(packets.times), bool)
        needed[chosen] = True
        if self._chosen.by == "keyframes":
            return needed
        starts = np.flatnonzero(packets.keys)
        for place in chosen:
            before = np.searchsorted(starts, place, side="right") - 1
            # What is shown before a keyframe that it follows in the file may also need the group before.
            early = before > 0 and packets.times[place] < packets.times[starts[before]]
            first = starts[before - 1 if early else before] if before >= 0 else 0
            needed[first : place + 1] = True
        return needed


def _opened(path: str, order: ClipOrder) -> Any:  # noqa: ANN401 - PyAV's
    options = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS, "max_streams": "16"}
    # PyAV 19 keeps tags that are no UTF-8 as they are, and 18 takes them for a fault unless it is told.
    tags: Any = {"metadata_errors": "replace"} if av.__version__.startswith("18.") else {}
    try:
        return av.open(path, options=options, **tags)
    except (av.error.FFmpegError, ValueError) as error:
        raise _refusal(error, order.max_pixels) from error


def _refusal(error: Exception, max_pixels: int) -> ImageError:
    text = " ".join(str(error).split())
    _check_machine(error)
    if isinstance(error, av.error.MemoryError):
        raise MemoryError(text) from error  # noqa: TRY004 - the machine's
    if isinstance(error, av.error.ArgumentError) and "avcodec_open2" in text:
        return ImageError("too_many_pixels", f"its frames have more than the limit of {max_pixels} pixels")
    # FFmpeg calls it an I/O error, too, where a file ends before it should.
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError | av.error.ArgumentError | OSError):
        return ImageError("truncated", "the clip cannot be read: it is truncated, damaged or not a video")
    return ImageError("unreadable", f"it cannot be decoded: {text[:200]}")


def _check_machine(error: Exception) -> None:
    if not isinstance(error, OSError):
        return
    is_for_threads = error.errno == errno.EAGAIN and is_lacking()
    if is_for_threads or error.errno in _OF_THE_MACHINE:
        raise MachineError(f"clips wait: {error.strerror}") from error


def _video(container: Any) -> Any:  # noqa: ANN401 - PyAV's
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:  # the cover of a sound file
            if stream.codec_context is None:
                raise ImageError("truncated", "it is truncated, or its codec is not supported")
            return stream
    raise ImageError("not_an_image", "it has no video stream")


def _rate(stream: Any) -> float:  # noqa: ANN401 - PyAV's
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate and 1e-3 < float(rate) <= _LATEST_FRAMES:
            return float(rate)
    return 25.0


def _claimed(container: Any, stream: Any) -> float:  # noqa: ANN401 - PyAV's
    """Return how many seconds the header says that there are; 0 where it says nothing."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def _announced(
    container: Any,  # noqa: ANN401 - PyAV's
    stream: Any,  # noqa: ANN401 - PyAV's
    packets: _Packets,
    duration: float,
) -> float:
    """Return how many seconds the frames take that the header counts; 0 where it counts none.

    That of an AVI counts those that its camera left out, too: they come as no packet, and have their time.
    """
    if container.format.name == "avi":
        return float(stream.frames * stream.time_base) - float(packets.times.min())
    return float(stream.frames / len(packets.times) * duration)


def _demuxed(container: Any, *streams: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV's
    """Yield packets, of all streams unless some are named, as far as the file can be read."""
    packets, tries = container.demux(*streams), 0
    while tries < _MOST_TRIES:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.BlockingIOError:
            packets, tries = container.demux(*streams), tries + 1
            continue
        except av.error.FFmpegError as error:  # cut off: what came before it is there
            _check_machine(error)
            return
        except IndexError:  # PyAV's, past the last packet, of a stream that the header did not name
            return
        if packet.size:
            yield packet


def _packets_of(container: Any, stream: Any, rate: float) -> _Packets:  # noqa: ANN401 - PyAV's
    stamps: list[float] = []
    keys: list[bool] = []
    timed, end = True, 0.0
    for count, packet in enumerate(_demuxed(container)):
        if count > _MOST_PACKETS:
            raise ImageError("too_large", f"more than {_MOST_PACKETS} packets")
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base:
            end = max(end, float((stamp + max(packet.duration or 0, 0)) * packet.time_base))
        if packet.stream is stream or packet.stream_index == stream.index:
            timed = timed and stamp is not None
            stamps.append(float(stamp * stream.time_base) if stamp is not None and timed else 0.0)
            keys.append(packet.is_keyframe)
    if not stamps:
        raise ImageError("truncated", "it has no frames")
    times = np.array(stamps) if timed else np.arange(len(stamps)) / rate
    return _Packets(times, np.array(keys), timed, end)


def _upright(frame: Any, max_pixels: int) -> Pixels:  # noqa: ANN401 - PyAV's
    check_size(frame.width, frame.height, max_pixels)
    pixels: Pixels = frame.to_ndarray(format="rgb24", threads=1)  # no more than one, nor room for more
    quarter_turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))
