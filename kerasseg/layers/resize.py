"""Spatial sizes at run time: resize, pad and crop a map to the size of another.

Keras' own `UpSampling2D("bilinear")` and `keras.ops.image.resize` fail in graphs and in exports
when height and width are unknown, and segmentation models take images of any size.
"""

import keras
import tensorflow as tf

from .. import placement


class _LikeReference(keras.layers.Layer):
    """Base of the layers called on `(features, reference)` that give the reference's size."""

    def compute_output_shape(self, features_shape, reference_shape):
        """Returns the features' batch and channels, at the reference's height and width."""
        return (features_shape[0], *reference_shape[1:3], features_shape[-1])

    def _with_static_shape(self, result, features, reference):
        result.set_shape((features.shape[0], *reference.shape[1:3], features.shape[-1]))
        return result


@keras.saving.register_keras_serializable(package="kerasseg")
class ResizeLike(_LikeReference):
    """Resizes features bilinearly to the height and width of a reference, without antialiasing.

    Args:
        align_corners: Where the pixel centres of both sizes meet: in the corners if True (Caffe's
            and the first DeepLabs' way), at half-integers if False (the usual one). PyTorch's
            argument of the same name.

    Input: `features` (batch, height, width, channels) and `reference` (batch, H, W, any).
    Output: (batch, H, W, channels), in the layer's compute dtype.
    """

    def __init__(self, align_corners: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.align_corners = align_corners

    def call(self, features, reference):
        """Returns the features at the reference's size."""
        resized = resize_bilinear(features, tf.shape(reference)[1:3], self.align_corners)
        return self._with_static_shape(tf.cast(resized, self.compute_dtype), features, reference)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "align_corners": self.align_corners}


@keras.saving.register_keras_serializable(package="kerasseg")
class Upsample(keras.layers.Layer):
    """Enlarges features bilinearly by a whole factor.

    Args:
        factor: Output side / input side.
        align_corners: As for `ResizeLike`.

    Input: features (batch, height, width, channels).
    Output: (batch, factor * height, factor * width, channels), in the layer's compute dtype.
    """

    def __init__(self, factor: int, align_corners: bool = False, **kwargs):
        super().__init__(**kwargs)
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}.")
        self.factor = factor
        self.align_corners = align_corners

    def call(self, features):
        """Returns the enlarged features."""
        size = tf.shape(features)[1:3] * self.factor
        resized = tf.cast(resize_bilinear(features, size, self.align_corners), self.compute_dtype)
        resized.set_shape(self.compute_output_shape(features.shape))
        return resized

    def compute_output_shape(self, input_shape):
        """Returns the enlarged shape."""
        sides = [None if side is None else side * self.factor for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "align_corners": self.align_corners,
        }


def resize_bilinear(features, size, align_corners: bool):
    """Resizes features bilinearly, in float32.

    Args:
        features: `(batch, height, width, channels)`.
        size: int32 tensor `[height, width]`.
        align_corners: As for `ResizeLike`.

    Returns:
        float32 `(batch, *size, channels)`.
    """
    if not align_corners:
        return tf.image.resize(features, size, "bilinear")
    # The only operation with aligned corners; tf.image.resize dropped them.
    return tf.raw_ops.ResizeBilinear(images=features, size=size, align_corners=True)


def _window(features, top, left, height, width):
    # Not by indexing: the gradient of a strided slice takes several times as long.
    return tf.slice(features, [0, top, left, 0], [-1, height, width, -1])


@keras.saving.register_keras_serializable(package="kerasseg")
class PadLike(_LikeReference):
    """Pads features with zeros to the height and width of a larger reference.

    The smaller half of the padding goes to the top and left, the larger to the bottom and right.

    Input: `features` (batch, height, width, channels) and `reference` (batch, H, W, any), with
        H >= height and W >= width.
    Output: (batch, H, W, channels).
    """

    def call(self, features, reference):
        """Returns the padded features."""
        missing = tf.shape(reference)[1:3] - tf.shape(features)[1:3]
        before = missing // 2
        sides = tf.stack([before, missing - before], axis=1)
        padded = tf.pad(features, tf.pad(sides, [[1, 1], [0, 0]]))
        return self._with_static_shape(padded, features, reference)


@keras.saving.register_keras_serializable(package="kerasseg")
class PadToMultiple(keras.layers.Layer):
    """Pads images with zeros at the bottom and right to sides of k * multiple + extra pixels.

    Args:
        multiple: At least 1.
        extra: In [0, multiple): 1 for networks with aligned corners, whose features of stride
            `multiple` then lie on the pixels 0, `multiple`, 2 `multiple` and so on, to the last.

    Input: images (batch, height, width, channels).
    Output: (batch, H, W, channels).
    """

    def __init__(self, multiple: int, extra: int = 0, **kwargs):
        super().__init__(**kwargs)
        if multiple < 1 or not 0 <= extra < multiple:
            raise ValueError(
                "multiple must be at least 1 and extra in [0, multiple), "
                f"got multiple={multiple}, extra={extra}."
            )
        self.multiple = multiple
        self.extra = extra

    def call(self, images):
        """Returns the padded images."""
        height, width = tf.unstack(self._missing(tf.shape(images)[1:3]))
        padded = tf.pad(images, [[0, 0], [0, height], [0, width], [0, 0]])
        padded.set_shape(self.compute_output_shape(images.shape))
        return padded

    def _missing(self, side):
        return (self.extra - side) % self.multiple

    def compute_output_shape(self, input_shape):
        """Returns the padded shape."""
        sides = [None if s is None else s + self._missing(s) for s in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "multiple": self.multiple, "extra": self.extra}


@keras.saving.register_keras_serializable(package="kerasseg")
class CenterCropLike(_LikeReference):
    """Cuts the centre of features to the height and width of a smaller reference.

    Input: `features` (batch, height, width, channels) and `reference` (batch, H, W, any), with
        H <= height and W <= width.
    Output: (batch, H, W, channels).
    """

    def call(self, features, reference):
        """Returns the central window."""
        size = tf.shape(reference)[1:3]
        top, left = tf.unstack((tf.shape(features)[1:3] - size) // 2)
        window = _window(features, top, left, size[0], size[1])
        return self._with_static_shape(window, features, reference)


@keras.saving.register_keras_serializable(package="kerasseg")
class CropLike(_LikeReference):
    """Cuts a window of the size of a smaller reference out of features, at a fixed offset.

    Args:
        offset: Rows and columns left out at the top and left.
        stride: What the reference's sides are divided by, rounded up, to give those of the window.

    Input: `features` (batch, height, width, channels) and `reference` (batch, H, W, any), with
        H / stride + offset <= height and W / stride + offset <= width.
    Output: (batch, ceil(H / stride), ceil(W / stride), channels).
    """

    def __init__(self, offset: int, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        if offset < 0 or stride < 1:
            raise ValueError(
                "offset must be at least 0 and stride at least 1, "
                f"got offset={offset}, stride={stride}."
            )
        self.offset = offset
        self.stride = stride

    def call(self, features, reference):
        """Returns the window."""
        height, width = tf.unstack(-(-tf.shape(reference)[1:3] // self.stride))
        window = _window(features, self.offset, self.offset, height, width)
        window.set_shape(self.compute_output_shape(features.shape, reference.shape))
        return window

    def compute_output_shape(self, features_shape, reference_shape):
        """Returns the features' batch and channels, at the window's height and width."""
        sides = [None if side is None else -(-side // self.stride) for side in reference_shape[1:3]]
        return (features_shape[0], *sides, features_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "offset": self.offset, "stride": self.stride}


@keras.saving.register_keras_serializable(package="kerasseg")
class FitWithin(keras.layers.Layer):
    """Resizes images bilinearly to the largest size within a box, keeping their aspect ratio.

    Args:
        size: `(height, width)` of the box, in pixels. Smaller images grow, larger ones shrink.

    Input: images (batch, height, width, channels).
    Output: float32 (batch, h, w, channels), h <= size[0] and w <= size[1], one of them equal.
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size must be (height, width), both at least 1, got {size}.")
        self.size = (int(size[0]), int(size[1]))

    def call(self, images):
        """Returns the resized images."""
        fitted = fitted_size(tf.shape(images)[1:3], self.size)
        return tf.image.resize(images, fitted, "bilinear")

    def compute_output_shape(self, input_shape):
        """Returns the shape with height and width unknown: they depend on the aspect ratio."""
        return (input_shape[0], None, None, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "size": self.size}


def fitted_size(image_size, box: tuple[int, int]):
    """Computes the size of an image scaled to fit a box.

    Args:
        image_size: int32 tensor `[height, width]`.
        box: `(height, width)` of the box.

    Returns:
        int32 tensor `[height, width]`, each at least 1.
    """
    with placement.on_host():
        image_size = tf.cast(image_size, tf.float32)
        scale = tf.reduce_min(tf.constant(box, tf.float32) / image_size)
        return tf.maximum(tf.cast(tf.round(image_size * scale), tf.int32), 1)
