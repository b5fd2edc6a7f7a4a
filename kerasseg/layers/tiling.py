"""The mirrored border that U-Net's valid convolutions eat (its "overlap-tile strategy")."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class MirrorPadForValidConvolutions(keras.layers.Layer):
    """Extends images by mirroring, so that a valid U-Net's output covers the whole image.

    A U-Net of depth D with two 3 x 3 valid convolutions a level maps an input of side
    `2^D m + b` to an output of side `2^D m + b - border`, for whole m; other sizes break its
    2 x 2 poolings. This pads each side to the smallest such input whose output is no smaller than
    the image (for D = 4: 572 -> 388, as in figure 1 of the paper).

    Args:
        depth: Number of 2 x 2 poolings, at least 1.

    Input: images (batch, height, width, channels), of any size.
    Output: (batch, H, W, channels), the image in the centre (larger half at bottom and right).

    Reference:
        Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation,
        MICCAI 2015, section 2 and figure 2. https://arxiv.org/abs/1505.04597
    """

    def __init__(self, depth: int, **kwargs):
        super().__init__(**kwargs)
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}.")
        self.depth = depth

    def call(self, images):
        """Returns the extended images."""
        for axis in (1, 2):
            images = self._extend(images, axis)
        return images

    def _extend(self, images, axis: int):
        size = tf.shape(images)[axis]
        padded = padded_size(size, self.depth)
        # Indices run over the image and back ("0 1 2 3 2 1 0 1 ..."): tf.pad's REFLECT refuses a
        # border as large as the image.
        position = tf.range(padded) - (padded - size) // 2
        period = tf.maximum(2 * (size - 1), 1)
        folded = tf.math.floormod(position, period)
        return tf.gather(
            images, tf.math.floormod(tf.minimum(folded, period - folded), size), axis=axis
        )

    def compute_output_shape(self, input_shape):
        """Returns the padded shape, unknown where the input's is."""
        sides = [None if s is None else int(padded_size(s, self.depth)) for s in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "depth": self.depth}


def padded_size(size, depth: int):
    """Computes the side of the input whose valid output has a side of at least `size`.

    Args:
        size: Side of the image, an int or an int32 tensor.
        depth: Number of poolings D.

    Returns:
        `2^D * ceil((size - inner) / 2^D) + inner + border`, where an output has sides
        `2^D m + inner` and is `border` smaller than its input.
    """
    unit = 2**depth
    # Going up from a bottom of side m, each level doubles the side and its convolutions take 4.
    inner = 0
    for _ in range(depth):
        inner = 2 * inner - 4
    # Each level takes 4 going down and 4 going up at its own scale; the bottom takes 4 once.
    border = sum(8 * 2**level for level in range(depth)) + 4 * unit
    return unit * -((inner - size) // unit) + inner + border
