"""Vision transformers, tiny to large (Dosovitskiy et al. 2021)."""

from keras import layers

from ..layers import Conv2D, PadToMultiple
from ..layers.transformer import PatchMap, PatchTokens, transformer_block

PAPER = "https://arxiv.org/abs/2010.11929"
PREPROCESSING = "tf"
TAKES_ARGUMENT = False

# Width, depth and heads.
SIZES = {
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
}
NAMES = tuple(SIZES)


def features(
    images,
    name: str,
    *,
    output_stride: int = 16,
    grid: tuple[int, int] = (32, 32),
    interpolation: str = "bilinear",
    epsilon: float = 1e-5,
    patch_bias: bool = True,
    dropout: float = 0.0,
    drop_path: float = 0.1,
    classifier_classes: int = 0,
) -> dict:
    """Applies a vision transformer.

    Args:
        images: Normalised images `(batch, height, width, 3)`, padded with zeros at the bottom and
            right to whole patches.
        name: One of `NAMES`.
        output_stride: Side of the patches.
        grid: `(rows, columns)` of patches of the training images, the position embeddings' shape.
        interpolation: "bilinear" or "bicubic", by which the position embeddings are resized.
        epsilon: Of the layer normalisation.
        patch_bias: Whether the projection of the patches has a bias.
        dropout: Fraction dropped after each projection.
        drop_path: Share of the images whose branch the last block drops in training; the blocks
            before it drop proportionally less.
        classifier_classes: Classes of an ImageNet classifier that is kept but not used.

    Returns:
        `{output_stride: features}`.

    Raises:
        ValueError: If an argument is not valid.

    Reference:
        Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021.
        https://arxiv.org/abs/2010.11929
    """
    if output_stride < 1:
        raise ValueError(f"output_stride must be at least 1, got {output_stride!r}.")
    width, depth, heads = SIZES[name]
    padded = PadToMultiple(output_stride, name="encoder_pad")(images)
    patches = Conv2D(
        width,
        output_stride,
        strides=output_stride,
        padding="valid",
        use_bias=patch_bias,
        kernel_initializer="lecun_normal",
        name="encoder_patches",
    )(padded)
    tokens = PatchTokens(grid, interpolation, name="encoder_tokens")(patches)
    for index in range(depth):
        tokens = transformer_block(
            tokens,
            heads,
            epsilon=epsilon,
            dropout=dropout,
            drop_path=drop_path * index / (depth - 1),
            name=f"encoder_block{index}",
        )
    tokens = layers.LayerNormalization(epsilon=epsilon, name="encoder_norm")(tokens)
    return {output_stride: PatchMap(classifier_classes, name="encoder_map")(tokens, patches)}
