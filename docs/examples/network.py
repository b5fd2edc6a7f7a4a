"""A network of your own: a small encoder and decoder, with a layer of its own.

kerasseg fit --model docs/examples/network.py:build --model-option filters=16 --data DATA --run RUN
kerasseg evaluate RUN --code docs/examples/network.py
"""

import keras
from keras import layers

from kerasseg.layers import BatchNormalization, PadToMultiple, ResizeLike


class ChannelAttention(layers.Layer):
    """Weighs channels by what they hold on average (Hu et al. 2018, squeeze and excitation).

    Args:
        reduction: Channels per channel of the layer between.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, reduction: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, input_shape):
        """Makes the two dense layers."""
        channels = input_shape[-1]
        self.squeeze = layers.Dense(channels // self.reduction, "relu")
        self.excite = layers.Dense(channels, "sigmoid")
        self.squeeze.build((None, channels))
        self.excite.build((None, channels // self.reduction))

    def call(self, features):
        """Returns features of the same shape."""
        means = keras.ops.mean(features, axis=(1, 2), keepdims=True)
        return features * self.excite(self.squeeze(means))

    def get_config(self):
        """Returns the constructor's arguments: without them the layer cannot be loaded."""
        return {**super().get_config(), "reduction": self.reduction}


def build(*, num_classes: int, input_shape: tuple, filters: int = 16) -> keras.Model:
    """Builds the network.

    Args:
        num_classes: Number of output channels.
        input_shape: (None, None, channels): images of any height and width, such as RGB.
        filters: Channels of the first stage, from --model-option filters=N.

    Returns:
        A model from images (batch, height, width, channels) in [0, 255] to logits (batch,
        height, width, num_classes), float32, without softmax.
    """
    images = keras.Input(input_shape, name="image")
    features = layers.Rescaling(1 / 127.5, offset=-1)(images)
    # Sides that can be halved; what is padded is cut off by the last layer.
    features = PadToMultiple(4)(features)
    # Layers whose names begin with encoder_ follow --encoder-learning-rate-factor and
    # --batch-norm frozen-encoder.
    skip = _block(features, filters, 2, "encoder_first")
    deep = _block(skip, 2 * filters, 2, "encoder_second")
    deep = ChannelAttention(name="attention")(deep)
    features = ResizeLike()(deep, skip)
    features = layers.Concatenate()([features, skip])
    features = _block(features, filters, 1, "decoder")
    # float32 also where --dtype-policy computes in 16 bits.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(features)
    return keras.Model(images, ResizeLike(dtype="float32")(logits, images), name="small")


def _block(features, filters: int, strides: int, name: str):
    features = layers.Conv2D(
        filters, 3, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(features)
    features = BatchNormalization(name=f"{name}_bn")(features)
    return layers.ReLU(name=f"{name}_relu")(features)
