"""Videos of overlays: H.264 in MP4, which every player and browser shows."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .video_reading import Frame, VideoFrames

# A small loss (0 is none, 51 the worst), as borders of classes are to be seen. The preset takes
# half the time of "veryfast", at the same mean error per pixel and a tenth more bytes.
_OPTIONS = {"preset": "superfast", "crf": "20"}
_BT709 = 1  # matrix, primaries and transfer, in the numbers of FFmpeg


@contextlib.contextmanager
def new_video(path: Path, like: VideoFrames) -> Iterator["OverlayVideo"]:
    """Opens a new video with the size, rate and times of another; it is complete after the block.

    Args:
        path: The file, whose name ends in `.mp4`.
        like: The other video.

    Raises:
        InputError: If PyAV was built without an encoder of H.264.
    """
    import av

    if "libx264" not in av.codecs_available:
        raise InputError(
            "av must have the encoder libx264; run pip install --force-reinstall --only-binary av "
            "'kerasseg[video]'."
        )
    with av.open(str(path.absolute()), "w", options={"movflags": "faststart"}) as container:
        video = OverlayVideo(container, like)
        yield video
        video.finish()


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size of a video whose colours have half its resolution, as players need it."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


class OverlayVideo:
    """A video that is being written.

    Args:
        container: What PyAV opened.
        like: The video that it is the overlay of.
    """

    def __init__(self, container: Any, like: VideoFrames):
        self._container = container
        self._stream = container.add_stream("libx264", rate=like.rate, options=_OPTIONS)
        self._size = like.size
        self._stream.height, self._stream.width = even(like.size)
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = like.time_base
        context.sample_aspect_ratio = like.aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709

    def write(self, frame: Frame) -> None:
        """Adds a frame, uint8 (height, width, 3); odd sides get their last row or column twice."""
        import av

        (height, width), (rows, columns) = self._size, even(self._size)
        pixels = np.pad(frame.pixels, ((0, rows - height), (0, columns - width), (0, 0)), "edge")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709)
        picture.pts, picture.time_base = frame.time, self._stream.codec_context.time_base
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def finish(self) -> None:
        """Writes the frames that the encoder still holds."""
        for packet in self._stream.encode():
            self._container.mux(packet)
