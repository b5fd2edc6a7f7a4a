"""The block of DINOv2 and DINOv3: a pre-norm transformer block whose branches are scaled."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .dense import Dense
from .layer_scale import LayerScale
from .normalization import LayerNormalization
from .transformer import DropPath


@keras.saving.register_keras_serializable(package="kerasseg")
class QueryValueBias(keras.layers.Layer):
    """Adds a bias to queries and values, but none to keys.

    Input: (batch, tokens, 3 * width): queries, keys, values.
    Output: the same shape.
    """

    def build(self, input_shape):
        """Makes the bias: that of the queries, then that of the values."""
        shape = (2 * (input_shape[-1] // 3),)
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")

    def call(self, queries_keys_values):
        """Returns the sum."""
        queries, values = tf.split(self.bias, 2)
        bias = tf.concat([queries, tf.zeros_like(queries), values], axis=0)
        return queries_keys_values + tf.cast(bias, queries_keys_values.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape


@keras.saving.register_keras_serializable(package="kerasseg")
class GatedProduct(keras.layers.Layer):
    """Multiplies features by gates: `silu(gates) * features`, the heart of SwiGLU.

    Input: (..., 2 * channels): gates, then features.
    Output: (..., channels).

    Reference:
        Shazeer, GLU Variants Improve Transformer, 2020. https://arxiv.org/abs/2002.05202
    """

    def call(self, gates_and_features):
        """Returns the product."""
        gates, features = tf.split(gates_and_features, 2, axis=-1)
        return tf.nn.silu(gates) * features

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        return (*input_shape[:-1], input_shape[-1] // 2)


def scaled_block(
    tokens,
    attention: Callable[[Any], Any],
    *,
    hidden: int,
    name: str,
    epsilon: float,
    gated: bool = False,
    key_bias: bool = True,
    drop_path: float = 0.0,
):
    """Applies a pre-norm block: attention, then a perceptron, each scaled channel by channel.

    Args:
        tokens: `(batch, tokens, width)`.
        attention: From queries, keys and values `(batch, tokens, 3 * width)` to the attended values
            `(batch, tokens, width)`.
        hidden: Width of the perceptron's hidden layer.
        name: What the names of the layers begin with.
        epsilon: Epsilon of the layer normalisation.
        gated: Whether the hidden layer is gated (SwiGLU) instead of a GELU.
        key_bias: Whether the keys have a bias as the queries and values do.
        drop_path: Share of the images whose branch is dropped in training.

    Returns:
        `(batch, tokens, width)`.
    """
    width = tokens.shape[-1]
    initializer: Any = keras.initializers.TruncatedNormal(stddev=0.02)

    def normalize(values, index):
        return LayerNormalization(epsilon=epsilon, name=f"{name}_norm{index}")(values)

    def project(values, units, part, **options):
        return Dense(units, kernel_initializer=initializer, name=f"{name}_{part}", **options)(
            values
        )

    def add(values, branch, index):
        branch = LayerScale(name=f"{name}_scale{index}")(branch)
        if drop_path:
            branch = DropPath(drop_path, name=f"{name}_drop_path{index}")(branch)
        return keras.layers.Add(name=f"{name}_add{index}")([values, branch])

    branch = project(normalize(tokens, 1), 3 * width, "qkv", use_bias=key_bias)
    if not key_bias:
        branch = QueryValueBias(name=f"{name}_qkv_bias")(branch)
    tokens = add(tokens, project(attention(branch), width, "proj"), 1)
    branch = normalize(tokens, 2)
    if gated:
        branch = project(branch, 2 * hidden, "fc1")
        branch = GatedProduct(name=f"{name}_gate")(branch)
    else:
        branch = project(branch, hidden, "fc1", activation="gelu")
    return add(tokens, project(branch, width, "fc2"), 2)
