"""The tokens of DINOv2 and DINOv3: class token, registers and patches."""

import keras
import tensorflow as tf

from .position_embeddings import INTERPOLATIONS, resize_grid


@keras.saving.register_keras_serializable(package="kerasseg")
class PrefixedTokens(keras.layers.Layer):
    """Turns a map of patches into tokens: a class token, registers, then the patches.

    Learned position embeddings, if there are any, are kept at the grid of their training and
    resized to the map's. Registers have no position.

    Args:
        registers: Number of registers, learned tokens that belong to no place.
        grid: `(rows, columns)` of the position embeddings; None for none.
        interpolation: How they are resized, one of `position_embeddings.INTERPOLATIONS`.
        class_position: Whether the class token has a position embedding as well.
        mask_token: Whether to keep the token that stood for hidden patches in the encoder's
            training. It is not trained, and nothing uses it.

    Input: patches (batch, rows, columns, width).
    Output: (batch, 1 + registers + rows * columns, width).

    Reference:
        Darcet et al., Vision Transformers Need Registers, ICLR 2024.
        https://arxiv.org/abs/2309.16588
    """

    def __init__(
        self,
        registers: int = 0,
        grid: tuple[int, int] | None = None,
        interpolation: str = "bicubic",
        class_position: bool = True,
        mask_token: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if registers < 0:
            raise ValueError(f"registers must be at least 0, got {registers}.")
        if grid is not None and (len(grid) != 2 or min(grid) < 1):
            raise ValueError(f"grid must be (rows, columns), both at least 1, got {grid}.")
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
            )
        self.registers = int(registers)
        self.grid = None if grid is None else (int(grid[0]), int(grid[1]))
        self.interpolation = interpolation
        self.class_position = class_position
        self.mask_token = mask_token

    def build(self, input_shape):
        """Makes the tokens and the position embeddings."""
        width = input_shape[-1]

        def add(name: str, *shape: int, trainable: bool = True):
            normal = keras.initializers.TruncatedNormal(stddev=0.02)
            return self.add_weight(
                name=name, shape=(*shape, width), initializer=normal, trainable=trainable
            )

        self._class_token = add("class_token", 1, 1)
        if self.registers:
            self._register_tokens = add("register_tokens", 1, self.registers)
        if self.grid is not None:
            count = self.grid[0] * self.grid[1] + int(self.class_position)
            self._position_embedding = add("position_embedding", 1, count)
        if self.mask_token:
            self._mask_token = add("mask_token", 1, trainable=False)

    def call(self, patches):
        """Returns the tokens."""
        shape, width = tf.shape(patches), patches.shape[-1]
        tokens = tf.reshape(patches, (shape[0], -1, width))
        first = tf.cast(self._class_token, tf.float32)
        if self.grid is not None:
            table = tf.cast(self._position_embedding, tf.float32)
            if self.class_position:
                first, table = first + table[:, :1], table[:, 1:]
            size = (shape[1], shape[2])
            positions = resize_grid(table, self.grid, size, self.interpolation)
            tokens += tf.cast(positions, tokens.dtype)
        if self.registers:
            first = tf.concat([first, tf.cast(self._register_tokens, tf.float32)], axis=1)
        first = tf.cast(first, tokens.dtype)
        first = tf.broadcast_to(first, (shape[0], 1 + self.registers, width))
        return tf.concat([first, tokens], axis=1)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the tokens."""
        rows, columns = input_shape[1:3]
        count = None
        if rows is not None and columns is not None:
            count = 1 + self.registers + rows * columns
        return (input_shape[0], count, input_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "registers": self.registers,
            "grid": self.grid,
            "interpolation": self.interpolation,
            "class_position": self.class_position,
            "mask_token": self.mask_token,
        }
