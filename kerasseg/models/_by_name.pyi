# Written by tests/models/overloads.py from the builders' signatures.
from collections.abc import Callable, Sequence
from typing import Literal, overload

import keras

def names() -> list[str]: ...
def builder(name: str) -> Callable[..., keras.Model]: ...
@overload
def build(
    name: Literal["ddrnet"],
    *,
    num_classes: int,
    size: str = "23_slim",
    variant: str = "paper",
    auxiliary: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["deeplab"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet101",
    variant: str = "paper",
    output_stride: int = 8,
    kernel_size: int | None = None,
    filters: int | None = None,
    dropout: float | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "paper",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["deeplabv3"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int | None = None,
    multi_grid: Sequence[int] | None = None,
    atrous_rates: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["deeplabv3plus"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int | None = None,
    multi_grid: Sequence[int] | None = None,
    atrous_rates: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    separable: bool | None = None,
    filters: int | None = None,
    low_level_filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["eomt"],
    *,
    num_classes: int,
    encoder: str = "dinov2_small",
    variant: str = "paper",
    image_size: int = 512,
    num_queries: int = 100,
    num_blocks: int | None = None,
    masked_attention: bool | Sequence[bool] = False,
    registers: int = 4,
    drop_path: float = 0.0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["fcn"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "vgg16",
    variant: str = "paper",
    stride: int | None = None,
    output_stride: int | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    head_dilation: int | None = None,
    dropout: float | None = None,
    auxiliary: bool = False,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["fpn"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    filters: int = 256,
    head_filters: int = 128,
    dropout: float = 0.2,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["linknet"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    filters: int = 32,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["lraspp"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "mobilenetv3_large",
    variant: str = "paper",
    output_stride: int | None = None,
    filters: int = 128,
    dropout: float = 0.1,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["manet"],
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
) -> keras.Model: ...
@overload
def build(
    name: Literal["pan"],
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
) -> keras.Model: ...
@overload
def build(
    name: Literal["pidnet"],
    *,
    num_classes: int,
    size: str = "s",
    variant: str = "paper",
    auxiliary: bool = True,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["pspnet"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet50",
    variant: str = "paper",
    output_stride: int = 8,
    dilations: Sequence[int] | None = None,
    deep_stem: bool | None = None,
    filters: int | None = None,
    dropout: float = 0.1,
    auxiliary: bool = True,
    auxiliary_filters: int | None = None,
    align_corners: bool | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["refinenet"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet101",
    variant: str = "paper",
    output_stride: int = 32,
    filters: int = 256,
    poolings: int = 4,
    dropout: float = 0.5,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["segformer"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "mit_b0",
    variant: str = "paper",
    filters: int | None = None,
    dropout: float | None = None,
    drop_path: float | None = None,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["segmenter"],
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
) -> keras.Model: ...
@overload
def build(
    name: Literal["segnet"],
    *,
    num_classes: int,
    variant: str = "paper",
    filters: int = 64,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["unet"],
    *,
    num_classes: int,
    variant: str = "paper",
    encoder: str | Callable[..., dict] | None = None,
    decoder_filters: Sequence[int] | None = None,
    filters: int | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    bilinear: bool = False,
    head: str = "fcn",
    head_filters: int | None = None,
    atrous_rates: Sequence[int] = (12, 24, 36),
    auxiliary: bool = False,
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["unetplusplus"],
    *,
    num_classes: int,
    encoder: str | Callable[..., dict] = "resnet34",
    variant: str = "smp",
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    timm_encoder: bool = False,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model: ...
@overload
def build(
    name: Literal["upernet"],
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
) -> keras.Model: ...
