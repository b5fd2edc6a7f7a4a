"""From images to their label maps, whole or in windows."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerasseg import inference, serving

from ..errors import ImageFileError
from ..images import given_images
from ..images.source_images import Stretch
from ..runs.crf import CRFParameters, refine
from ..runs.views import View, seen
from ..runtime.byte_sizes import describe
from . import strips
from .memory import Limit
from .strips import Tiling


class Predictor:
    """A network with its view and CRF, for images of all sizes.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        view: How it sees an image.
        crf: Parameters of the CRF; None for no CRF.
        crf_strip: Numbers of CRF iterations of further label maps, where 0 stands for no CRF.
        memory: Bytes of memory that the process may take, see `memory.Limit`.
        on_windows: Called with a sentence if an image is too large and is predicted in windows.
    """

    def __init__(
        self,
        model: keras.Model,
        view: View,
        crf: CRFParameters | None = None,
        crf_strip: Sequence[int] = (),
        memory: int | None = None,
        on_windows: Callable[[str], None] = lambda sentence: None,
    ):
        self._model, self._view, self._crf, self.crf_strip = model, view, crf, crf_strip
        self._classes = model.output_shape[-1]
        self._limit = Limit(model, view, crf, memory)
        self._on_windows = on_windows

    def labels(
        self, path: Path, image: np.ndarray, on_part: Callable[[float], None]
    ) -> list[np.ndarray]:
        """Predicts an image that is decoded.

        Args:
            path: The image's file, for messages.
            image: uint8 (height, width, 3), RGB.
            on_part: Called with the share of the image that is done, in [0, 1].

        Returns:
            Label maps, uint8 (height, width): the prediction, and one for each number in
            `crf_strip`.

        Raises:
            ImageFileError: If the network cannot take the image.
        """
        size = (image.shape[0], image.shape[1])
        tiling = self._limit.tiling(size)
        if tiling is None:
            with _naming(size):
                return [label.numpy() for label in self._whole(image)]
        self._refuse_strip()
        self._tell(path, size, tiling, f"as a whole it takes {describe(self._limit.needed(size))}")
        label, done = np.empty(size, np.uint8), 0
        for rows in self._rows(lambda top, end: image[top:end], size, tiling):
            label[done : done + len(rows)] = rows
            done += len(rows)
            on_part(done / size[0])
        return [label]

    def label_rows(
        self, path: Path, read: Callable[[int, int], np.ndarray], size: tuple[int, int]
    ) -> Iterator[np.ndarray]:
        """Predicts an image that is read by rows, see `strips.label_rows`.

        Args:
            path: The image's file, for messages.
            read: Function from a first row and the row after the last one to these rows.
            size: `(height, width)` of the image.

        Yields:
            The labels from top to bottom, uint8 (rows, width).

        Raises:
            ImageFileError: If not even small windows fit into the memory.
        """
        tiling = self._limit.tiling(size, decoded=False)
        assert tiling is not None
        self._refuse_strip()
        if any(side > window for side, window in zip(size, tiling.window, strict=True)):
            self._tell(path, size, tiling, "it is read in rows")
        yield from self._rows(read, size, tiling)

    def _refuse_strip(self) -> None:
        if self.crf_strip:
            raise ImageFileError(
                "image must fit into the memory as a whole for a CRF strip, got a larger one",
                "leave --crf-strip out, or give a larger --memory",
            )

    def _rows(self, read: Callable, size: tuple[int, int], tiling: Tiling) -> Iterator[np.ndarray]:
        with _naming(size):
            yield from strips.label_rows(read, size, self._logits, tiling, self._classes)

    def _tell(self, path: Path, size: tuple[int, int], tiling: Tiling, why: str) -> None:
        (height, width), (tall, wide), (down, across) = size, tiling.window, tiling.stride
        self._on_windows(
            f"{path}: {height} x {width} pixels are predicted in windows of {tall} x {wide} with a "
            f"stride of {down} x {across}, as {why}."
        )

    @functools.cached_property
    def _whole(self) -> Callable:
        """Function from an image, uint8 (height, width, 3), to its label maps.

        One graph serves images of all sizes.
        """
        compute_logits = inference.with_constant_weights(seen(self._model, self._view))
        steps = [self._crf and self._crf.num_iterations, *self.crf_strip]
        crf = self._crf or CRFParameters()
        layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

        def predict(image):
            batch = tf.cast(image[tf.newaxis], tf.float32)
            logits = compute_logits(batch, training=False)
            scores = [layer([batch, logits]) if layer else logits for layer in layers]
            return [inference.label_map(score[0]) for score in scores]

        return tf.function(predict, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])

    @functools.cached_property
    def _logits(self) -> Callable:
        """Function from windows, uint8 (windows, height, width, 3), to their logits."""
        model = self._model
        if not self._limit.keeps_windows:
            model = seen(model, self._view)
            model = refine(model, self._crf) if self._crf else model
        compute_logits = inference.with_constant_weights(model)
        call = tf.function(
            lambda windows: compute_logits(tf.cast(windows, tf.float32), training=False),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        )
        return lambda windows: call(windows).numpy()


@contextlib.contextmanager
def _naming(size: tuple[int, int]) -> Iterator[None]:
    """Turns errors of TensorFlow into one about an image of this size."""
    try:
        yield
    except tf.errors.OpError as error:
        what = f"the network cannot take {size[0]} x {size[1]} pixels"
        raise ImageFileError(what, error.message[:300]) from error


def read(path: Path, stretch: Stretch | None) -> np.ndarray:
    """Reads an image with the decoder of the SavedModels.

    Args:
        path: The file.
        stretch: Values that become black and white in images with more than 8 bits per channel;
            None refuses such images.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        ImageFileError: If the file cannot be read.
    """
    content = given_images.read(path, stretch)
    try:
        return serving.decode_pixels(content).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error
