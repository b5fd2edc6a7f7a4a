"""Videos, read frame by frame (extra `video`: PyAV, with the libraries of FFmpeg)."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ImageFileError, InputError

_USUAL_RATE = Fraction(25)  # where a file says nothing
_REPAIR = "damaged or cut short: ffmpeg -i FILE -c copy NEW.mkv may save what is left"


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        pixels: uint8 (height, width, 3), RGB, turned upright.
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
        ImageFileError: If it cannot be read, or holds no video.
    """
    import av
    from av.error import FFmpegError

    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(
                av.open(str(path.absolute()), metadata_errors="replace")
            )
        except (FFmpegError, OSError) as error:
            raise ImageFileError(
                "video cannot be opened", f"{error.strerror}; {_REPAIR}"
            ) from error
        yield VideoFrames(container)


@dataclass(frozen=True)
class _Look:
    """What all frames of a video have in common: `(height, width)` as stored, and the turn."""

    size: tuple[int, int]
    turns: int  # quarters, counter-clockwise


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
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"err_detect": "explode"}
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise ImageFileError("video must have a frame, got none", "an interrupted recording")
        self._look = _look(self._first)
        height, width = self._look.size
        is_turned = self._look.turns % 2 == 1
        self.size = (width, height) if is_turned else (height, width)
        self.time_base: Fraction = self._stream.time_base or 1 / _USUAL_RATE
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
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
        return np.ascontiguousarray(np.rot90(pixels, self._look.turns))

    def _decode(self) -> Iterator[Any]:
        """Yields what PyAV decodes; no frame whose content the decoder made up."""
        from av.error import FFmpegError

        done, packets = 0, 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    raise EOFError("the file ends within the frame")
                packets += packet.size > 0
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise EOFError("a part of the frame is missing")
                    done += 1
                    yield frame
        except (FFmpegError, EOFError, OSError) as error:
            cause = f"{getattr(error, 'strerror', None) or error}; {_REPAIR}"
            raise ImageFileError(f"frame {done + 1} cannot be decoded", cause) from error
        if packets < self._stream.frames:
            raise ImageFileError(
                f"video must have {self._stream.frames} frames as it says, got {packets}", _REPAIR
            )


def _first_stream(container: Any) -> Any:
    """Returns the first video stream that is not the picture on a cover."""
    from av.stream import Disposition

    covers = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams}) or ["an empty header"]
        raise ImageFileError("file must hold a video", f"only {', '.join(kinds)} is in it")
    return streams[0]


def _look(frame: Any) -> _Look:
    if frame.rotation % 90:
        raise ImageFileError(
            f"video must be turned by quarters, got {frame.rotation} degrees", "damaged metadata"
        )
    return _Look((frame.height, frame.width), int(frame.rotation) // 90 % 4)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
