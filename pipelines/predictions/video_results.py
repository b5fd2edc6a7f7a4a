"""Predictions of videos: a video of overlays, and the label map of each frame.

    NAME_overlay.mp4      the classes drawn over the video, without its sound
    NAME_labels/          the label map of each frame: 000001.png, 000002.png, ...

The frames of a video are decoded before their turn, and overlays drawn, compressed and written
after it, by threads beside the network. A few frames are in memory at any time.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kerasseg import atomic_files

from ..classes import ClassSpace
from ..errors import ImageFileError, InputError, writing_to
from ..images import figures, marks, output_names
from ..images.elsewhere import Image, name_of
from ..images.output_names import Output
from . import confidence, video_reading, video_writing
from .predictor import Predictor
from .result_files import Pictures
from .video_reading import Frame, VideoFrames
from .video_writing import OverlayVideo

OVERLAY, LABELS = "_overlay.mp4", "_labels"
ENDINGS = (LABELS, OVERLAY)
_CHANNELS = 3
_AHEAD, _DRAWERS = 8, 2  # frames that wait before and after the network, threads that draw
_MARK_BOX = (16).to_bytes(4, "big") + b"free"  # an MP4's box for 8 bytes that players skip


@dataclass(frozen=True)
class Progress:
    """How far the prediction of a video is.

    Attributes:
        video: The file.
        done: Number of frames that are predicted.
        count: Number of all frames; 0 if the file does not say it.
        seconds: Time since the first frame was asked for.
        is_finished: Whether all results are written.
    """

    video: Path
    done: int
    count: int
    seconds: float
    is_finished: bool = False

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Videos:
    """How videos of overlays are drawn and where results are written.

    Attributes:
        pictures: How overlays are drawn, the folder, and whether to replace foreign files.
    """

    pictures: Pictures

    def plan(self, videos: Iterable[tuple[Image, Path]]) -> list[Output]:
        """Names the results of all videos.

        Raises:
            InputError: If PyAV is missing, or results cannot have their names.
        """
        video_reading.require()
        plan = output_names.plan(
            videos, self.pictures.folder, ENDINGS, refuse_others=not self._overwrites
        )
        for item in plan:
            try:
                output_names.check_replaceable(self._inside(item), overwrite=self._overwrites)
            except ImageFileError as error:
                raise InputError(f"{error.what}; {error.cause}.") from error
        return plan

    def writing(self) -> AbstractContextManager["Videos"]:
        """Yields itself: the results of each video are complete on their own."""
        return nullcontext(self)

    def check_network(self, model: keras.Model) -> None:
        """Refuses a network that does not take RGB.

        Raises:
            InputError: If it takes other channels.
        """
        if (channels := model.input_shape[-1]) != _CHANNELS:
            raise InputError(
                f"network must take {_CHANNELS} channels, RGB, to predict videos, got {channels}."
            )

    @property
    def _overwrites(self) -> bool:
        return self.pictures.overwrite

    def _inside(self, item: Output) -> list[Path]:
        """Lists what is in an earlier folder of labels, which is replaced as a whole."""
        folder = item.file(LABELS)
        return sorted(folder.rglob("*")) if folder.is_dir() else []

    @contextmanager
    def new_results(self, item: Output) -> Iterator[tuple[Path, Path]]:
        """Yields temporary paths of overlay and folder of labels, which get their names at the end.

        Raises:
            ImageFileError: If they would replace a file that kerasseg did not write.
            InputError: If nothing can be written to the folder.
        """
        with writing_to(item.folder):
            item.folder.mkdir(parents=True, exist_ok=True)
            # What a run left that was killed: a film can be large.
            atomic_files.remove_leftovers(item.folder, files=False)
            with atomic_files.temporary_folder(item.folder) as temporary:
                overlay, labels = temporary / "overlay.mp4", temporary / "labels"
                labels.mkdir()
                yield overlay, labels
                _mark(overlay)
                with atomic_files.one_at_a_time(item.folder):
                    # Once more, as the prediction may have taken hours.
                    files = [item.file(OVERLAY), item.file(LABELS), *self._inside(item)]
                    output_names.check_replaceable(files, overwrite=self._overwrites)
                    atomic_files.replace(labels, item.file(LABELS))
                    atomic_files.replace(overlay, item.file(OVERLAY))


def _mark(video: Path) -> None:
    with video.open("ab") as file:
        file.write(_MARK_BOX)
    marks.mark_end(video)


def write(
    item: Output,
    predictor: Predictor,
    videos: Videos,
    classes: ClassSpace,
    *,
    min_confidence: float | None = None,
    on_part: Callable[[float], None] = lambda share: None,
    on_frames: Callable[[Progress], None] = lambda progress: None,
    on_notice: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Predicts a video and writes its results.

    Args:
        item: The place of the results.
        predictor: The network.
        videos: How results are written.
        classes: Names and colours of the classes.
        min_confidence: Pixels of a lower largest probability become 255; None for none.
        on_part: Called with the share of the frames that are predicted, in [0, 1].
        on_frames: Called after every few frames, and when all is written.
        on_notice: Called with a sentence about what the user should know of the video.

    Raises:
        ImageFileError: If the video cannot be read or predicted; nothing is written then.
        InputError: If nothing can be written to the folder.
    """
    path, done, begin = name_of(item.image), 0, time.monotonic()
    with (
        video_reading.opened(path) as frames,
        videos.new_results(item) as (overlay, labels),
        video_writing.new_video(overlay, frames) as video,
        _Workers(video, labels, videos.pictures, classes) as workers,
    ):
        for notice in _notices(path, frames):
            on_notice(notice)
        batch_size, predict = predictor.frames(path, frames.size)
        begin = time.monotonic()
        for batch in _batches(workers.ahead(frames), batch_size):
            found, measures = predict([frame.pixels for frame in batch])
            if min_confidence is not None and measures is not None:
                found = confidence.ignore_uncertain(found, measures, min_confidence)
            for frame, label in zip(batch, found, strict=True):
                done += 1
                workers.write(done, frame, label)
            on_part(min(done / frames.count, 1.0) if frames.count else 0.0)
            on_frames(Progress(path, done, frames.count, time.monotonic() - begin))
    on_frames(Progress(path, done, done, time.monotonic() - begin, is_finished=True))


def _notices(path: Path, frames: VideoFrames) -> Iterator[str]:
    size = video_writing.even(frames.size)
    if size != frames.size:
        yield (
            f"{path}: {frames.size[0]} x {frames.size[1]} pixels; the overlay has "
            f"{size[0]} x {size[1]}, as H.264 needs even sides: its last row or column is there "
            "twice. Label maps keep the size."
        )
    if frames.is_interlaced:
        yield (
            f"{path}: frames are interlaced and are predicted as they are; ffmpeg -vf yadif makes "
            "whole frames of them."
        )


def _batches(frames: Iterator[Frame], size: int) -> Iterator[Sequence[Frame]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch


class _Workers:
    """The threads beside the network: one decodes, some draw and compress, one encodes.

    Args:
        video: The overlay's video.
        labels: Folder of the label maps.
        pictures: How overlays are drawn.
        classes: Names and colours of the classes.
    """

    def __init__(self, video: OverlayVideo, labels: Path, pictures: Pictures, classes: ClassSpace):
        self._video, self._labels, self._classes = video, labels, classes
        self._mix = _table(pictures, classes)
        self._decoder = ThreadPoolExecutor(1, "decode")
        self._drawers = ThreadPoolExecutor(_DRAWERS, "draw")
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, kind, *_) -> None:
        """Waits until all is written; after an error, until each thread has ended its frame."""
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            for pool in (self._decoder, self._drawers, self._encoder):
                pool.shutdown(cancel_futures=True)

    def ahead(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yields frames that a thread decodes before they are asked for."""
        return _ahead(iter(frames), self._decoder)

    def write(self, number: int, frame: Frame, label: np.ndarray) -> None:
        """Draws and writes a frame; waits if the threads are far behind."""
        drawn = self._drawers.submit(self._draw, number, frame, label)
        self._waiting.append(self._encoder.submit(lambda: self._video.write(drawn.result())))
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def _draw(self, number: int, frame: Frame, label: np.ndarray) -> Frame:
        content = figures.png(figures.label_picture(label, self._classes), compress_level=1)
        (self._labels / f"{number:06}.png").write_bytes(marks.mark(content))
        return frame._replace(pixels=mixed(self._mix, frame.pixels, label))


def _ahead(frames: Iterator[Frame], pool: Executor) -> Iterator[Frame]:
    waiting = deque(pool.submit(next, frames, None) for _ in range(_AHEAD))
    while (frame := waiting.popleft().result()) is not None:
        waiting.append(pool.submit(next, frames, None))
        yield frame


def _table(pictures: Pictures, classes: ClassSpace) -> np.ndarray:
    """Draws every label over every value: the overlay's values, uint8 (3, 256 labels * 256)."""
    label, value = np.indices((256, 256)).astype(np.uint8)
    draw = pictures.drawing(classes)
    drawn = draw(np.repeat(value[..., np.newaxis], 3, axis=-1), label)
    return np.ascontiguousarray(drawn.reshape(-1, 3).T)


def mixed(table: np.ndarray, pixels: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Draws an overlay by a table, which takes an eighth of the time of its formula.

    Args:
        table: What the overlay has for each label and value, uint8 (3, 256 * 256).
        pixels: uint8 (height, width, 3).
        label: uint8 (height, width).
    """
    row = label.astype(np.uint16) << 8
    return np.stack([table[c].take(row | pixels[..., c]) for c in range(3)], axis=-1)
