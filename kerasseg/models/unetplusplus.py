"""U-Net++ (Zhou et al. 2018): a U-Net whose skips pass through nested decoders."""

from collections.abc import Callable, Sequence

import keras

from ..layers import Conv2D
from ..layers.outputs import end
from . import _smp, check_options

PAPER = "https://arxiv.org/abs/1807.10165"
VARIANTS = ("smp",)
NEEDS = _smp.NEEDS_STRIDE_2


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds U-Net++: between encoder and decoder, each level passes through dense blocks.

    Every level of the encoder but the finest begins a decoder of its own, which ends at stride 2
    at most. A block of a decoder takes the block before it, enlarged, and at its resolution the
    blocks of the decoders that begin at finer levels and the level of the encoder. The decoder of
    stride 32 has one block more, without skips, up to the resolution of the image.

    Variants:
        smp: The network of segmentation_models.pytorch, on any encoder. Pixels are repeated where
            the paper has transposed convolutions, and there is one classifier without deep
            supervision.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 2, 4, 8, 16 and 32:
            `kerasseg models unetplusplus` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        decoder_filters: Channels of the decoder of stride 32 at the strides 16, 8, 4, 2 and 1. The
            others have those of the encoder.
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
        Zhou et al., UNet++: A Nested U-Net Architecture for Medical Image Segmentation, DLMIA 2018.
        https://arxiv.org/abs/1807.10165
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch
    """
    check_options(
        num_classes=num_classes, input_shape=input_shape, variant=variant, variants=VARIANTS
    )
    _smp.check_decoder_filters(decoder_filters)
    images = keras.Input(input_shape, name="image")
    padded, found = _smp.encode(images, encoder, NEEDS, preprocessing, timm_encoder)
    features = _decode(found, decoder_filters)
    return end(
        images,
        Conv2D(num_classes, 3, dtype="float32", name="logits")(features),
        resize_logits=False,
        align_corners=False,
        name="unetplusplus",
        padded=padded,
    )


def _decode(found: dict, decoder_filters: Sequence[int]):
    """Applies the nested decoders; number 0 begins at stride 32, number 3 at stride 4."""
    at = [found[32 >> number] for number in range(4)]  # the newest block of each decoder
    for level in range(4):
        # At this resolution, from the finest decoder, which begins here, to the deepest one.
        skips = [found[16 >> level]]
        for number in reversed(range(level + 1)):
            filters = decoder_filters[level] if number == 0 else skips[-1].shape[-1]
            at[number] = _smp.enlarge(at[number], skips, filters, f"decoder_{number}_{level}")
            skips = [at[number], *skips]
    return _smp.enlarge(at[0], [], decoder_filters[4], "decoder_0_4")
