"""UPerNet (Xiao et al. 2018): pyramid pooling and a feature pyramid on any encoder."""

import inspect
from collections.abc import Callable

import keras
from keras import layers

from .. import encoders
from ..encoders import convnext, resnet, swin
from ..encoders._feature_norms import normalize_features
from ..layers import ResizeLike, conv_bn
from ..layers.outputs import end
from ..layers.preprocessing import preprocess
from . import _smp, check_options, check_output_stride, check_unused
from .pspnet import classify, pyramid_pooling

PAPER = "https://arxiv.org/abs/1807.10221"
VARIANTS = ("paper", "smp")
OUTPUT_STRIDES = (32,)
NEEDS = encoders.Needs((4, 8, 16, 32), OUTPUT_STRIDES, auxiliary=16)

# Of the trainings of ConvNeXt and Swin on ADE20K.
_DROP_PATH = {"convnext_small": 0.3, convnext: 0.4, swin: 0.3}


def build(
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "convnext_tiny",
    variant: str = "paper",
    output_stride: int = 32,
    deep_stem: bool | None = None,
    filters: int | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
    align_corners: bool = False,
    auxiliary: bool = True,
    auxiliary_filters: int = 256,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds UPerNet: pyramid pooling on the coarsest features, then a path to the finest ones.

    The pooled features are added to the projected features of each finer stride in turn. Those of
    all four strides are resized to the finest ones, concatenated and convolved.

    Variants:
        paper: The network of OpenMMLab and Hugging Face, which ConvNeXt and Swin are usually
            compared with. On ResNets the stem has three 3 x 3 convolutions of 32, 32 and 64
            channels. ConvNeXt and Swin have another layer normalisation for each of the features;
            rows and columns that fill no patch of ConvNeXt are left out.
        smp: The network of segmentation_models.pytorch. The features of every encoder are
            normalised over their channels, and the head has half the channels. The final resizing
            aligns the corners.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of an encoder with features of strides 4, 8, 16 and 32:
            `kerasseg models upernet` lists them. Or your own function of images.
        variant: One of `VARIANTS`.
        output_stride: 32, as in the paper: the encoder is not dilated.
        deep_stem: Whether a ResNet of variant `paper` has a stem of three 3 x 3 convolutions
            (OpenMMLab's ResNetV1c) and not one 7 x 7 convolution (its ResNet); None for True.
            Variant `smp` does not use it.
        filters: Channels of the head; None for 512, or 256 in variant `smp`.
        dropout: Fraction of channels dropped before the classifiers, in [0, 1). None for 0.1, or 0
            in variant `smp`.
        drop_path: Share of the images for which the last block of a ConvNeXt or Swin drops its
            branch in training, in [0, 1). None for 0.3 or, with a ConvNeXt other than the small
            one, 0.4. Encoders without such branches do not use it.
        align_corners: Whether all resizing aligns the corners, as in OpenMMLab's networks for crops
            of 769 x 769 pixels.
        auxiliary: Whether to add the head on the encoder's third stage for training (its loss has
            weight 0.4).
        auxiliary_filters: Channels of the auxiliary head.
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
        Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018.
        https://arxiv.org/abs/1807.10221
        Heads of OpenMMLab: https://github.com/open-mmlab/mmsegmentation

    Differs from the paper:
        The objects' head alone, not those for scenes, parts, materials and textures. The auxiliary
        head, the channels and the stem are those of OpenMMLab.
    """
    smp = variant == "smp"
    filters = filters if filters is not None else (256 if smp else 512)
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        filters=filters,
        auxiliary_filters=auxiliary_filters,
    )
    check_output_stride(output_stride, OUTPUT_STRIDES)
    chosen = encoders.choose(encoder, NEEDS, output_stride=output_stride, auxiliary=auxiliary)
    dropout = dropout if dropout is not None else (0.0 if smp else 0.1)
    images = keras.Input(input_shape, name="image")
    found = chosen.features(
        preprocess(images, preprocessing, chosen.preprocessing),
        **_encoder_form(chosen, smp, deep_stem, drop_path, timm_encoder),
    )
    if smp:
        found = normalize_features({stride: found[stride] for stride in NEEDS.strides}, 1e-6)
    features = _decode(found, filters, align_corners)
    logits = classify(features, num_classes, filters, dropout, "head")
    extra = None
    if auxiliary:
        extra = classify(found[16], num_classes, auxiliary_filters, dropout, "auxiliary")
    return end(
        images,
        logits,
        extra,
        resize_logits=resize_logits,
        align_corners=align_corners or smp,
        name="upernet",
    )


def _encoder_form(
    chosen: encoders.Chosen,
    smp: bool,
    deep_stem: bool | None,
    drop_path: float | None,
    timm_encoder: bool,
) -> dict:
    """Returns the encoder's options in the form of a variant."""
    family, name = chosen.family, chosen.name
    if not smp:
        check_unused("variant paper", None, timm_encoder=timm_encoder or None)
    form = _smp.encoder_form(chosen, timm_encoder) if smp else {}
    if "drop_path" in inspect.signature(family.features).parameters:
        usual = _DROP_PATH.get(name, _DROP_PATH.get(family, 0.1))
        form["drop_path"] = usual if drop_path is None else drop_path
    else:
        check_unused("", name, drop_path=drop_path)
    if family in (convnext, swin):
        form["output_norms"] = not smp
    if family is convnext:
        form["pad_patches"] = False
    if smp or family is not resnet:
        check_unused("variant smp" if smp else "", name, deep_stem=deep_stem)
    elif deep_stem is not False:
        form["stem"] = resnet.V1C_STEM
    return form


def _decode(found: dict, filters: int, align_corners: bool):
    """Returns the fused features of all strides, without the last convolution."""

    def resize(features, reference, name):
        return ResizeLike(align_corners, name=f"{name}_resize")(features, reference)

    pooled = pyramid_pooling(found[32], align_corners=align_corners, filters=filters)
    coarser = conv_bn(pooled, filters, 3, name="ppm")
    pyramid = {32: coarser}
    for stride in (16, 8, 4):
        lateral = conv_bn(found[stride], filters, 1, name=f"lateral{stride}")
        above = resize(coarser, lateral, f"lateral{stride}")
        coarser = layers.Add(name=f"lateral{stride}_add")([lateral, above])
        pyramid[stride] = conv_bn(coarser, filters, 3, name=f"fpn{stride}")
    finest = pyramid[4]
    resized = [resize(pyramid[stride], finest, f"fpn{stride}") for stride in (8, 16, 32)]
    return layers.Concatenate(name="fpn_concat")([finest, *resized])
