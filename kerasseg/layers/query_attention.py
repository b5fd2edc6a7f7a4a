"""Attention in which queries may see only the patches of their own masks, as in EoMT's training."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .rotary import rotate
from .transformer import MultiHeadAttention, attend

_UNSEEN = -1e9  # its exponential is zero


@keras.saving.register_keras_serializable(package="kerasseg")
class QueryAttention(MultiHeadAttention):
    """Attention between queries, other tokens and patches, in which queries may be masked.

    A masked query sees the patches on which its mask is above 0, and all tokens that are no
    patches; all other tokens see everything.

    Args:
        heads: Number of heads.
        rotary: Whether patches have rotary position embeddings, see `RotaryAttention`.
        masked: Whether queries are masked if there is no `annealing`.

    Attributes:
        annealing: Function that gives the share of the queries, a float32 scalar tensor, that are
            masked at this step of a training, drawn at random for each image. Otherwise, as in an
            evaluation during the training, all are masked if the share is above 0. None to do what
            `masked` says.

    Input: `queries_keys_values` (batch, tokens, 3 * width), the first tokens being the queries and
        the last ones the patches; `patches` (batch, rows, columns, any), which gives their number;
        and the logits of the masks (batch, any height, any width, queries), of the same part of the
        image as the patches.
    Output: (batch, tokens, width).

    Reference:
        Kerssies et al., Your ViT is Secretly an Image Segmentation Model, CVPR 2025, section 3.3.
        https://arxiv.org/abs/2503.19108
    """

    def __init__(self, heads: int, rotary: bool = False, masked: bool = False, **kwargs):
        super().__init__(heads, **kwargs)
        self.rotary = rotary
        self.masked = masked
        self.annealing: Callable[[], Any] | None = None
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, queries_keys_values, patches, masks, training=None):  # pyright: ignore
        """Returns the attended values."""
        queries, keys, values = self._split(queries_keys_values)
        if self.rotary:
            queries, keys = rotate(queries, keys, patches)
        bias = None
        if self.masked or self.annealing is not None:
            hidden = self._hidden(masks, patches, bool(training))
            bias = _to_bias(hidden, tf.shape(queries)[2])
        return self._join(attend(queries, keys, values, bias))

    def _hidden(self, masks, patches, training: bool):
        """Returns whether a query cannot see a patch, bool (batch, queries, rows * columns)."""
        masks = tf.image.resize(tf.stop_gradient(masks), tf.shape(patches)[1:3], "bilinear")
        count = masks.shape[-1]
        hidden = tf.reshape(masks <= 0, (tf.shape(masks)[0], -1, count))
        if self.annealing is not None:
            share = tf.cast(self.annealing(), tf.float32)
            if training:
                shape = (tf.shape(masks)[0], 1, count)
                drawn: Any = keras.random.uniform(shape, seed=self.seed_generator)
                hidden &= drawn < share
            else:
                hidden &= share > 0
        return tf.transpose(hidden, (0, 2, 1))

    def compute_output_shape(  # pyright: ignore
        self, queries_keys_values_shape, patches_shape, masks_shape
    ):
        """Returns the shape of the output."""
        return super().compute_output_shape(queries_keys_values_shape)

    def get_config(self):
        """Returns the constructor's arguments; `masked` as it is at this step of an annealing."""
        masked = self.masked if self.annealing is None else float(self.annealing()) > 0
        return {**super().get_config(), "rotary": self.rotary, "masked": masked}


def _to_bias(hidden, tokens):
    """Returns what is added to the scores of all tokens, float32 (batch, 1, tokens, tokens)."""
    shape = tf.shape(hidden)
    bias = tf.where(hidden, _UNSEEN, 0.0)
    bias = tf.pad(bias, [[0, 0], [0, tokens - shape[1]], [tokens - shape[2], 0]])
    return bias[:, tf.newaxis]


def anneal_masks(
    model: keras.Model, steps: int, steps_done: Callable[[], Any], first_step: int = 0
) -> None:
    """Lets the masks of a network's queries end block by block over a training.

    The training is divided into n + 2 equal parts for n masked blocks. Block i, counted from 1,
    masks all queries in its first i parts, in part i + 1 the share `(1 - t)^0.9` of them, t going
    from 0 to 1, and none afterwards. These are the parts of the authors' configurations. A network
    without such blocks stays as it is.

    Args:
        model: The network.
        steps: Number of the last step of the training.
        steps_done: Function that gives the number of steps before this one, an integer tensor or
            variable.
        first_step: Number of steps before the training.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, QueryAttention)]
    part = max(steps - first_step, 1) / (len(blocks) + 2)
    for index, layer in enumerate(blocks, start=1):
        layer.annealing = _Share(steps_done, first_step + index * part, part)


class _Share:
    """The share of masked queries at a step: 1 before `start`, then falling for `length` steps."""

    def __init__(self, steps_done: Callable[[], Any], start: float, length: float):
        self._steps_done = steps_done
        self._start = start
        self._length = length

    def __call__(self) -> Any:
        done = tf.cast(tf.convert_to_tensor(self._steps_done()), tf.float32)
        left = tf.clip_by_value(1.0 - (done - self._start) / self._length, 0.0, 1.0)
        return left**0.9
