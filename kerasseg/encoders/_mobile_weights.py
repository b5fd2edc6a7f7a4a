"""Names of the tensors of mobile encoders in timm and torchvision."""

import re
from collections.abc import Iterable
from typing import Any

from ._weights import Renames

# Parts of a block in timm: without an expansion, as in the first stage, and with one.
_SEPARABLE = (
    ("conv_dw", "depthwise_conv"),
    ("bn1", "depthwise_bn"),
    ("conv_pw", "project_conv"),
    ("bn2", "project_bn"),
)
_INVERTED = (
    ("conv_pw", "expand_conv"),
    ("bn1", "expand_bn"),
    ("conv_dw", "depthwise_conv"),
    ("bn2", "depthwise_bn"),
    ("conv_pwl", "project_conv"),
    ("bn3", "project_bn"),
)
_TIMM_STEM = ((r"conv_stem", "encoder_stem_conv"), (r"bn1", "encoder_stem_bn"))
_TIMM_UNUSED = ((r"(conv_head|bn2|norm_head|classifier)\.\w+", ""),)
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")


def count_timm_blocks(state: dict, model: Any) -> dict:
    """Counts the blocks of timm through all stages, from 1, as ours are.

    The last convolution of MobileNetV3, which is a stage of its own in timm, gets the name "last".
    """
    places = sorted({_place(name) for name in state if _TIMM_BLOCK.fullmatch(name)})
    numbers = {place: number for number, place in enumerate(places, start=1)}

    def rename(name: str) -> str:
        found = _TIMM_BLOCK.fullmatch(name)
        if found is None:
            return name
        stage, index, rest = found.groups()
        if f"blocks.{stage}.{index}.conv.weight" in state:
            return f"last.{rest}"
        return f"blocks.{numbers[_place(name)]}.{rest}"

    return {rename(name): values for name, values in state.items()}


def _place(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split(".")[1:3]))


# Of `count_timm_blocks`.
TIMM_COUNTED: Renames = (
    *_TIMM_STEM,
    *((rf"blocks\.1\.{theirs}", f"encoder_block1_{ours}") for theirs, ours in _SEPARABLE),
    *((rf"blocks\.(\d+)\.{theirs}", rf"encoder_block\1_{ours}") for theirs, ours in _INVERTED),
    (r"blocks\.(\d+)\.se\.conv_(reduce|expand)", r"encoder_block\1_se_\2"),
    (r"last\.conv", "encoder_last_conv"),
    (r"last\.bn1", "encoder_last_bn"),
    # Names before they are counted.
    (r"blocks\.\d+\.\d+\..+", ""),
    *_TIMM_UNUSED,
)

# For blocks that have the numbers of their stage, from 1, and within it, from 0.
TIMM_STAGES: Renames = (
    *_TIMM_STEM,
    *(
        (rf"blocks\.0\.(\d+)\.{theirs}", rf"encoder_block1_\1_{ours}")
        for theirs, ours in _SEPARABLE
    ),
    *(
        (rf"blocks\.{stage - 1}\.(\d+)\.{theirs}", rf"encoder_block{stage}_\1_{ours}")
        for stage in range(2, 8)
        for theirs, ours in _INVERTED
    ),
    *(
        (
            rf"blocks\.{stage - 1}\.(\d+)\.se\.conv_(reduce|expand)",
            rf"encoder_block{stage}_\1_se_\2",
        )
        for stage in range(1, 8)
    ),
    *_TIMM_UNUSED,
)


_PYTORCH_BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")


def number_by_stage(state: dict, model: Any) -> dict:
    """Gives the blocks of efficientnet_pytorch, counted from 0, the numbers of our layers."""
    blocks = (re.match(r"encoder_block(\d_\d+)_", layer.name) for layer in model.layers)
    places = list(dict.fromkeys(block[1] for block in blocks if block))

    def rename(name: str) -> str:
        found = _PYTORCH_BLOCK.fullmatch(name)
        if found is None or int(found[1]) >= len(places):
            return name
        return f"_blocks.{places[int(found[1])]}.{found[2]}"

    return {rename(name): values for name, values in state.items()}


# Of `number_by_stage`.
EFFICIENTNET_PYTORCH: Renames = (
    (r"_conv_stem", "encoder_stem_conv"),
    (r"_bn0", "encoder_stem_bn"),
    (r"_blocks\.(\d_\d+)\._(expand|depthwise|project)_conv", r"encoder_block\1_\2_conv"),
    *(
        (rf"_blocks\.(\d_\d+)\._bn{number}", rf"encoder_block\1_{part}_bn")
        for number, part in enumerate(("expand", "depthwise", "project"))
    ),
    (r"_blocks\.(\d_\d+)\._se_(reduce|expand)", r"encoder_block\1_se_\2"),
    # Names before they are numbered.
    (r"_blocks\.\d+\..+", ""),
    (r"(_conv_head|_bn1|_fc)\.\w+", ""),
)


def torchvision_blocks(prefix: str, first: str, block: str, becomes: str) -> Renames:
    """Returns the rename table of a stem and of inverted residual blocks in torchvision.

    Args:
        prefix: Pattern of what comes before the number of the stage.
        first: Pattern of the block's place in the stage that does not expand.
        block: Pattern of a block's place, with the groups of `becomes`.
        becomes: Beginning of the name of our block.
    """
    parts = (("0", "conv"), ("1", "bn"))
    return (
        *((rf"{prefix}0\.{number}", f"encoder_stem_{kind}") for number, kind in parts),
        # Squeeze and excitation may come before the last convolution, under the same numbers.
        (rf"{prefix}{block}\.block\.\d\.fc1", f"{becomes}_se_reduce"),
        (rf"{prefix}{block}\.block\.\d\.fc2", f"{becomes}_se_expand"),
        *(
            (rf"{prefix}{place}\.block\.{theirs}\.{number}", f"{becomes}_{ours}_{kind}")
            for place, numbers in ((first, ("0", "[12]")), (block, ("1", "[23]")))
            for theirs, ours in zip(numbers, ("depthwise", "project"), strict=True)
            for number, kind in parts
        ),
        *(
            (rf"{prefix}{block}\.block\.0\.{number}", f"{becomes}_expand_{kind}")
            for number, kind in parts
        ),
    )


# keras-hub's EfficientNets name blocks by stage, from 1, and a letter: "block2a_project.weight".
_HUB_BLOCK = re.compile(r"block(\d)([a-z])_(.+)")
_HUB_PARTS = (
    (r"expand_(?P<kind>conv|bn)", r"expand_\g<kind>"),
    ("dwconv", "depthwise_conv"),
    ("dwconv_bn", "depthwise_bn"),
    (r"se_(?P<step>reduce|expand)", r"se_\g<step>"),
    ("project", "project_conv"),
    ("project_bn", "project_bn"),
)
_HUB_STEM = (
    (r"stem_(conv|bn)", r"encoder_stem_\1"),
    (r"top_(conv|bn)\.\w+", ""),
)


def number_hub_blocks(state: dict, model: Any) -> dict:
    """Gives the blocks of keras-hub's EfficientNets numbers in the place of letters, from 0."""

    def rename(name: str) -> str:
        found = _HUB_BLOCK.fullmatch(name)
        if found is None:
            return name
        return f"blocks.{found[1]}.{ord(found[2]) - ord('a')}.{found[3]}"

    return {rename(name): values for name, values in state.items()}


def count_hub_blocks(state: dict, model: Any) -> dict:
    """Counts the blocks of keras-hub's EfficientNets through all stages, from 1."""
    places = sorted({(m[1], m[2]) for name in state if (m := _HUB_BLOCK.fullmatch(name))})
    numbers = {place: number for number, place in enumerate(places, start=1)}

    def rename(name: str) -> str:
        found = _HUB_BLOCK.fullmatch(name)
        return f"blocks.{numbers[found[1], found[2]]}.{found[3]}" if found else name

    return {rename(name): values for name, values in state.items()}


# Of `number_hub_blocks`.
HUB_STAGES: Renames = (
    *_HUB_STEM,
    *(
        (rf"blocks\.(\d)\.(\d+)\.{theirs}", rf"encoder_block\1_\2_{ours}")
        for theirs, ours in _HUB_PARTS
    ),
)
# Of `count_hub_blocks`.
HUB_COUNTED: Renames = (
    *_HUB_STEM,
    *((rf"blocks\.(\d+)\.{theirs}", rf"encoder_block\1_{ours}") for theirs, ours in _HUB_PARTS),
)


def hub_efficientnet_demands(strides: Iterable[int], activation: str) -> dict[str, Any]:
    """Returns the arguments of keras-hub's EfficientNet that its weights do not tell."""
    return {
        "activation": activation,
        "include_stem_padding": True,
        "projection_activation": None,
        "stackwise_strides": tuple(strides),
        "stem_conv_padding": "valid",
    }


_HUB_MOBILENET_BLOCK = re.compile(r"block_(\d+)_(\d+)\.(.+)")


def count_hub_mobilenet_blocks(state: dict, model: Any) -> dict:
    """Counts the blocks of keras-hub's MobileNetV3 from 1; the last convolution is "last"."""
    found = {name: match for name in state if (match := _HUB_MOBILENET_BLOCK.fullmatch(name))}
    places = sorted({(int(match[1]), int(match[2])) for match in found.values()})
    numbers = {place: str(number) for number, place in enumerate(places, start=1)}
    numbers |= {places[0]: "first", places[-1]: "last"} if places else {}

    def rename(name: str) -> str:
        match = found.get(name)
        if match is None:
            return name
        return f"{numbers[int(match[1]), int(match[2])]}.{match[3]}"

    return {rename(name): values for name, values in state.items()}


# Of `count_hub_mobilenet_blocks`.
HUB_MOBILENET: Renames = (
    (r"input_conv", "encoder_stem_conv"),
    (r"input_batch_norm", "encoder_stem_bn"),
    (r"last\.conv", "encoder_last_conv"),
    (r"last\.batch_normalization", "encoder_last_bn"),
    (r"first\.se_layer\.conv_(reduce|expand)", r"encoder_block1_se_\1"),
    (r"(\d+)\.squeeze_excite\.conv_(reduce|expand)", r"encoder_block\1_se_\2"),
    *(
        (rf"{place}\.{theirs}{index}", f"encoder_block{number}_{part}_{kind}")
        for place, number, parts in (
            ("first", "1", ("depthwise", "project")),
            (r"(\d+)", r"\1", ("expand", "depthwise", "project")),
        )
        for index, part in enumerate(parts, start=1)
        for theirs, kind in (("conv", "conv"), ("batch_normalization", "bn"))
    ),
)
