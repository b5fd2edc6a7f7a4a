"""From images to their label maps, whole or in windows."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasseg import encoded_images, inference, serving

from ..errors import ImageFileError, InputError
from ..images import given_images
from ..images.elsewhere import Image
from ..images.source_images import Stretch
from ..runs.crf import CRFParameters, refine
from ..runs.views import View, seen
from ..runtime.byte_sizes import describe
from . import resized, strips
from .memory import Limit
from .strips import Tiling


class Predicted(NamedTuple):
    """An image and what was predicted for it.

    Attributes:
        image: uint8 or uint16 (height, width, channels).
        labels: uint8 (height, width) label maps: the prediction, then those of a strip.
        measures: float32 (height, width, 3), see `confidence`; None if not asked for.
    """

    image: np.ndarray
    labels: list[np.ndarray]
    measures: np.ndarray | None = None


class Predictor:
    """A network with its view and CRF, for images of all sizes.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        view: How it sees an image.
        crf: Parameters of the CRF; None for no CRF.
        crf_strip: Numbers of CRF iterations of further label maps, where 0 stands for no CRF.
        measure: Function from the scores of the classes, logits or the marginals of the CRF, to
            measures of confidence; None to compute none.
        memory: Bytes of memory that the process may take, see `memory.Limit`.
        on_windows: Called with a sentence if an image is too large and is predicted in windows.
        bits: Bits of a channel with which images are read, 8 or 16.

    Raises:
        InputError: If there is a CRF, and the model takes other images than RGB images.
    """

    def __init__(
        self,
        model: keras.Model,
        view: View,
        crf: CRFParameters | None = None,
        crf_strip: Sequence[int] = (),
        measure: Callable | None = None,
        memory: int | None = None,
        on_windows: Callable[[str], None] = lambda sentence: None,
        bits: int = 8,
    ):
        self._form = model.input_shape[-1], bits
        if (crf or crf_strip) and self._form[0] != 3:
            raise InputError(
                "images must be RGB for a CRF, which compares their colours, got images of "
                f"{self._form[0]} channels."
            )
        self._model, self._view, self._crf, self._strip = model, view, crf, crf_strip
        self._measure = measure
        self._classes = model.output_shape[-1]
        self._limit = Limit(model, view, crf, memory)
        self._on_windows = on_windows
        self._told = ""

    def predict(
        self, path: Image, stretch: Stretch | None, on_part: Callable[[float], None]
    ) -> Predicted:
        """Predicts an image.

        Args:
            path: The file, or an image that is no file.
            stretch: Values that become black and white in images with more than 8 bits per channel;
                None refuses such images.
            on_part: Called with the share of the image that is done, in [0, 1], if it is predicted
                in windows.

        Raises:
            ImageFileError: If the file cannot be read, or the network cannot take the image.
        """
        image = _read(path, stretch, *self._form)
        size = (image.shape[0], image.shape[1])
        if self._limit.fits(size):
            with _naming(size):
                labels, measures = self._whole(image)
            return Predicted(image, [label.numpy() for label in labels], _array(measures))
        label, measures = self._in_parts(path, image, on_part)
        return Predicted(image, [label], measures)

    def frames(
        self, path: Image, size: tuple[int, int]
    ) -> tuple[int, Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray | None]]]:
        """Prepares for the frames of a video.

        Args:
            path: The video, for messages.
            size: `(height, width)` of all frames.

        Returns:
            The number of frames that are best predicted together, and the function from such frames
            or fewer, each uint8 (height, width, 3), to labels, uint8 (frames, height, width), and
            measures, float32 (frames, height, width, 3) or None. It raises an ImageFileError if the
            network cannot take them.
        """
        if not self._limit.fits(size):

            def in_parts(frames):
                found = [self._in_parts(path, frame, lambda share: None) for frame in frames]
                labels, measures = zip(*found, strict=True)
                return np.stack(labels), np.stack(measures) if self._measure else None

            return 1, in_parts
        compute = self._compute
        whole = tf.function(
            lambda images: compute(tf.cast(images, tf.float32)),
            input_signature=[tf.TensorSpec((None, *size, 3), tf.uint8)],
        )

        def together(frames):
            with _naming(size):
                (labels, *_), measures = whole(np.stack(frames))
                return labels.numpy(), _array(measures)

        return self._limit.batch_size(size), together

    def _in_parts(
        self, path: Image, image: np.ndarray, on_part: Callable[[float], None]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Predicts an image that is too large for the memory."""
        size = (image.shape[0], image.shape[1])
        why = f"the whole would take {describe(self._limit.needed(size))}"
        label, measures, done = np.empty(size, np.uint8), None, 0
        if self._measure:
            measures = np.empty((*size, 3), np.float32)
        for rows, measured in self._rows(path, lambda top, end: image[top:end], size, why):
            label[done : done + len(rows)] = rows
            if measures is not None:
                measures[done : done + len(rows)] = measured
            done += len(rows)
            on_part(done / size[0])
        return label, measures

    def rows(
        self, path: Image, read: Callable[[int, int], np.ndarray], size: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Predicts an image that is read by rows, see `strips.predict_rows`.

        Args:
            path: The image's file, for messages.
            read: Function from a first row and the row after the last one to these rows.
            size: `(height, width)` of the image.

        Yields:
            Labels, uint8 (rows, width), and measures, float32 (rows, width, 3) or None.

        Raises:
            ImageFileError: If not even small windows fit into the memory.
        """
        yield from self._rows(path, read, size, "the file is read in rows", decoded=False)

    def _rows(
        self, path: Image, read: Callable, size: tuple[int, int], why: str, decoded: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if self._strip:
            raise ImageFileError(
                "image must fit into the memory as a whole for a CRF strip, got a larger one",
                "leave --crf-strip out, or give a larger --memory",
            )
        small_size = self._limit.small_size(size)
        if small_size is None:
            tiling = self._limit.tiling(size, decoded=decoded)
            if any(side > window for side, window in zip(size, tiling.window, strict=True)):
                self._tell(path, size, f"in {_describe(tiling)}, as {why}")
            parts = strips.predict_rows(
                read, size, self._logits, tiling, self._classes, self._decide
            )
        else:
            # At another scale the network would see what is made from the small image.
            scales = "" if tuple(self._view.scales) == (1.0,) else "scales"
            if asked := "a CRF" if self._crf else scales:
                raise ImageFileError(
                    f"image must fit into the memory as a whole for {asked} behind a network that "
                    "resizes images, got a larger one",
                    f"leave {'--crf' if self._crf else '--scales'} out, or give a larger --memory",
                )
            self._tell(path, size, f"at {small_size[0]} x {small_size[1]}, as {why}")
            rows = lambda top, end: _to_float(read(top, end))  # noqa: E731
            parts = resized.predict_rows(rows, size, small_size, self._logits, self._decide)
        with _naming(size):
            for label, *measures in parts:
                yield label, measures[0] if measures else None

    def _tell(self, path: Image, size: tuple[int, int], how: str) -> None:
        sentence = f"{path}: {size[0]} x {size[1]} pixels are predicted {how}."
        if sentence != self._told:  # once for all frames of a video
            self._told = sentence
            self._on_windows(sentence)

    def _decide(self, scores: np.ndarray) -> list[np.ndarray]:
        """Chooses labels by blended logits, which are logarithms of marginals after a CRF."""
        labels = strips.label_map(scores)
        if self._measure is None:
            return labels
        measured = self._measure(tf.nn.softmax(scores) if self._refines else scores)
        return [*labels, measured.numpy()]

    @property
    def _refines(self) -> bool:
        """Whether scores are marginals of the CRF: without an iteration, they are logits."""
        return self._crf is not None and self._crf.num_iterations > 0

    @functools.cached_property
    def _whole(self) -> Callable:
        """Function from an image, (height, width, channels), to label maps and measures or None.

        One graph serves images of all sizes.
        """
        compute = self._compute

        def predict(image):
            labels, measures = compute(encoded_images.to_float(image[tf.newaxis]))
            return [label[0] for label in labels], None if measures is None else measures[0]

        channels, bits = self._form
        image = tf.TensorSpec((None, None, channels), f"uint{bits}")
        return tf.function(predict, input_signature=[image])

    @functools.cached_property
    def _compute(self) -> Callable:
        """Function from images, (batch, height, width, channels), to label maps and measures."""
        compute_logits = inference.with_constant_weights(seen(self._model, self._view))
        steps = [self._crf and self._crf.num_iterations, *self._strip]
        crf = self._crf or CRFParameters()
        layers = [replace(crf, num_iterations=step).layer() if step else None for step in steps]

        def compute(images):
            logits = compute_logits(images, training=False)
            scores = [layer([images, logits]) if layer else logits for layer in layers]
            labels = [inference.label_map(score) for score in scores]
            return labels, self._measure(scores[0]) if self._measure else None

        return compute

    @functools.cached_property
    def _logits(self) -> Callable:
        """Function from windows, (windows, height, width, channels), to their logits."""
        model = self._model
        if not self._limit.keeps_windows:
            model = seen(model, self._view)
            model = refine(model, self._crf) if self._crf and self._refines else model
        compute_logits = inference.with_constant_weights(model)
        call = tf.function(
            lambda windows: compute_logits(windows, training=False),
            input_signature=[tf.TensorSpec((None, None, None, self._form[0]), tf.float32)],
        )
        return lambda windows: call(_to_float(windows)).numpy()


def _describe(tiling: Tiling) -> str:
    (height, width), (down, across) = tiling.window, tiling.stride
    return f"windows of {height} x {width} with a stride of {down} x {across}"


@contextlib.contextmanager
def _naming(size: tuple[int, int]) -> Iterator[None]:
    """Turns errors of TensorFlow into one about an image of this size."""
    try:
        yield
    except tf.errors.OpError as error:
        what = f"the network cannot take {size[0]} x {size[1]} pixels"
        cause = error.message[:300]
        if isinstance(error, tf.errors.ResourceExhaustedError):
            cause = "too little memory for it: give --window, or a smaller --memory"
        raise ImageFileError(what, cause) from error


def _array(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy()


def _to_float(pixels: np.ndarray) -> np.ndarray:
    """Brings integers to [0, 255] as `encoded_images.to_float` does it."""
    values = pixels.astype(np.float32)
    return values / np.float32(257) if pixels.dtype == np.uint16 else values


def _read(path: Image, stretch: Stretch | None, channels: int, bits: int) -> np.ndarray:
    """Reads an image, (height, width, channels), with the decoder of the SavedModels."""
    content = given_images.read(path, stretch, channels, bits)
    try:
        return serving.decode_pixels(content, channels, bits).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ImageFileError("image cannot be decoded", str(error.message)) from error
