"""Videos that tests make, and their frames as PyAV decodes them."""

from fractions import Fraction

import av
import numpy as np


def make_video(
    path,
    count=5,
    size=(32, 48),
    *,
    codec="libx264",
    form="yuv420p",
    times=None,
    turn=0,
    flip=False,
    **options,
):
    """Writes frames of random rectangles, with times in units of 1/1000 s if they are given."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, form
        if turn or flip:
            stream.set_display_rotation(turn, hflip=flip)
        for index in range(count):
            pixels = np.full((*size, 3), 120, np.uint8)
            top, left = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
            pixels[top : top + 8, left : left + 8] = rng.choice([[230, 200, 60], [40, 60, 150]])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
                stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(path):
    with av.open(str(path)) as container:
        return [
            (frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(video=0)
        ]
