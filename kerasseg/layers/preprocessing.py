"""The input normalisation, inside the model so that it travels with the weights."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from .repeat_channels import RepeatChannels

# Channel means and standard deviations of ImageNet's training images, RGB in [0, 255].
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# Channel means of Caffe's ImageNet models, in their order BGR.
CAFFE_MEAN = (104.00699, 116.66877, 122.67892)

# Mean, standard deviation and channel order of the encoders' trainings.
PRESETS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD, "rgb"),
    "caffe": (CAFFE_MEAN, (1.0, 1.0, 1.0), "bgr"),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "rgb"),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "rgb"),
    "efficientnet_lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "rgb"),
}


@keras.saving.register_keras_serializable(package="kerasseg")
class Preprocessing(keras.layers.Layer):
    """Standardises an image: `(image - mean) / std`, for each channel, in float32.

    It computes in float32 under any policy, as the subtraction would lose the 8 bits of bfloat16.

    Args:
        mean: One value per channel, in the image's range [0, 255].
        std: One positive value per channel, in the same unit.
        channel_order: "rgb", or "bgr" for networks that take blue first; mean and std are in this
            order.

    Input: images `(batch, height, width, channels)`, any numeric dtype, RGB in [0, 255].
    Output: float32 of the same shape.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], channel_order: str = "rgb", **kwargs
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {channel_order!r}.")
        self.channel_order = channel_order
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                "mean and std must have one value per channel, std above 0, got "
                f"mean={tuple(mean)}, std={tuple(std)}."
            )
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)

    def build(self, input_shape):
        """Checks the number of channels, as a wrong number could be broadcast."""
        if input_shape[-1] != len(self.mean):
            raise ValueError(
                f"images must have {len(self.mean)} channels, one for each mean, "
                f"got the shape {tuple(input_shape)}."
            )

    def call(self, images):
        """Returns the standardised images."""
        if self.channel_order == "bgr":
            images = images[..., ::-1]
        return (tf.cast(images, tf.float32) - self.mean) / self.std

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mean": self.mean,
            "std": self.std,
            "channel_order": self.channel_order,
        }


def preprocess(images, preprocessing: str | None, of_encoder: str = "imagenet"):
    """Applies a named preprocessing at a model's entrance.

    Images that are not RGB are normalised by the values of red, green and blue in turn: channel i
    by those of colour i mod 3. Images of one or two channels become RGB first, by `RepeatChannels`,
    so that everything behind this is a network of RGB images, with its weights.

    Args:
        images: The model's input, `(batch, height, width, channels)`; in [0, 255] unless the caller
            normalises.
        preprocessing: A name in `PRESETS`, "encoder" for the encoder's own, or None when the caller
            normalises.
        of_encoder: Name of the encoder's own preprocessing.

    Returns:
        The tensor that the encoder sees: the input itself for None, otherwise normalised images
        with at least three channels.

    Raises:
        ValueError: If the name is unknown.
    """
    if preprocessing is None:
        return images
    preset = of_encoder if preprocessing == "encoder" else preprocessing
    if preset not in tuple(PRESETS):
        raise ValueError(
            f"preprocessing must be None, encoder or one of {', '.join(PRESETS)}, "
            f"got {preprocessing!r}."
        )
    mean, std, channel_order = PRESETS[preset]
    channels = images.shape[-1]
    if channels < 3:
        images = RepeatChannels(3, dtype="float32", name="repeat_channels")(images)
    elif channels > 3:
        # No order of the channels but that of the images: kernels are put in order instead.
        mean, std = (in_turn(values, channel_order, channels) for values in (mean, std))
        channel_order = "rgb"
    return Preprocessing(mean, std, channel_order, name="preprocessing")(images)


def in_turn(values: Sequence[float], channel_order: str, channels: int) -> tuple[float, ...]:
    """Repeats the values of red, green and blue for further channels.

    Args:
        values: One value per colour, in the order that `channel_order` says.
        channel_order: "rgb" or "bgr".
        channels: Number of values to return.

    Returns:
        For channel i the value of colour i mod 3, counted from red.
    """
    colors = values if channel_order == "rgb" else values[::-1]
    return tuple(colors[index % 3] for index in range(channels))
