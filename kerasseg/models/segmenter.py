"""Segmenter (Strudel et al. 2021): a vision transformer and a linear or mask decoder."""

from typing import Any

import keras

from .. import encoders
from ..layers import CropLike, Dense, LayerNormalization, Upsample
from ..layers.preprocessing import preprocess
from ..layers.transformer import AppendClassTokens, ClassMasks, transformer_block
from . import check_options

PAPER = "https://arxiv.org/abs/2105.05633"
VARIANTS = ("paper", "mmseg")
OUTPUT_STRIDES = (16,)
NEEDS = encoders.Needs(patches=True)
DECODERS = ("mask", "linear")


def build(
    *,
    num_classes: int,
    encoder: str = "vit_small",
    variant: str = "paper",
    decoder: str = "mask",
    decoder_depth: int = 2,
    output_stride: int = 16,
    grid: tuple[int, int] = (32, 32),
    patch_bias: bool = True,
    drop_path: float = 0.1,
    classifier_classes: int = 0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds Segmenter: a vision transformer whose patches are classified.

    Variants:
        paper: The authors' code. Position embeddings are resized bilinearly; the normalisations
            have epsilon 1e-5.
        mmseg: OpenMMLab's network. Position embeddings are resized bicubically; the normalisations
            of the encoder have epsilon 1e-6.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of a vision transformer, one of `encoders.vit.NAMES`.
        variant: One of `VARIANTS`.
        decoder: "mask", a transformer over patches and class tokens, or "linear".
        decoder_depth: Number of blocks of the mask decoder.
        output_stride: Side of the patches, in pixels.
        grid: `(rows, columns)` of patches in the images that the encoder was trained with.
        patch_bias: Whether the projection of the patches has a bias.
        drop_path: Share of the images for which the encoder's last block drops a residual branch in
            training.
        classifier_classes: Number of classes of an ImageNet classifier that is kept but not used,
            as in the authors' checkpoints; 0 for no such classifier.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, with one logit per class and patch.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Strudel et al., Segmenter: Transformer for Semantic Segmentation, ICCV 2021.
        https://arxiv.org/abs/2105.05633
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        decoder_depth=decoder_depth,
        output_stride=output_stride,
    )
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
    chosen = encoders.choose(encoder, NEEDS)
    images = keras.Input(input_shape, name="image")
    features = chosen.features(
        preprocess(images, preprocessing, chosen.preprocessing),
        output_stride=output_stride,
        grid=grid,
        interpolation="bilinear" if variant == "paper" else "bicubic",
        epsilon=1e-5 if variant == "paper" else 1e-6,
        patch_bias=patch_bias,
        drop_path=drop_path,
        classifier_classes=classifier_classes,
    )[output_stride]
    if decoder == "linear":
        logits = Dense(num_classes, dtype="float32", name="logits")(features)
    else:
        logits = _decode_masks(features, num_classes, decoder_depth, features.shape[-1])
    if resize_logits:
        # The padding of the last patches is cut off after the resizing, as in the authors' code.
        logits = Upsample(output_stride, dtype="float32", name="resize_logits")(logits)
        logits = CropLike(0, dtype="float32", name="crop_logits")(logits, images)
    return keras.Model(images, logits, name="segmenter")


def _decode_masks(features, num_classes: int, depth: int, width: int):
    tokens = Dense(width, name="decoder_proj")(features)
    tokens = AppendClassTokens(num_classes, name="class_embedding")(tokens)
    for index in range(depth):
        tokens = transformer_block(
            tokens, width // 64, epsilon=1e-5, dropout=0.1, name=f"decoder_block{index}"
        )
    tokens = LayerNormalization(epsilon=1e-5, name="decoder_norm")(tokens)
    initializer: Any = keras.initializers.RandomNormal(stddev=width**-0.5)
    projected = [
        Dense(width, use_bias=False, kernel_initializer=initializer, name=name)(tokens)
        for name in ("project_patches", "project_classes")
    ]
    masks = ClassMasks(num_classes, name="masks")(*projected, features)
    return LayerNormalization(epsilon=1e-5, dtype="float32", name="mask_norm")(masks)
