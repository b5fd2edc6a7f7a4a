"""VGG16 (Simonyan and Zisserman 2015), and the forms of it in FCN and DeepLab."""

from keras import layers

from ..layers import Conv2D, MaxPooling2D
from ._weights import Application

PAPER = "https://arxiv.org/abs/1409.1556"
PREPROCESSING = "caffe"
NAMES = ("vgg16",)
TAKES_ARGUMENT = False
STRIDES = (2, 4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)
# Why presets of keras-hub are refused.
NOT_OF_HUB = "keras-hub's VGG16 was trained on images of another normalisation"

# Convolutions of the five stages, and their channels as multiples of the first stage's.
_DEPTHS = (2, 2, 3, 3, 3)
_MULTIPLES = (1, 2, 4, 8, 8)


def features(
    images,
    name: str,
    *,
    output_stride: int = 32,
    pool_size: int = 2,
    ceil_pooling: bool = True,
    border: int = 1,
    filters: int = 64,
) -> dict:
    """Applies the 13 convolutions and five poolings of VGG16.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        name: "vgg16".
        output_stride: 8, 16 or 32. Beyond it, the convolutions after a pooling are dilated instead.
            The pooling has stride 1 if its window is 3, as in DeepLab. It is left out if its window
            is 2, as in the dilated VGG16 of Yu and Koltun, because a window of 2 with stride 1
            would shift the features.
        pool_size: Side of the pooling windows: 2 as in VGG16, or 3 with a border of 1 as in
            DeepLab.
        ceil_pooling: Whether pooling rounds odd sizes up, as Caffe does, or down.
        border: Width of the border of zeros around the image: 1 as in VGG16, 100 as in FCN.
        filters: Channels of the first stage, 64 in the paper; those of the other stages are in
            proportion.

    Returns:
        `{stride: features}` after the pooling of each stage, for the strides 2, 4, 8, 16 and 32.
        Each key is the stride that the stage would have without dilation.

    Raises:
        ValueError: If the output stride is not valid.

    Reference:
        Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
        ICLR 2015. https://arxiv.org/abs/1409.1556
        Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016, section
        4. https://arxiv.org/abs/1511.07122
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
    result = images
    if border != 1:
        result = layers.ZeroPadding2D(border, name="encoder_border")(result)
    found = {}
    stride, dilation = 1, 1
    for stage, (depth, multiple) in enumerate(zip(_DEPTHS, _MULTIPLES, strict=True), start=1):
        for index in range(1, depth + 1):
            first = (stage, index) == (1, 1)
            result = Conv2D(
                filters * multiple,
                3,
                padding="valid" if first and border != 1 else "symmetric",
                dilation_rate=dilation,
                activation="relu",
                name=f"encoder_conv{stage}_{index}",
            )(result)
        step = 2 if stride < output_stride else 1
        stride *= step
        if step > 1 or pool_size % 2:
            result = MaxPooling2D(
                pool_size,
                step,
                padding=pool_size // 2 if pool_size % 2 else 0,
                ceil=ceil_pooling,
                name=f"encoder_pool{stage}",
            )(result)
        # After a pooling that lost its stride, the distance between the taps of a kernel doubles.
        dilation *= 2 // step
        found[2**stage] = result
    return found


def _application_options(name: str, model) -> dict:
    names = {layer.name for layer in model.layers}
    # The layers fc6 and fc7 of FCN get the weights of the classifier.
    top = "fc6" in names and model.get_layer("fc6").kernel.shape[:2] == (7, 7)
    return {"include_top": top}


WEIGHTS = (
    Application(
        "VGG16",
        ((r"block(\d)_conv(\d)", r"encoder_conv\1_\2"), (r"fc1", "fc6"), (r"fc2", "fc7")),
        _application_options,
    ),
)
