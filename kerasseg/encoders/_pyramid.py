"""Feature pyramids of vision transformers, which have features of one stride only."""

from collections.abc import Iterable
from typing import Any

from keras import layers

from ..layers import (
    Conv2D,
    Conv2DTranspose,
    CropPadding,
    LayerNormalization,
    MaxPooling2D,
    PadToMultiple,
)
from ..layers.activations import gelu
from ..layers.rescale import Rescale

_BEGINNING = "pyramid:"
_MIDDLE = 16  # the stride of the transformer's patches, from which the others are made
_EPSILON = 1e-6


class PyramidFamily:
    """A family of encoders: the transformers of another family, each with a simple pyramid.

    The last features, which have stride 16, are enlarged by transposed convolutions and reduced by
    pooling. A 1 x 1 and a 3 x 3 convolution then bring each level to the same number of channels. A
    layer normalisation follows each convolution.

    Images are padded with zeros to multiples of 16 pixels. A transformer whose patches are not 16
    pixels wide, but 14, sees images that are so much smaller, so that it has as many patches.

    The layers of the pyramid have names that begin with `pyramid`, and not with `encoder_`: weights
    of the encoder are those of the transformer alone, and the pyramid learns as the decoder does.

    Args:
        transformer: Module of a family with features of one stride, such as
            `kerasseg.encoders.vit`. Its encoder "vit_tiny" is "pyramid:vit_tiny" here.

    Reference:
        Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022,
        section 3. https://arxiv.org/abs/2203.16527
    """

    TAKES_ARGUMENT = False
    STRIDES = (4, 8, 16, 32)
    OUTPUT_STRIDES = (8, 16, 32)
    __name__ = "pyramid"

    def __init__(self, transformer: Any):
        self._transformer = transformer
        self.NAMES = tuple(_BEGINNING + name for name in transformer.NAMES)
        self.PREPROCESSING = transformer.PREPROCESSING
        self.WEIGHTS = getattr(transformer, "WEIGHTS", ())

    def __getattr__(self, name: str) -> Any:
        """Returns the transformers' function `depths`, which only some families have."""
        if name != "depths":
            raise AttributeError(name)
        return self._transformer.depths

    def features(
        self,
        images,
        name: str,
        *,
        output_stride: int = 32,
        filters: int = 256,
        **form: Any,
    ) -> dict:
        """Applies a transformer and makes a pyramid of its last features.

        Args:
            images: Normalised images `(batch, height, width, channels)`.
            name: One of `NAMES`.
            output_stride: 8, 16 or 32; the 3 x 3 convolutions of strides beyond it keep the
                resolution of `output_stride` and are dilated instead.
            filters: Channels of each level.
            **form: Further options of the transformers' `features`, such as `grid`.

        Returns:
            `{stride: features}` for the strides 4, 8, 16 and 32. Each key is the stride that the
            level would have without dilation.

        Raises:
            ValueError: If an argument is not valid.
        """
        if output_stride not in self.OUTPUT_STRIDES:
            raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}.")
        (patch,) = self._transformer.STRIDES
        seen = _fit_to_patches(images, patch)
        found = self._transformer.features(
            seen, name.removeprefix(_BEGINNING), output_stride=patch, **form
        )
        strides = {stride: min(stride, output_stride) for stride in self.STRIDES}
        maps = _resample(found[patch], strides.values())
        return {
            stride: CropPadding(actual, name=f"pyramid{stride}_crop")(
                _project(maps[actual], filters, stride // actual, f"pyramid{stride}"), images
            )
            for stride, actual in strides.items()
        }


def _fit_to_patches(images, patch: int):
    """Pads and resizes images so that a patch covers 16 pixels of theirs."""
    padded = PadToMultiple(_MIDDLE, name="pyramid_pad")(images)
    if patch == _MIDDLE:
        return padded
    return Rescale(patch, _MIDDLE, name="pyramid_rescale")(padded)


def _resample(features, strides: Iterable[int]) -> dict:
    """Returns features of the wanted strides, made of those of stride 16."""
    width = features.shape[-1]
    found = {_MIDDLE: features}
    if 32 in strides:
        found[32] = MaxPooling2D(2, ceil=True, name="pyramid32_pool")(features)
    if 8 in strides:
        found[8] = _double(features, max(1, width // 2), "pyramid8")
    if 4 in strides:
        halfway = _double(features, max(1, width // 2), "pyramid4_1")
        halfway = LayerNormalization(epsilon=_EPSILON, name="pyramid4_norm")(halfway)
        halfway = layers.Activation(gelu, name="pyramid4_gelu")(halfway)
        found[4] = _double(halfway, max(1, width // 4), "pyramid4_2")
    return found


def _double(features, filters: int, name: str):
    return Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_upconv"
    )(features)


def _project(features, filters: int, dilation_rate: int, name: str):
    for index, (kernel, rate) in enumerate(((1, 1), (3, dilation_rate)), start=1):
        features = Conv2D(
            filters, kernel, dilation_rate=rate, use_bias=False, name=f"{name}_conv{index}"
        )(features)
        features = LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm{index}")(features)
    return features
