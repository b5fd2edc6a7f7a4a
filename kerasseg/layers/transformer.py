"""The parts of a vision transformer that are not dense layers and normalisations."""

from typing import Any

import keras
import tensorflow as tf

from .dense import Dense
from .normalization import LayerNormalization
from .position_embeddings import INTERPOLATIONS, resize_position_embedding


@keras.saving.register_keras_serializable(package="kerasseg")
class PatchTokens(keras.layers.Layer):
    """Turns a map of patches into tokens: a class token first, position embeddings added.

    The position embeddings are kept at the grid of their training and resized to the map's.

    Args:
        grid: `(rows, columns)` of patches of the training images.
        interpolation: "bilinear" (the authors' Segmenter), "bicubic" as PyTorch and OpenMMLab
            compute it (a = -0.75), or "bicubic_antialiased" as timm does; corners are not aligned.

    Input: patches (batch, rows, columns, width).
    Output: (batch, 1 + rows * columns, width).

    Reference:
        Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021.
        https://arxiv.org/abs/2010.11929
    """

    def __init__(self, grid: tuple[int, int], interpolation: str = "bilinear", **kwargs):
        super().__init__(**kwargs)
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(f"grid must be (rows, columns), both at least 1, got {grid}.")
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
            )
        self.grid = (int(grid[0]), int(grid[1]))
        self.interpolation = interpolation

    def build(self, input_shape):
        """Makes the class token and the position embeddings."""
        width = input_shape[-1]
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        self.class_token = self.add_weight(
            name="class_token", shape=(1, 1, width), initializer=normal
        )
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(1, 1 + self.grid[0] * self.grid[1], width),
            initializer=normal,
        )

    def call(self, patches):
        """Returns the tokens."""
        shape = tf.shape(patches)
        width = patches.shape[-1]
        embedding = resize_position_embedding(
            tf.cast(self.position_embedding, tf.float32),
            self.grid,
            (shape[1], shape[2]),
            self.interpolation,
        )
        first = tf.broadcast_to(tf.cast(self.class_token, patches.dtype), (shape[0], 1, width))
        tokens = tf.concat([first, tf.reshape(patches, (shape[0], -1, width))], axis=1)
        return tokens + tf.cast(embedding, tokens.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the tokens."""
        rows, columns = input_shape[1:3]
        count = None if rows is None or columns is None else 1 + rows * columns
        return (input_shape[0], count, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "grid": self.grid, "interpolation": self.interpolation}


@keras.saving.register_keras_serializable(package="kerasseg")
class PatchMap(keras.layers.Layer):
    """Turns tokens back into a map, without the class token and others before the patches.

    Args:
        classifier_classes: Number of classes of the ImageNet classifier that a checkpoint holds. It
            is kept, so that the checkpoint stays whole, but nothing uses it.
        prefix: Number of tokens before the patches.

    Input: `tokens` (batch, prefix + rows * columns, width), and `patches` (batch, rows, columns,
        any) that gives the size.
    Output: (batch, rows, columns, width).
    """

    def __init__(self, classifier_classes: int = 0, prefix: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.classifier_classes = classifier_classes
        self.prefix = prefix

    def build(self, tokens_shape, patches_shape):  # pyright: ignore
        """Makes the unused classifier, if there is one."""
        if self.classifier_classes:
            count = self.classifier_classes
            options = {"initializer": "zeros", "trainable": False}
            self.kernel = self.add_weight(name="kernel", shape=(tokens_shape[-1], count), **options)
            self.bias = self.add_weight(name="bias", shape=(count,), **options)

    def call(self, tokens, patches):
        """Returns the map."""
        shape = tf.concat([tf.shape(patches)[:3], [tokens.shape[-1]]], axis=0)
        result = tf.reshape(tokens[:, self.prefix :], shape)
        result.set_shape(self.compute_output_shape(tokens.shape, patches.shape))
        return result

    def compute_output_shape(self, tokens_shape, patches_shape):
        """Returns the shape of the map."""
        return (*patches_shape[:3], tokens_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "classifier_classes": self.classifier_classes,
            "prefix": self.prefix,
        }


def attend(queries, keys, values, bias=None) -> Any:
    """Returns `softmax(Q K^T / sqrt(channels) + bias) V`, softmax and its gradient in float32.

    Args:
        queries: `(batch, heads, positions, channels)`.
        keys: `(batch, heads, others, channels)`.
        values: `(batch, heads, others, channels)`.
        bias: float32, broadcasts to `(batch, heads, positions, others)`, and has no gradient; None
            for none.

    Returns:
        `(batch, heads, positions, channels)`.
    """
    scale = queries.shape[-1] ** -0.5

    @tf.custom_gradient
    def apply(queries, keys, values):
        scaled = queries * scale
        scores = tf.cast(tf.matmul(scaled, keys, transpose_b=True), tf.float32)
        shares = tf.nn.softmax(scores if bias is None else scores + bias)
        weights = tf.cast(shares, values.dtype)
        attended = tf.matmul(weights, values)

        def gradients(upstream):
            for_values = tf.matmul(weights, upstream, transpose_a=True)
            for_weights = tf.matmul(upstream, values, transpose_b=True)
            # The softmax's own gradient would sum for_weights * weights: the same, but over an
            # array of all pairs of positions.
            products = tf.cast(upstream, tf.float32) * tf.cast(attended, tf.float32)
            mean = tf.reduce_sum(products, axis=-1, keepdims=True)
            for_scores = shares * (tf.cast(for_weights, tf.float32) - mean)
            for_scores = tf.cast(for_scores, values.dtype)
            for_queries = tf.matmul(for_scores, keys) * scale
            return for_queries, tf.matmul(for_scores, scaled, transpose_a=True), for_values

        return attended, gradients

    return apply(queries, keys, values)


@keras.saving.register_keras_serializable(package="kerasseg")
class MultiHeadAttention(keras.layers.Layer):
    """Attention between tokens, from queries, keys and values side by side; without weights.

    `softmax(Q K^T / sqrt(d)) V` for each head, the softmax in float32.

    Args:
        heads: Number of heads; they share the channels evenly.

    Input: (batch, tokens, 3 * width): queries, keys, values.
    Output: (batch, tokens, width).

    Reference:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017. https://arxiv.org/abs/1706.03762
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        if heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}.")
        self.heads = heads

    def call(self, queries_keys_values):
        """Returns the attended values."""
        return self._join(attend(*self._split(queries_keys_values)))

    def _split(self, queries_keys_values) -> list[Any]:
        """Returns queries, keys and values, each (batch, heads, tokens, width / heads)."""
        shape = tf.shape(queries_keys_values)
        width = queries_keys_values.shape[-1] // (3 * self.heads)
        split = tf.reshape(queries_keys_values, (shape[0], shape[1], 3, self.heads, width))
        return tf.unstack(tf.transpose(split, (2, 0, 3, 1, 4)))

    def _join(self, attended):
        """Puts the heads side by side."""
        width = self.heads * attended.shape[-1]
        attended = tf.transpose(attended, (0, 2, 1, 3))
        shape = tf.shape(attended)
        return tf.reshape(attended, (shape[0], shape[1], width))

    def compute_output_shape(self, input_shape):
        """Returns the shape of the output."""
        return (*input_shape[:-1], input_shape[-1] // 3)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package="kerasseg")
class DropPath(keras.layers.Layer):
    """Drops the branch of a residual block for whole images in training (stochastic depth).

    Args:
        rate: Share of the images dropped, in [0, 1); what stays is scaled by 1 / (1 - rate).

    Input and output: (batch, ...).

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, ECCV 2016.
        https://arxiv.org/abs/1603.09382
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}.")
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, features, training=None):
        """Returns the features, some images being zero in training."""
        if not training or self.rate == 0:
            return features
        shape = (tf.shape(features)[0],) + (1,) * (len(features.shape) - 1)
        kept: Any = keras.random.uniform(shape, seed=self.seed_generator)
        kept = kept >= self.rate
        return features * tf.cast(kept, features.dtype) / (1 - self.rate)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="kerasseg")
class AppendClassTokens(keras.layers.Layer):
    """Appends a learned token for each class to the patches of a map.

    Args:
        num_classes: Number of tokens.

    Input: map (batch, rows, columns, width).
    Output: (batch, rows * columns + num_classes, width).

    Reference:
        Strudel et al., Segmenter, ICCV 2021. https://arxiv.org/abs/2105.05633
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, input_shape):
        """Makes the class tokens."""
        self.embedding = self.add_weight(
            name="embedding",
            shape=(1, self.num_classes, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, patches):
        """Returns patches and classes."""
        batch, width = tf.shape(patches)[0], patches.shape[-1]
        classes = tf.cast(self.embedding, patches.dtype)
        classes = tf.broadcast_to(classes, (batch, self.num_classes, width))
        return tf.concat([tf.reshape(patches, (batch, -1, width)), classes], axis=1)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the tokens."""
        rows, columns = input_shape[1:3]
        count = None if rows is None or columns is None else rows * columns + self.num_classes
        return (input_shape[0], count, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="kerasseg")
class ClassMasks(keras.layers.Layer):
    """Compares each patch with each class: the cosine of the angle between their tokens.

    Args:
        num_classes: Number of class tokens, the last ones.

    Input: two projections of the same tokens (batch, rows * columns + num_classes, width), one for
        the patches and one for the classes, and `patches` (batch, rows, columns, any) that gives
        the size.
    Output: float32 masks (batch, rows, columns, num_classes), in [-1, 1].

    Reference:
        Strudel et al., Segmenter, ICCV 2021, section 3.2. https://arxiv.org/abs/2105.05633
    """

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_classes = num_classes

    def call(self, for_patches, for_classes, patches):
        """Returns the masks."""
        tokens = tf.math.l2_normalize(for_patches[:, : -self.num_classes], axis=-1)
        classes = tf.math.l2_normalize(for_classes[:, -self.num_classes :], axis=-1)
        masks = tf.matmul(tokens, classes, transpose_b=True)
        shape = tf.concat([tf.shape(patches)[:3], [self.num_classes]], axis=0)
        masks = tf.reshape(masks, shape)
        masks.set_shape((*patches.shape[:3], self.num_classes))
        return masks

    def compute_output_shape(self, for_patches_shape, for_classes_shape, patches_shape):
        """Returns the shape of the masks."""
        return (*patches_shape[:3], self.num_classes)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}


def transformer_block(
    tokens, heads: int, *, name: str, epsilon: float, dropout: float = 0.0, drop_path: float = 0.0
):
    """Applies a pre-norm block: attention, then a perceptron of four times the width.

    Args:
        tokens: `(batch, tokens, width)`.
        heads: Number of attention heads.
        name: What the names of the layers begin with.
        epsilon: Of the layer normalisation.
        dropout: Fraction dropped after each projection.
        drop_path: Share of the images whose branch is dropped in training.

    Returns:
        `(batch, tokens, width)`.
    """
    width = tokens.shape[-1]
    initializer: Any = keras.initializers.TruncatedNormal(stddev=0.02)

    def normalize(values, index):
        return LayerNormalization(epsilon=epsilon, name=f"{name}_norm{index}")(values)

    def project(values, units, part, activation=None):
        values = Dense(
            units,
            activation=activation,
            kernel_initializer=initializer,
            name=f"{name}_{part}",
        )(values)
        if dropout and part != "qkv":
            values = keras.layers.Dropout(dropout, name=f"{name}_{part}_dropout")(values)
        return values

    def add(values, branch, part):
        if drop_path:
            branch = DropPath(drop_path, name=f"{name}_{part}_drop_path")(branch)
        return keras.layers.Add(name=f"{name}_{part}_add")([values, branch])

    branch = project(normalize(tokens, 1), 3 * width, "qkv")
    branch = MultiHeadAttention(heads, name=f"{name}_attention")(branch)
    tokens = add(tokens, project(branch, width, "proj"), "proj")
    branch = project(normalize(tokens, 2), 4 * width, "fc1", activation="gelu")
    return add(tokens, project(branch, width, "fc2"), "fc2")
