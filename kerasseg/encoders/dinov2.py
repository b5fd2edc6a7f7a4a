"""DINOv2 vision transformers, small to giant, with and without registers (Oquab et al. 2024)."""

from . import vit
from ._dino_weights import DINOV2_FILES, WITH_REGISTERS, hub_presets
from ._tokens import Size, Transformer, begin, pad_to_patch

PAPER = "https://arxiv.org/abs/2304.07193"
PREPROCESSING = "imagenet"
TAKES_ARGUMENT = False
# An architecture may ask for patches with another side.
STRIDES = (14,)
OUTPUT_STRIDES = (14,)
BLOCKS = True
LEARNED_POSITIONS = True

SIZES = {
    "dinov2_small": Size(384, 12, 6, 1536),
    "dinov2_base": Size(768, 12, 12, 3072),
    "dinov2_large": Size(1024, 24, 16, 4096),
    "dinov2_giant": Size(1536, 40, 24, 4096, gated=True),
}
NAMES = tuple(name + form for form in ("", WITH_REGISTERS) for name in SIZES)
WEIGHTS = (*DINOV2_FILES, hub_presets("DINOV2Backbone", SIZES))

depths = vit.depths


def features(
    images,
    name: str,
    *,
    output_stride: int = 14,
    registers: int | None = None,
    grid: tuple[int, int] = (37, 37),
    interpolation: str | None = None,
    class_position: bool = True,
    mask_token: bool = False,
    epsilon: float = 1e-6,
    drop_path: float = 0.0,
) -> dict:
    """Applies a DINOv2 vision transformer.

    Args:
        images: Normalised images `(batch, height, width, 3)`. Those smaller than a patch are padded
            with zeros to a patch; what is left over beside whole patches takes no part.
        name: One of `NAMES`.
        output_stride: Side of the patches in pixels.
        registers: Number of registers; None for 4 with an encoder with registers, otherwise 0.
        grid: `(rows, columns)` of patches in the training images, which is the shape of the
            position embeddings.
        interpolation: How position embeddings are resized, one of
            `layers.position_embeddings.INTERPOLATIONS`; None for "bicubic_antialiased" with
            registers and "bicubic" without, as the published networks do.
        class_position: Whether the class token has a position embedding.
        mask_token: Whether to keep the token that stood for hidden patches in DINOv2's training,
            which nothing uses.
        epsilon: Epsilon of the layer normalisation.
        drop_path: Share of the images for which the last block drops a residual branch in training;
            in the blocks before it, the share is proportionally smaller.

    Returns:
        `{output_stride: features}`, one feature vector per patch.

    Raises:
        ValueError: If an argument is not valid.

    Reference:
        Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024.
        https://arxiv.org/abs/2304.07193
        Darcet et al., Vision Transformers Need Registers, ICLR 2024.
        https://arxiv.org/abs/2309.16588
    """
    padded = pad_to_patch(images, output_stride)
    with_registers = name.endswith(WITH_REGISTERS)
    if interpolation is None:
        interpolation = "bicubic_antialiased" if with_registers else "bicubic"
    transformer = tokens(
        padded,
        name,
        patch=output_stride,
        registers=(4 if with_registers else 0) if registers is None else registers,
        grid=grid,
        interpolation=interpolation,
        class_position=class_position,
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
    grid: tuple[int, int],
    interpolation: str = "bicubic_antialiased",
    class_position: bool = False,
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
        grid: As for `features`, like all others.
        interpolation: See `features`.
        class_position: See `features`.
        mask_token: See `features`.
        epsilon: See `features`.
        drop_path: See `features`.
    """
    return begin(
        images,
        SIZES[name.removesuffix(WITH_REGISTERS)],
        patch=patch,
        registers=registers,
        rotary=False,
        epsilon=epsilon,
        drop_path=drop_path,
        grid=grid,
        interpolation=interpolation,
        class_position=class_position,
        mask_token=mask_token,
    )
