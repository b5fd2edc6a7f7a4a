"""OpenMMLab's configurations: which network they describe, in the words of our architectures.

A configuration is the text inside a file of MMSegmentation or a row of `openmmlab.tsv`. Both go
through `describe`. What it does not know is an error: a network that differs in an option that
tensors cannot show would compute other logits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from . import configuration_text
from .configuration_text import inner
from .limits import CheckpointError, OtherNetworkError
from .openmmlab_backbones import BACKBONES
from .openmmlab_checks import choose, is_list, numbers, part_of, shown, whole
from .openmmlab_heads import HEADS, WITH_AUXILIARY

SOURCE = "mmseg"

# Mean and standard deviation of each channel, and whether images become RGB.
_PREPROCESSING: dict[tuple, str] = {
    (123.675, 116.28, 103.53, 58.395, 57.12, 57.375, True): "imagenet",
    (127.5, 127.5, 127.5, 127.5, 127.5, 127.5, True): "tf",
}


class Windows(NamedTuple):
    """Windows in which a network is evaluated: `(height, width)` of one, and of the step."""

    crop_size: tuple[int, int]
    stride: tuple[int, int]


class Network(NamedTuple):
    """What a configuration says.

    Attributes:
        model: Name of our architecture.
        options: Arguments of its `build`, without those of the input.
        preprocessing: Name of the preset that normalises images.
        windows: Windows of its evaluation; None for whole images.
    """

    model: str
    options: dict[str, Any]
    preprocessing: str
    windows: Windows | None = None


def read(text: str) -> Network:
    """Reads the configuration of a file, of MMSegmentation 0.x or 1.x.

    Raises:
        OtherNetworkError: If it describes a network that kerasseg does not have.
        CheckpointError: If it is not a configuration, or incomplete.
    """
    values = configuration_text.read(text)
    if "_base_" in values:
        raise CheckpointError("configuration must be complete, got one with _base_.")
    model = values.get("model")
    if not isinstance(model, dict):
        raise CheckpointError("configuration must assign dict(...) to model, got none.")
    # Early releases of MMSegmentation have `test_cfg` beside the model.
    tests = model.get("test_cfg") or values.get("test_cfg") or {}
    normalization = _normalization(values, model)
    try:
        return describe({**model, "test_cfg": tests, "normalization": normalization})
    except CheckpointError as error:
        raise OtherNetworkError(str(error)) from error


def _normalization(values: Mapping[str, Any], model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns `mean`, `std` and `to_rgb`, which 1.x has with the model, and 0.x in the pipeline."""
    found = model.get("data_preprocessor") or values.get("data_preprocessor")
    if isinstance(found, dict) and "mean" in found:
        return {**found, "to_rgb": found.get("bgr_to_rgb", False)}
    pipeline = inner(values, "data", "test", "pipeline") or values.get("test_pipeline")
    for step in _steps(pipeline):
        if step.get("type") == "Normalize":
            return {"to_rgb": True, **step}
    found = values.get("img_norm_cfg")
    return {"to_rgb": True, **found} if isinstance(found, dict) else {}


def _steps(pipeline: Any) -> list[dict]:
    """Lists the steps of a pipeline, with those inside of a step that repeats others."""
    found = [step for step in pipeline if isinstance(step, dict)] if is_list(pipeline) else []
    nested = [step["transforms"] for step in found if is_list(step.get("transforms"))]
    return found + [step for inside in nested for step in inside if isinstance(step, dict)]


def describe(configuration: Mapping[str, Any]) -> Network:
    """Returns the network that a configuration describes.

    Args:
        configuration: `backbone`, `decode_head` and `test_cfg` as MMSegmentation has them,
            `auxiliary_head` if there is one, and `normalization` with `mean`, `std`, `to_rgb`.

    Raises:
        CheckpointError: If kerasseg does not have it.
    """
    for key in ("neck", "plugins"):
        if configuration.get(key) is not None:
            raise CheckpointError(f"configuration must have no {key}, got one.")
    backbone = part_of("backbone", configuration.get("backbone"))
    head = part_of("decode_head", _only(configuration.get("decode_head")))
    encoder = choose(backbone, BACKBONES, "backbone")(backbone)
    model, options = choose(head, HEADS, "decode_head")(head, encoder)
    options["num_classes"] = whole(head, "num_classes")
    if model in WITH_AUXILIARY:
        options["auxiliary"] = bool(configuration.get("auxiliary_head"))
    return Network(
        model,
        options,
        _preprocessing(configuration.get("normalization") or {}),
        _windows(configuration.get("test_cfg")),
    )


def _only(heads: Any) -> Any:
    """Returns the head if there is one; a cascade of heads is none of our architectures."""
    if is_list(heads) and len(heads) != 1:
        raise CheckpointError(f"decode_head must be one head, got {len(heads)}.")
    return heads[0] if is_list(heads) else heads


def _preprocessing(found: Mapping[str, Any]) -> str:
    key = (*numbers(found, "mean"), *numbers(found, "std"), found.get("to_rgb") is True)
    if key not in _PREPROCESSING:
        raise CheckpointError(f"images must be normalised in a known way, got {shown(key)}.")
    return _PREPROCESSING[key]


def _windows(found: Any) -> Windows | None:
    if not isinstance(found, Mapping) or found.get("mode") != "slide":
        return None
    return Windows(_sides(found, "crop_size"), _sides(found, "stride"))


def _sides(found: Mapping[str, Any], key: str) -> tuple[int, int]:
    sides = numbers(found, key)
    if len(sides) != 2:
        raise CheckpointError(f"{key} must be two numbers, got {shown(sides)}.")
    return int(sides[0]), int(sides[1])
