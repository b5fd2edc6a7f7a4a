"""Vision transformers part by part, for architectures that put tokens between their blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import layers

from ..layers import Conv2D, LayerNormalization, PadToLeast
from ..layers.prefixed_tokens import PrefixedTokens
from ..layers.rotary import RotaryAttention
from ..layers.scaled_block import scaled_block
from ..layers.transformer import MultiHeadAttention, PatchMap


@dataclass(frozen=True)
class Size:
    """The size of a vision transformer.

    Attributes:
        width: Channels of the tokens.
        depth: Number of blocks.
        heads: Number of attention heads.
        hidden: Width of the perceptrons' hidden layer.
        gated: Whether it is gated (SwiGLU).
    """

    width: int
    depth: int
    heads: int
    hidden: int
    gated: bool = False


@dataclass(frozen=True)
class Transformer:
    """A vision transformer whose blocks are still to be applied.

    Attributes:
        size: Its size.
        patches: `(batch, rows, columns, width)`.
        tokens: `(batch, prefix + rows * columns, width)`: class token, registers, patches.
        prefix: Number of tokens before the patches.
        rotary: Whether patches have rotary position embeddings.
        epsilon: Epsilon of the layer normalisations.
        drop_path: Share of the images for which the last block drops a residual branch in training;
            in the blocks before it, the share is proportionally smaller.
    """

    size: Size
    patches: Any
    tokens: Any
    prefix: int
    rotary: bool
    epsilon: float
    drop_path: float

    def block(self, tokens, index: int, attention: Callable[[Any], Any] | None = None):
        """Applies a block.

        Args:
            tokens: `(batch, tokens, width)`, the last ones being the patches.
            index: Number of the block, from 0.
            attention: From queries, keys and values to the attended values; None for that of the
                encoder.
        """
        return scaled_block(
            tokens,
            attention or self._attention(index),
            hidden=self.size.hidden,
            gated=self.size.gated,
            key_bias=not self.rotary,
            epsilon=self.epsilon,
            drop_path=self.drop_path * index / max(self.size.depth - 1, 1),
            name=f"encoder_block{index}",
        )

    def _attention(self, index: int) -> Callable[[Any], Any]:
        name = f"encoder_block{index}_attention"
        if not self.rotary:
            return MultiHeadAttention(self.size.heads, name=name)
        layer = RotaryAttention(self.size.heads, name=name)
        return lambda queries_keys_values: layer(queries_keys_values, self.patches)

    def norm(self) -> layers.Layer:
        """Makes the normalisation after the last block."""
        return LayerNormalization(epsilon=self.epsilon, name="encoder_norm")

    def features(self):
        """Applies all blocks; returns the patches as a map `(batch, rows, columns, width)`."""
        tokens = self.tokens
        for index in range(self.size.depth):
            tokens = self.block(tokens, index)
        return PatchMap(prefix=self.prefix, name="encoder_map")(self.norm()(tokens), self.patches)


def pad_to_patch(images, patch: int):
    """Pads images that are smaller than a patch with zeros.

    Raises:
        ValueError: If the patch is less than 1.
    """
    if patch < 1:
        raise ValueError(f"output_stride must be at least 1, got {patch!r}.")
    return PadToLeast(patch, name="encoder_pad")(images)


def begin(
    images,
    size: Size,
    *,
    patch: int,
    registers: int,
    rotary: bool,
    epsilon: float,
    drop_path: float,
    **positions: Any,
) -> Transformer:
    """Cuts images into patches and makes tokens of them.

    Args:
        images: Normalised images `(batch, height, width, channels)`, of a patch at least.
        size: Size of the transformer.
        patch: Side of the patches in pixels; what is left of the images at the bottom and right
            takes no part.
        registers: Number of registers.
        rotary: As for `Transformer`, like `epsilon` and `drop_path`.
        epsilon: Epsilon of the layer normalisations.
        drop_path: See `Transformer`.
        **positions: Further arguments of `PrefixedTokens`.
    """
    patches = Conv2D(
        size.width,
        patch,
        strides=patch,
        padding="valid",
        kernel_initializer="lecun_normal",
        name="encoder_patches",
    )(images)
    tokens = PrefixedTokens(registers, **positions, name="encoder_tokens")(patches)
    return Transformer(size, patches, tokens, 1 + registers, rotary, epsilon, drop_path)
