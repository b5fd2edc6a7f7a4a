"""Queries: learned tokens, each of which finds the mask of a segment and its class."""

from typing import Any

import keras
import tensorflow as tf

from .. import placement


@keras.saving.register_keras_serializable(package="kerasseg")
class PrependQueries(keras.layers.Layer):
    """Puts learned queries before the tokens of a transformer.

    Args:
        queries: Number of queries.

    Input: (batch, tokens, width).
    Output: (batch, queries + tokens, width).
    """

    def __init__(self, queries: int, **kwargs):
        super().__init__(**kwargs)
        if queries < 1:
            raise ValueError(f"queries must be at least 1, got {queries}.")
        self.queries = queries

    def build(self, input_shape):
        """Makes the queries."""
        self.embedding = self.add_weight(
            name="embedding",
            shape=(self.queries, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )

    def call(self, tokens):
        """Returns queries and tokens."""
        shape = (tf.shape(tokens)[0], self.queries, tokens.shape[-1])
        queries = tf.broadcast_to(tf.cast(self.embedding, tokens.dtype), shape)
        return tf.concat([queries, tokens], axis=1)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the tokens."""
        batch, count, width = input_shape
        return (batch, None if count is None else self.queries + count, width)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "queries": self.queries}


@keras.saving.register_keras_serializable(package="kerasseg")
class TakeQueries(keras.layers.Layer):
    """Takes the queries out of tokens, which begin with them.

    Args:
        queries: Number of queries.

    Input: (batch, tokens, width).
    Output: (batch, queries, width).
    """

    def __init__(self, queries: int, **kwargs):
        super().__init__(**kwargs)
        self.queries = queries

    def call(self, tokens):
        """Returns the queries."""
        return tf.slice(tokens, [0, 0, 0], [-1, self.queries, -1])

    def compute_output_shape(self, input_shape):
        """Returns the shape of the queries."""
        return (input_shape[0], self.queries, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "queries": self.queries}


@keras.saving.register_keras_serializable(package="kerasseg")
class QueryMasks(keras.layers.Layer):
    """Computes each query's mask: the product of its embedding with the features of each place.

    Input: `embeddings` (batch, queries, width) and `features` (batch, height, width, width).
    Output: float32 logits (batch, height, width, queries).
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, embeddings, features):
        """Returns the masks."""
        return _over_places(features, tf.transpose(embeddings, (0, 2, 1)))

    def compute_output_shape(self, embeddings_shape, features_shape):
        """Returns the shape of the masks."""
        return (*features_shape[:3], embeddings_shape[1])


@keras.saving.register_keras_serializable(package="kerasseg")
class QueryScores(keras.layers.Layer):
    """Adds up what the queries say of each place: the semantic scores of mask classification.

    `sum_q softmax(class logits of q)[c] sigmoid(mask logit of q)`, for each class c but the last
    one, which means that a query has found nothing.

    Input: `class_logits` (batch, queries, classes + 1) and `masks` (batch, height, width, queries),
        logits.
    Output: float32 scores (batch, height, width, classes), at least 0.

    Reference:
        Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation,
        NeurIPS 2021, section 3.4. https://arxiv.org/abs/2107.06278
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, class_logits, masks):
        """Returns the scores."""
        classes: Any = tf.nn.softmax(class_logits)
        classes = classes[..., :-1]
        return _over_places(tf.sigmoid(masks), classes)

    def compute_output_shape(self, class_logits_shape, masks_shape):
        """Returns the shape of the scores."""
        return (*masks_shape[:3], class_logits_shape[-1] - 1)


@keras.saving.register_keras_serializable(package="kerasseg")
class LogarithmOfScores(keras.layers.Layer):
    """Turns scores of classes into logits, whose softmax is the scores divided by their sum.

    Input: scores (..., classes), at least 0.
    Output: float32 logits of the same shape.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, scores):
        """Returns the logits."""
        return tf.math.log(tf.maximum(scores, 1e-20))

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape


def _over_places(features, factors):
    """Multiplies (batch, height, width, n) by (batch, n, m) for each place."""
    shape = tf.shape(features)
    rows = tf.reshape(features, (shape[0], -1, features.shape[-1]))
    with placement.on_host():
        size = tf.concat([shape[:3], [factors.shape[-1]]], axis=0)
    result = tf.reshape(tf.matmul(rows, factors), size)
    result.set_shape((*features.shape[:3], factors.shape[-1]))
    return result
