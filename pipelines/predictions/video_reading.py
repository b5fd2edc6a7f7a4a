"""Videos, read frame by frame (extra `video`: PyAV, with the libraries of FFmpeg)."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ImageFileError, InputError
from ..images.image_folders import special_kind
from . import video_ends
from .video_ends import REPAIR

_USUAL_RATE = Fraction(25)  # where a file says nothing
# Formats whose header says how long the file is; FFmpeg guesses it for others.
_SAY_DURATION = ("matroska", "flv", "mxf")
_TOLERANCE = 0.01  # share of a duration that its header may be wrong by


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, upright and not mirrored.
        time: When it is shown after the first one, in units of `VideoFrames.time_base`.
    """

    pixels: np.ndarray
    time: int


def require() -> None:
    """Checks that the package of the extra is there.

    Raises:
        InputError: If it is missing; names the command that installs it.
    """
    try:
        import av  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "av must be installed to predict videos; run pip install 'kerasseg[video]'."
        ) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator["VideoFrames"]:
    """Opens a video file.

    Raises:
        ImageFileError: If it cannot be read, holds no video, or is cut short as its format tells.
    """
    import av
    from av.error import FFmpegError

    with contextlib.ExitStack() as stack:
        try:
            if kind := special_kind(path.stat().st_mode):
                raise ImageFileError(f"video must be a file, got a {kind}", "no video is in it")
            video_ends.check(path)
            container = stack.enter_context(
                av.open(str(path.absolute()), metadata_errors="replace")
            )
        except (FFmpegError, OSError) as error:
            raise ImageFileError("video cannot be opened", f"{error.strerror}; {REPAIR}") from error
        yield VideoFrames(container)


@dataclass(frozen=True)
class _Look:
    """What all frames of a video have in common.

    Attributes:
        size: `(height, width)` as stored.
        is_turned: Whether rows are shown as columns.
        steps: -1 where the shown rows, or columns, then go backwards; else 1.
    """

    size: tuple[int, int]
    is_turned: bool = False
    steps: tuple[int, int] = (1, 1)


class VideoFrames:
    """The frames of the first video stream of an open file.

    Attributes:
        size: `(height, width)` of the upright frames.
        count: Number of frames as the file says, or as follows from its duration; 0 if unknown.
        time_base: Seconds of a unit of time.
        rate: Mean number of frames per second.
        aspect: Width of a pixel divided by its height.
        is_interlaced: Whether the lines of a frame were taken at two times.

    Args:
        container: What PyAV opened.

    Raises:
        ImageFileError: If there is no video in it, or no frame.
    """

    def __init__(self, container: Any):
        self._container = container
        self._stream = _first_stream(container)
        # With threads for frames, PyAV 18 drops a decoder's error at the end, and the frames after
        # it. They are no faster on two cores: 320 and 388 frames per second of 1080 x 1920 pixels.
        self._stream.thread_type = "SLICE"
        self._stream.codec_context.options = {"err_detect": "explode"}
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise ImageFileError("video must have a frame, got none", "an interrupted recording")
        self._look = _look(self._first)
        height, width = self._look.size
        is_turned = self._look.is_turned
        self.size = (width, height) if is_turned else (height, width)
        self.time_base: Fraction = self._stream.time_base or 1 / _USUAL_RATE
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self.aspect = 1 / aspect if is_turned else aspect
        self.is_interlaced: bool = self._first.interlaced_frame
        self.count = self._stream.frames or self._estimate_count()

    def _estimate_count(self) -> int:
        import av

        if self._stream.duration:
            return round(self._stream.duration * self.time_base * self.rate)
        return round((self._container.duration or 0) / av.time_base * self.rate)

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, once.

        Raises:
            ImageFileError: If a frame is damaged or of another size, or the file is cut short.
        """
        shortest = max(round(1 / self.rate / self.time_base), 1)
        begin, last, number = None, -1, 0
        frame = self._first
        while frame is not None:
            number += 1
            if _look(frame) != self._look:
                raise ImageFileError(
                    f"frame {number} must have the size and turn of the first, "
                    f"{_by(self._look.size)}, got {_by(_look(frame).size)}",
                    "split the video where they change",
                )
            begin = frame.pts if begin is None else begin
            # Some formats have no times, and damaged ones times that go back.
            known = None if frame.pts is None or begin is None else frame.pts - begin
            time = last + (shortest if last >= 0 else 1) if known is None else max(known, last + 1)
            yield Frame(self._upright(frame), time)
            last, frame = time, next(self._decoded, None)

    def _upright(self, frame: Any) -> np.ndarray:
        pixels = frame.to_ndarray(format="rgb24")
        pixels = pixels.swapaxes(0, 1) if self._look.is_turned else pixels
        rows, columns = self._look.steps
        return np.ascontiguousarray(pixels[::rows, ::columns])

    def _decode(self) -> Iterator[Any]:
        """Yields what PyAV decodes; no frame whose content the decoder made up."""
        from av.error import FFmpegError

        done, packets = 0, _Packets(self._container, self._stream, 1 / self.rate)
        try:
            for packet in packets:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise EOFError("a part of the frame is missing")
                    done += 1
                    yield frame
        except (FFmpegError, EOFError, OSError) as error:
            cause = f"{getattr(error, 'strerror', None) or error}; {REPAIR}"
            raise ImageFileError(f"frame {done + 1} cannot be decoded", cause) from error
        packets.check_end()


class _Packets:
    """The packets of the video, and a look at those of all streams for where the file ends.

    Args:
        container: What PyAV opened.
        stream: The stream of the video.
        frame: Seconds between two frames.
    """

    def __init__(self, container: Any, stream: Any, frame: Fraction):
        self._container, self._stream, self._frame = container, stream, frame
        self._count = 0
        self._end = Fraction(0)  # in seconds, of all streams: sound may be longer than the video
        self._end_in_file: int | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yields the packets, and an empty one at the end, which asks for the last frames.

        Raises:
            EOFError: If the file ends within a packet.
            FFmpegError: If the file cannot be read.
        """
        for packet in self._container.demux():
            if packet.pts is not None and packet.time_base:
                shown = packet.duration * packet.time_base if packet.duration else self._frame
                self._end = max(self._end, packet.pts * packet.time_base + shown)
            if packet.stream_index != self._stream.index:
                continue
            if packet.is_corrupt:
                raise EOFError("the file ends within the frame")
            self._count += packet.size > 0
            if packet.size and packet.pos is not None:
                self._end_in_file = packet.pos + packet.size
            yield packet

    def check_end(self) -> None:
        """Compares what was read with what the file says.

        Raises:
            ImageFileError: If there were fewer frames, or a shorter time, or a part of a frame.
        """
        if self._count < self._stream.frames:
            raise ImageFileError(
                f"video must have {self._stream.frames} frames as it says, got {self._count}",
                f"frames without a duration, or {REPAIR}",
            )
        said = self._said_duration()
        if said - self._end > max(1.5 * self._frame, said * _TOLERANCE):
            raise ImageFileError(
                f"video must last {float(said):.2f} s as its header says, "
                f"got {float(self._end):.2f} s",
                REPAIR,
            )
        is_plain = self._container.format.name == "yuv4mpegpipe"  # no index after the frames
        if is_plain and self._end_in_file not in (None, self._container.size):
            raise ImageFileError(f"frame {self._count + 1} cannot be decoded", REPAIR)

    def _said_duration(self) -> float:
        import av

        says = self._container.format.name.startswith(_SAY_DURATION)
        return (self._container.duration or 0) / av.time_base if says else 0.0


def _first_stream(container: Any) -> Any:
    """Returns the first video stream that is not the picture on a cover."""
    from av.stream import Disposition

    covers = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["an empty header"]
        raise ImageFileError("file must hold a video", f"only {', '.join(kinds)} is in it")
    if streams[0].codec_context is None:
        raise ImageFileError("video must have a codec that FFmpeg decodes, got another", REPAIR)
    return streams[0]


def _look(frame: Any) -> _Look:
    """Reads the matrix of a frame; its `rotation` takes a mirrored one for a turned one."""
    from av.sidedata.sidedata import Type

    size, data = (frame.height, frame.width), frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return _Look(size)
    # Shown column = a * column + c * row, shown row = b * column + d * row.
    (a, b), (c, d) = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].tolist()
    straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
    rest = max(abs(b), abs(c)) if straight > turned else max(abs(a), abs(d))
    if rest * 100 > max(straight, turned) or straight == turned:
        raise ImageFileError(
            f"video must be turned by quarters, got {frame.rotation} degrees", "damaged metadata"
        )
    row, column = (d, a) if straight > turned else (b, c)
    return _Look(size, turned > straight, (1 if row > 0 else -1, 1 if column > 0 else -1))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
