"""Convolutions centred on their pixel, with dilated ones at full speed."""

import math
from typing import Any

import keras
import tensorflow as tf

from . import activations, convolution_on_cpu
from .normalization import BatchNormalization

# Standard deviation of a standard normal distribution cut off at two standard deviations.
_TRUNCATION = 0.87962566103423978


def _symmetric_padding(kernel_size, dilation_rate) -> list[tuple[int, int]]:
    """Returns the number of zeros on each side of rows and columns."""
    return [
        (rate * (size - 1) // 2,) * 2 for size, rate in zip(kernel_size, dilation_rate, strict=True)
    ]


def _he_normal_of_one_channel(kernel_size):
    taps = kernel_size**2 if isinstance(kernel_size, int) else math.prod(kernel_size)
    return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0 / taps) / _TRUNCATION)


def _padded_shape(input_shape, padding):
    sides = [
        None if side is None else side + before + after
        for side, (before, after) in zip(input_shape[1:3], padding, strict=True)
    ]
    return (input_shape[0], *sides, input_shape[-1])


class _SymmetricPadding:
    """Mixed into Keras' convolutions: adds `padding="symmetric"`.

    For a strided convolution of an even size, Keras' "same" puts one zero more at the bottom and
    right. That is half a pixel off from Caffe and PyTorch, in which the published networks were
    trained.
    """

    def _read_padding(self, padding: str) -> str:
        self.symmetric = padding == "symmetric"
        return "valid" if self.symmetric else padding

    def _pad(self, features):
        this: Any = self
        # Without a stride TensorFlow's own padding is the same and saves a copy.
        centred = max(this.strides) == 1 and all(size % 2 for size in this.kernel_size)
        if not self.symmetric and not (centred and this.padding == "same"):
            return features, this.padding.upper()
        if centred and not self._must_pad():
            return features, "SAME"
        padding = _symmetric_padding(this.kernel_size, this.dilation_rate)
        return tf.pad(features, [(0, 0), *padding, (0, 0)]), "VALID"

    def _must_pad(self) -> bool:
        """Tells whether zeros must be written out in spite of their copy."""
        return False

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        this: Any = self
        if self.symmetric:
            padding = _symmetric_padding(this.kernel_size, this.dilation_rate)
            input_shape = _padded_shape(input_shape, padding)
        return super().compute_output_shape(input_shape)  # pyright: ignore

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue]
        return {**config, "padding": "symmetric"} if self.symmetric else config


@keras.saving.register_keras_serializable(package="kerasseg")
class Conv2D(_SymmetricPadding, keras.layers.Conv2D):
    """Convolution with TensorFlow's native operation, dilated or not.

    Keras' layer computes a dilated convolution as an undilated one over rearranged batches, which
    takes 5 to 100 times as long and several times the memory.

    Args:
        filters: Number of output channels.
        kernel_size: Side of the kernel, or `(height, width)`.
        strides: Step, the same along both axes.
        padding: "symmetric" (equally many zeros on all sides, so that stride 1 keeps the size), or
            Keras' "same" and "valid".
        kernel_initializer: Initializer of the kernel.
        **kwargs: Further arguments of `keras.layers.Conv2D`, such as `dilation_rate`, the distance
            between neighbouring taps.

    Input: features (batch, height, width, channels).
    Output: (batch, ceil(height / strides), ceil(width / strides), filters) if not "valid".
    """

    def __init__(
        self,
        filters: int,
        kernel_size,
        strides=1,
        padding: str = "symmetric",
        kernel_initializer: Any = "he_normal",
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=self._read_padding(padding),
            kernel_initializer=kernel_initializer,
            **kwargs,
        )

    def call(self, inputs):
        """Returns the convolved features."""
        features, padding = self._pad(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        outputs: Any
        if not convolution_on_cpu.is_wanted():
            strides, rate = list(self.strides), list(self.dilation_rate)
            outputs = tf.nn.conv2d(features, kernel, strides, padding, dilations=rate)
        elif self.groups == 1:
            outputs = self._convolve_on_cpu(features, kernel, padding)
        else:
            # Not every CPU has a gradient for convolutions in groups.
            of_features, of_kernel = (tf.split(x, self.groups, axis=-1) for x in (features, kernel))
            pairs = zip(of_features, of_kernel, strict=True)
            outputs = tf.concat([self._convolve_on_cpu(x, k, padding) for x, k in pairs], axis=-1)
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs) if self.activation is not None else outputs

    def _convolve_on_cpu(self, features, kernel, padding) -> Any:
        strides, rate = list(self.strides), list(self.dilation_rate)
        odd = all(side % 2 for side in self.kernel_size)
        if odd and padding == "SAME" and max(strides) == 1:
            return convolution_on_cpu.convolution(features, kernel, rate)
        # With a dilation this is slow, but has a gradient on every CPU.
        return tf.nn.convolution(features, kernel, strides, padding, dilations=rate)


@keras.saving.register_keras_serializable(package="kerasseg")
class DepthwiseConv2D(_SymmetricPadding, keras.layers.DepthwiseConv2D):
    """Depthwise convolution: one filter per channel.

    Dilated ones use slow rearranged batches, because TensorFlow's native operation takes a dilation
    in one CPU library only, where its gradient is silently that of rate 1.

    Args:
        kernel_size: Side of the kernel, or `(height, width)`.
        strides: Step, the same along both axes; 1 if dilated.
        padding: "symmetric", "same" or "valid", as for `Conv2D`.
        depthwise_initializer: Initializer of the kernel; None for He's normal distribution over the
            real inputs of an output, the taps of one channel. (Keras' "he_normal" counts the taps
            of all channels, so its depthwise kernels start smaller by the root of their number.)
        **kwargs: Further arguments of `keras.layers.DepthwiseConv2D`.

    Input: features (batch, height, width, channels).
    Output: (batch, ceil(height / strides), ceil(width / strides), channels) if not "valid".
    """

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding: str = "symmetric",
        depthwise_initializer: Any = None,
        **kwargs,
    ):
        if depthwise_initializer is None:
            depthwise_initializer = _he_normal_of_one_channel(kernel_size)
        super().__init__(
            kernel_size,
            strides=strides,
            padding=self._read_padding(padding),
            depthwise_initializer=depthwise_initializer,
            **kwargs,
        )

    def _must_pad(self) -> bool:
        # tf2onnx finds the dilated convolution in rearranged batches only if nothing is padded.
        return convolution_on_cpu.is_native() and max(self.dilation_rate) > 1

    def call(self, inputs):
        """Returns the convolved features."""
        features, padding = self._pad(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        plain = padding == "SAME" and max(*self.strides, *self.dilation_rate) == 1
        outputs: Any
        if (
            plain
            and convolution_on_cpu.is_wanted()
            and convolution_on_cpu.is_depthwise_faster(features, kernel)
        ):
            outputs = convolution_on_cpu.depthwise_convolution(features, kernel)
        else:
            strides, rate = (1, *self.strides, 1), list(self.dilation_rate)
            outputs = tf.nn.depthwise_conv2d(features, kernel, strides, padding, dilations=rate)
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs) if self.activation is not None else outputs


def conv_bn(
    features,
    filters: int,
    kernel_size: int,
    *,
    name: str,
    strides: int = 1,
    dilation_rate: int = 1,
    activation: str | None = "relu",
    use_bias: bool = False,
    epsilon: float = 1e-5,
    padding: str = "symmetric",
):
    """Applies convolution, batch normalisation and an activation.

    Args:
        features: `(batch, height, width, channels)`.
        filters: Number of output channels.
        kernel_size: Side of the kernel.
        name: Prefix of the layers' names, `NAME_conv`, `NAME_bn` and `NAME_relu`.
        strides: Step of the convolution.
        dilation_rate: Distance between neighbouring taps.
        activation: Keras' name of the activation, or None.
        use_bias: Whether the convolution has a bias too.
        epsilon: Epsilon of the batch normalisation.
        padding: Padding of `Conv2D`.

    Returns:
        The activated features.
    """
    features = Conv2D(
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        use_bias=use_bias,
        padding=padding,
        name=f"{name}_conv",
    )(features)
    features = BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(features)
    if activation is None:
        return features
    return activations.layer(activation, f"{name}_{activation}")(features)


def depthwise_bn(
    features,
    *,
    name: str,
    kernel_size: int = 3,
    strides: int = 1,
    dilation_rate: int = 1,
    activation: str | None = "relu",
    epsilon: float = 1e-5,
    padding: str = "symmetric",
):
    """Applies depthwise convolution, batch normalisation and an activation.

    Args:
        features: `(batch, height, width, channels)`.
        name: Prefix of the layers' names, `NAME_conv`, `NAME_bn` and `NAME_ACTIVATION`.
        kernel_size: Side of the kernel.
        strides: Step of the convolution.
        dilation_rate: Distance between neighbouring taps.
        activation: Keras' name of the activation, or None.
        epsilon: Epsilon of the batch normalisation.
        padding: Padding of `DepthwiseConv2D`.

    Returns:
        The activated features.
    """
    features = DepthwiseConv2D(
        kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        use_bias=False,
        padding=padding,
        name=f"{name}_conv",
    )(features)
    features = BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(features)
    if activation is None:
        return features
    return activations.layer(activation, f"{name}_{activation}")(features)
