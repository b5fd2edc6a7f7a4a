"""PAN (Li et al. 2018): pyramid attention on the coarsest features, then global attention."""

from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..encoders import mobilenet
from ..layers import AdaptiveAveragePooling2D, Conv2D, MaxPooling2D, ResizeLike, conv_bn
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import _smp, check_options, check_output_stride, check_unused

PAPER = "https://arxiv.org/abs/1805.10180"
VARIANTS = ("smp", "paper")
OUTPUT_STRIDES = (16, 32)
NEEDS = encoders.Needs((4, 8, 16, 32), OUTPUT_STRIDES)

# Kernels of the pyramid at 1/2, 1/4 and 1/8 of its input.
_KERNELS = (7, 5, 3)


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "smp",
    output_stride: int = 16,
    filters: int | None = None,
    last_filters: int | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds PAN: feature pyramid attention (fpa) and global attention upsampling (gau).

    The authors published no code, and other implementations differ from each other.

    Variants:
        smp: The network of segmentation_models.pytorch, which is used most. 32 channels; the
            pyramid has one channel and pools by the maximum; global attention passes a sigmoid;
            convolutions before a normalisation have biases.
        paper: Exactly figures 3 and 4 of the paper. 256 channels; the pyramid has all channels and
            convolutions of stride 2; global attention passes a ReLU.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models pan` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: Input size / feature size of the encoder: 16 or 32.
        filters: Channels of the decoder; None for the variant's default.
        last_filters: Channels of MobileNetV2's last 1 x 1 convolution, for all of that encoder as
            in segmentation_models.pytorch, where it is 1280; None for an encoder without it. Other
            encoders do not take it.
        timm_encoder: Whether the encoder of variant `smp` is the one that the library takes from
            timm and calls tu-NAME, and not its own of that name.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits to the input's resolution.

    Returns:
        A functional model from images `(batch, height, width, 3)`, float32 RGB in [0, 255], to
        logits `(batch, height, width, num_classes)`, float32, at the input's resolution or, if not
        `resize_logits`, at stride 4.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Li et al., Pyramid Attention Network for Semantic Segmentation, BMVC 2018.
        https://arxiv.org/abs/1805.10180
        Variant `smp`: https://github.com/qubvel-org/segmentation_models.pytorch
    """
    filters = filters if filters is not None else (32 if variant == "smp" else 256)
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        last_filters=last_filters,
    )
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride)
    images = keras.Input(input_shape, name="image")
    found = chosen.features(
        preprocess(images, preprocessing, chosen.preprocessing),
        **_encoder_form(chosen, variant, last_filters, timm_encoder),
    )
    features = _fpa(found[32], filters, variant)
    for index, stride in ((3, 16), (2, 8), (1, 4)):
        features = _gau(found[stride], features, filters, variant, f"gau{index}")
    logits = Conv2D(num_classes, 3, dtype="float32", name="logits")(features)
    return end(images, logits, resize_logits=resize_logits, align_corners=True, name="pan")


def _encoder_form(
    chosen: encoders.Chosen, variant: str, last_filters: int | None, timm_encoder: bool
) -> dict:
    """Returns the encoder's options in the form of a variant."""
    if variant != "smp":
        unused = {"last_filters": last_filters, "timm_encoder": timm_encoder or None}
        check_unused(f"variant {variant}", None, **unused)
        return {}
    if chosen.family is mobilenet:
        # Release 0.1 has no other.
        if last_filters is None:
            return {}
        return {**chosen.form("smp"), "last_filters": last_filters}
    check_unused("", chosen.name, last_filters=last_filters)
    return _smp.encoder_form(chosen, timm_encoder)


def _fpa(features, filters: int, variant: str):
    """Feature pyramid attention: a 1 x 1 convolution times the pyramid, plus the global mean."""
    smp = variant == "smp"
    width = 1 if smp else filters
    pooled = AdaptiveAveragePooling2D(1, name="fpa_global_mean")(features)
    pooled = conv_bn(pooled, filters, 1, use_bias=smp, name="fpa_global")
    pooled = ResizeLike(True, name="fpa_global_resize")(pooled, features)
    main = conv_bn(features, filters, 1, use_bias=smp, name="fpa_main")

    scales, result = [features], features
    for index, kernel in enumerate(_KERNELS, start=1):
        if smp:
            result = MaxPooling2D(2, name=f"fpa_down{index}_pool")(result)
        strides = 1 if smp else 2
        result = conv_bn(
            result, width, kernel, strides=strides, use_bias=smp, name=f"fpa_down{index}"
        )
        scales.append(result)
    attention = conv_bn(result, width, _KERNELS[-1], use_bias=smp, name="fpa_up3")
    for index in (2, 1):
        attention = ResizeLike(True, name=f"fpa_up{index + 1}_resize")(attention, scales[index])
        beside = conv_bn(
            scales[index], width, _KERNELS[index - 1], use_bias=smp, name=f"fpa_up{index}"
        )
        attention = layers.Add(name=f"fpa_up{index}_add")([attention, beside])
    attention = ResizeLike(True, name="fpa_up1_resize")(attention, features)
    weighted = layers.Multiply(name="fpa_multiply")([attention, main])
    return layers.Add(name="fpa_add")([weighted, pooled])


def _gau(low, high, filters: int, variant: str, name: str):
    """Global attention upsampling: fine channels are weighted by the mean of coarse features."""
    smp = variant == "smp"
    weights = AdaptiveAveragePooling2D(1, name=f"{name}_mean")(high)
    weights = conv_bn(
        weights,
        filters,
        1,
        use_bias=smp,
        activation="sigmoid" if smp else "relu",
        name=f"{name}_weights",
    )
    low = conv_bn(low, filters, 3, use_bias=smp, name=f"{name}_low")
    low = layers.Multiply(name=f"{name}_multiply")([low, weights])
    high = ResizeLike(True, name=f"{name}_resize")(high, low)
    return layers.Add(name=f"{name}_add")([high, low])
