"""What the networks of segmentation_models.pytorch (smp) have in common.

smp takes images whose sides are multiples of 32. Other images are padded to such sides here, with
zeros at the bottom and right after their normalisation; the logits of the padding are cut off.
"""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

from keras import layers

from .. import encoders
from ..layers import PadToMultiple, UpsampleNearest, conv_bn
from ..layers.preprocessing import preprocess

# Features of stride 2 are decoded where an encoder has some.
NEEDS = encoders.Needs((4, 8, 16, 32), (32,))
NEEDS_STRIDE_2 = encoders.Needs((2, 4, 8, 16, 32), (32,))
DECODER_FILTERS = (256, 128, 64, 32, 16)

_OUTPUT_STRIDE = 32


def check_decoder_filters(decoder_filters: Any, *, may_end_early: bool = False) -> None:
    """Checks the channels of a decoder.

    Args:
        decoder_filters: Channels at the strides 16, 8, 4, 2 and 1.
        may_end_early: Whether the last ones may be missing.

    Raises:
        ValueError: If they are not five whole numbers of at least 1, or one to five.
    """
    values = tuple(decoder_filters) if isinstance(decoder_filters, Iterable) else ()
    whole = (isinstance(each, Integral) and not isinstance(each, bool) for each in values)
    most = len(DECODER_FILTERS)
    fits = 1 <= len(values) <= most if may_end_early else len(values) == most
    if not fits or not all(whole) or min(values) < 1:
        count = "one to five" if may_end_early else "five"
        raise ValueError(
            f"decoder_filters must be {count} whole numbers of at least 1, from stride 16 to 1, "
            f"got {decoder_filters!r}."
        )


def encode(
    images,
    encoder: str | Callable[..., dict],
    needs: encoders.Needs,
    preprocessing: str | None,
    timm_encoder: bool,
) -> tuple[Any, dict]:
    """Normalises images, pads them to multiples of 32 and applies the encoder in smp's form.

    Args:
        images: The model's input, `(batch, height, width, channels)`.
        encoder: Name of an encoder, or a function of images.
        needs: What the architecture needs of it.
        preprocessing: As for `kerasseg.layers.preprocessing.preprocess`.
        timm_encoder: Whether the encoder is timm's, and not smp's own of that name.

    Returns:
        The padded images and `{stride: features}`.

    Raises:
        ValueError: If the encoder or the preprocessing is unknown, or the encoder lacks something.
    """
    chosen = encoders.choose(encoder, needs, output_stride=_OUTPUT_STRIDE)
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    padded = pad(normalized)
    return padded, chosen.features(padded, **encoder_form(chosen, timm_encoder))


def pad(images):
    """Pads images `(batch, height, width, channels)` to sides that are multiples of 32."""
    return PadToMultiple(_OUTPUT_STRIDE, name="pad_image")(images)


def encoder_form(chosen: encoders.Chosen, timm_encoder: bool) -> dict:
    """Returns the options of an encoder's `features` that make it smp's, or timm's."""
    return chosen.form("timm" if timm_encoder else "smp")


def decode(found: dict, decoder_filters: Sequence[int]):
    """Decodes features as U-Net does, level by level.

    Args:
        found: `{stride: features}`; there is no skip at a stride that is missing.
        decoder_filters: Channels at the strides 16, 8, 4, 2 and 1, or at the first of these.

    Returns:
        `(batch, height, width, decoder_filters[-1])` at the last of these strides.
    """
    features = found[_OUTPUT_STRIDE]
    for index, filters in enumerate(decoder_filters):
        skip = found.get(16 >> index) if index < 4 else None
        features = enlarge(features, [] if skip is None else [skip], filters, f"decoder{index}")
    return features


def enlarge(features, skips: Sequence, filters: int, name: str):
    """Doubles the resolution, concatenates the skips and applies two 3 x 3 convolutions.

    Args:
        features: `(batch, height, width, channels)`.
        skips: Features of the doubled resolution.
        filters: Number of output channels.
        name: What the names of the layers begin with.

    Returns:
        `(batch, 2 * height, 2 * width, filters)`.
    """
    features = UpsampleNearest(2, name=f"{name}_upsample")(features)
    if skips:
        features = layers.Concatenate(name=f"{name}_concat")([features, *skips])
    features = conv_bn(features, filters, 3, name=f"{name}_1")
    return conv_bn(features, filters, 3, name=f"{name}_2")
