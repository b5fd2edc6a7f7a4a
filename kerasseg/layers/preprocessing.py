"""The input normalisation, inside the model so that it travels with the weights."""

from collections.abc import Sequence

import keras
import tensorflow as tf

# Channel means and standard deviations of ImageNet's training images, RGB in [0, 255].
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

PRESETS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD)}


@keras.saving.register_keras_serializable(package="kerasseg")
class Preprocessing(keras.layers.Layer):
    """Standardises an image: `(image - mean) / std`, a channel at a time, in float32.

    Float32 whatever the policy: bfloat16 has 8 bits of precision, which the subtraction would lose.

    Args:
        mean: One value a channel, in the image's range [0, 255].
        std: One positive value a channel, in the same unit.

    Input: images `(batch, height, width, channels)`, any numeric dtype, RGB in [0, 255].
    Output: float32 of the same shape.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                "mean and std must have one value a channel, std above 0, "
                f"got mean={tuple(mean)}, std={tuple(std)}."
            )
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    def call(self, images):
        """Returns the standardised images."""
        return (tf.cast(images, tf.float32) - self.mean) / self.std

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def preprocess(images, preprocessing: str | None):
    """Applies a named preprocessing at a model's entrance.

    Args:
        images: The model's input, `(batch, height, width, 3)`.
        preprocessing: A name in `PRESETS`, or None when the caller normalises.

    Returns:
        The tensor that the encoder sees.

    Raises:
        ValueError: If the name is unknown.
    """
    if preprocessing is None:
        return images
    if preprocessing not in PRESETS:
        raise ValueError(
            f"preprocessing must be None or one of {sorted(PRESETS)}, got {preprocessing!r}."
        )
    mean, std = PRESETS[preprocessing]
    return Preprocessing(mean, std, name="preprocessing")(images)
