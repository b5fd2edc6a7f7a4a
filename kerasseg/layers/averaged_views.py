"""Networks that see an image in several sizes and mirrored, whose probabilities are averaged."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from .. import placement
from .network_wrapper import NetworkWrapper
from .resize import fitted_size, resize_bilinear

# The limit of `inference.refined`.
_SMALLEST = 1e-20
LARGEST_SCALE = 100  # no image of such a side needs 32 bits


@keras.saving.register_keras_serializable(package="kerasseg")
class AveragedViews(NetworkWrapper):
    """Averages the probabilities of a network over scaled and mirrored views of an image.

    For each scale, and with `flip` also for the mirrored image, the image is resized bilinearly and
    without antialiasing (`scaled_size` has the rounding), the logits are mirrored back, resized to
    the size of the image and turned into probabilities by softmax. The result is the logarithm of
    the mean of all probabilities. This is test-time augmentation as OpenMMLab does it, except that
    OpenCV rounds resized images to whole intensities. For inference only.

    Args:
        network: Model from images (batch, height, width, channels) of any size to logits of that
            size.
        scales: Factors of the image's sides, above 0 and at most `LARGEST_SCALE`.
        flip: Whether each view is also mirrored left to right.
        box: `(height, width)` that images are resized to fit at scale 1, as by `FitWithin`; None
            for their own size.
        **kwargs: As for `keras.layers.Layer`.

    Input: images (batch, height, width, channels).
    Output: float32 (batch, height, width, classes), whose softmax is the mean probabilities.

    Raises:
        ValueError: If there is no scale or one is out of range.
    """

    def __init__(
        self,
        network: keras.Model,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        box: tuple[int, int] | None = None,
        **kwargs,
    ):
        super().__init__(network, **kwargs)
        check_scales(scales)
        self.scales = tuple(float(scale) for scale in scales)
        self.flip = bool(flip)
        self.box = None if box is None else (int(box[0]), int(box[1]))

    def call(self, images):
        """Returns the logarithm of the mean probabilities."""
        images = tf.cast(images, tf.float32)
        mirrors = 2 if self.flip else 1
        scales = tf.constant(self.scales, tf.float64)

        # A loop, so that the network is in the graph once.
        def step(index, total):
            logits = self._view(images, scales[index // mirrors], index % mirrors == 1)
            return index + 1, total + tf.nn.softmax(logits)

        shape = self.compute_output_shape(images.shape)
        total = tf.zeros((*tf.unstack(tf.shape(images)[:3]), shape[-1]), tf.float32)
        count = len(self.scales) * mirrors
        _, total = tf.while_loop(
            lambda index, total: index < count,
            step,
            (0, total),
            (tf.TensorShape(()), tf.TensorShape((None, None, None, shape[-1]))),
            parallel_iterations=1,
        )
        return tf.ensure_shape(tf.math.log(tf.maximum(total / count, _SMALLEST)), shape)

    def _view(self, images, scale, mirrored):
        size = tf.shape(images)[1:3]
        # In one step from the image, whose details a large scale keeps.
        scaled = scaled_size(fitted_size(size, self.box) if self.box else size, scale)
        view = _mirror(tf.image.resize(images, scaled, "bilinear"), mirrored)
        logits = _mirror(tf.cast(self.network(view, training=False), tf.float32), mirrored)
        return resize_bilinear(logits, size, align_corners=False)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "scales": self.scales,
            "flip": self.flip,
            "box": self.box,
        }


def _mirror(maps, mirrored):
    return tf.cond(mirrored, lambda: tf.reverse(maps, [2]), lambda: tf.identity(maps))


def scaled_size(size, scale):
    """Computes the size of an image at a scale, as OpenMMLab does with a kept aspect ratio.

    Both sides are multiplied by the scale and rounded, halves up. Of the two factors that the long
    and the short side thereby get, the smaller one multiplies the sides of the image, again rounded
    with halves up.

    Args:
        size: int32 tensor `[height, width]`.
        scale: Factor, float64.

    Returns:
        int32 tensor `[height, width]`, each at least 1.
    """
    with placement.on_host():
        sides = tf.cast(size, tf.float64)
        wanted = tf.floor(sides * scale + 0.5)
        long = tf.reduce_max(wanted) / tf.reduce_max(sides)
        short = tf.reduce_min(wanted) / tf.reduce_min(sides)
        scaled = tf.floor(sides * tf.minimum(long, short) + 0.5)
        return tf.maximum(tf.cast(scaled, tf.int32), 1)


def check_scales(scales: Sequence[float]) -> None:
    """Checks factors of an image's sides.

    Raises:
        ValueError: If there is none, or one is not above 0 and at most `LARGEST_SCALE`.
    """
    if not scales or not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise ValueError(
            f"scales must be numbers above 0 and at most {LARGEST_SCALE}, at least one, got "
            f"{tuple(scales)}."
        )
