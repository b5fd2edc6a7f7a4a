"""DINOv3 vision transformers with rotary position embeddings (Siméoni et al. 2025)."""

from . import vit
from ._dino_weights import DINOV3_FILES, hub_presets
from ._tokens import Size, Transformer, begin, pad_to_patch

PAPER = "https://arxiv.org/abs/2508.10104"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
STRIDES = (16,)
OUTPUT_STRIDES = (16,)
BLOCKS = True
LEARNED_POSITIONS = False

SIZES = {
    "dinov3_small": Size(384, 12, 6, 1536),
    "dinov3_small_plus": Size(384, 12, 6, 1536, gated=True),
    "dinov3_base": Size(768, 12, 12, 3072),
    "dinov3_large": Size(1024, 24, 16, 4096),
    "dinov3_huge_plus": Size(1280, 32, 20, 5120, gated=True),
}
NAMES = tuple(SIZES)


def _hub_demands(size: Size) -> dict:
    return {"hidden_activation": "silu" if size.gated else "gelu", "rope_theta": 100.0}


WEIGHTS = (*DINOV3_FILES, hub_presets("DINOV3Backbone", SIZES, _hub_demands))

depths = vit.depths


def features(
    images,
    name: str,
    *,
    output_stride: int = 16,
    registers: int = 4,
    mask_token: bool = False,
    epsilon: float = 1e-5,
    drop_path: float = 0.0,
) -> dict:
    """Applies a DINOv3 vision transformer.

    Args:
        images: Normalised images `(batch, height, width, 3)`. Those smaller than a patch are padded
            with zeros to a patch; what is left over beside whole patches takes no part.
        name: One of `NAMES`.
        output_stride: Side of the patches in pixels.
        registers: Number of registers.
        mask_token: Whether to keep the token that stood for hidden patches in DINOv3's training,
            which nothing uses.
        epsilon: Epsilon of the layer normalisation.
        drop_path: Share of the images for which the last block drops a residual branch in training;
            in the blocks before it, the share is proportionally smaller.

    Returns:
        `{output_stride: features}`, one feature vector per patch.

    Raises:
        ValueError: If an argument is not valid.

    Reference:
        Siméoni et al., DINOv3, 2025. https://arxiv.org/abs/2508.10104
    """
    padded = pad_to_patch(images, output_stride)
    transformer = tokens(
        padded,
        name,
        patch=output_stride,
        registers=registers,
        mask_token=mask_token,
        epsilon=epsilon,
        drop_path=drop_path,
    )
    return {output_stride: transformer.features()}


def tokens(
    images,
    name: str,
    *,
    patch: int,
    registers: int,
    mask_token: bool = False,
    epsilon: float = 1e-6,
    drop_path: float = 0.0,
) -> Transformer:
    """Makes the tokens of images, whose blocks are still to be applied.

    Args:
        images: Normalised images, of a patch at least.
        name: One of `NAMES`.
        patch: Side of the patches in pixels.
        registers: Number of registers.
        mask_token: As for `features`, like all others.
        epsilon: See `features`.
        drop_path: See `features`.
    """
    return begin(
        images,
        SIZES[name],
        patch=patch,
        registers=registers,
        rotary=True,
        epsilon=epsilon,
        drop_path=drop_path,
        mask_token=mask_token,
    )
