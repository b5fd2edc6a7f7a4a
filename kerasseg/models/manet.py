"""MA-Net (Fan et al. 2020): a U-Net with attention between pixels and between channels."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from ..layers import AdaptiveAveragePooling2D, Conv2D, conv_bn
from ..layers.outputs import end
from ..layers.pair_attention import PairAttention
from . import _smp, check_options

PAPER = "https://doi.org/10.1109/ACCESS.2020.3025372"
VARIANTS = ("smp",)
NEEDS = _smp.NEEDS


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    attention_filters: int = 64,
    reduction: int = 16,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds MA-Net: attention between all pixels of stride 32, then between channels.

    Each level of the decoder brings its features to the channels of the encoder's level, weights
    them by the sum of two squeeze-and-excitations, one of either, enlarges them and concatenates
    the encoder's level. The last level has no skip.

    Variants:
        smp: The network of segmentation_models.pytorch, which changes the paper's: the attention
            between pixels is normalised over all pairs and mixes pixels with channels, see
            `kerasseg.layers.pair_attention.PairAttention`.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models manet` lists them. Or your own function of images. Features of stride 2
            are a further skip where the encoder has them.
        variant: One of `VARIANTS`.
        decoder_filters: Channels of the decoder at the strides 16, 8, 4, 2 and 1.
        attention_filters: Channels of the vectors that the attention between pixels compares.
        reduction: The excitations have this many times fewer channels than what they weight.
        timm_encoder: Whether the encoder is the one that the library takes from timm and calls
            tu-NAME, and not its own of that name.
        input_shape: `(height, width, channels)`; None for any height or width. Images whose sides
            are no multiples of 32 are padded with zeros after their normalisation.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Has no effect: the decoder ends at the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Fan et al., MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, IEEE
        Access 2020. https://doi.org/10.1109/ACCESS.2020.3025372
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        attention_filters=attention_filters,
        reduction=reduction,
    )
    _smp.check_decoder_filters(decoder_filters)
    images = keras.Input(input_shape, name="image")
    padded, found = _smp.encode(images, encoder, NEEDS, preprocessing, timm_encoder)
    features = _attend(found[32], attention_filters)
    for index, filters in enumerate(decoder_filters):
        name, skip = f"decoder{index}", found.get(16 >> index) if index < 4 else None
        if skip is None:
            features = _smp.enlarge(features, [], filters, name)
        else:
            features = _fuse(features, skip, filters, reduction, name)
    return end(
        images,
        Conv2D(num_classes, 3, dtype="float32", name="logits")(features),
        resize_logits=False,
        align_corners=False,
        name="manet",
        padded=padded,
    )


def _attend(features, filters: int):
    """Applies attention between all pixels (position-wise attention block)."""
    width = features.shape[-1]
    keys = Conv2D(filters, 1, name="attention_top")(features)
    queries = Conv2D(filters, 1, name="attention_center")(features)
    values = Conv2D(width, 3, name="attention_bottom")(features)
    attended = PairAttention(name="attention")(queries, keys, values)
    features = layers.Add(name="attention_add")([features, attended])
    return Conv2D(width, 3, name="attention_out")(features)


def _fuse(features, skip, filters: int, reduction: int, name: str):
    """Doubles the resolution and adds a skip (multi-scale fusion attention block)."""
    width = skip.shape[-1]
    features = conv_bn(features, features.shape[-1], 3, name=f"{name}_high1")
    features = conv_bn(features, width, 1, name=f"{name}_high2")
    reduced = max(1, width // reduction)
    weights = [
        _excite(each, reduced, f"{name}_{part}")
        for each, part in ((features, "high"), (skip, "low"))
    ]
    weights = layers.Add(name=f"{name}_weights_add")(weights)
    # Before the enlarging, which does not change the mean, this takes a quarter of the time.
    features = layers.Multiply(name=f"{name}_multiply")([features, weights])
    return _smp.enlarge(features, [skip], filters, name)


def _excite(features, reduced: int, name: str):
    """Returns a weight per channel, from the means of all channels (squeeze-and-excitation)."""
    weights = AdaptiveAveragePooling2D(1, name=f"{name}_mean")(features)
    weights = Conv2D(reduced, 1, activation="relu", name=f"{name}_squeeze")(weights)
    width = features.shape[-1]
    return Conv2D(width, 1, activation="sigmoid", name=f"{name}_excite")(weights)
