"""Configurations of Hugging Face's transformers: architecture, options and class names."""

from collections.abc import Callable, Mapping
from typing import Any

from ..encoders import _convnext_weights, _mit_weights, _swin_weights, dinov2, dinov3
from .limits import CheckpointError
from .openmmlab import Network
from .openmmlab_checks import Part, check_told, is_list, numbers, part_of, shown, whole

SOURCE = "huggingface"


def describe(configuration: Part) -> Network:
    """Returns the network that a configuration describes, without what only tensors show.

    Args:
        configuration: The content of the `config.json`, of a `model_type` in `KINDS`.

    Raises:
        CheckpointError: If the network differs from ours in what tensors do not show.
    """
    kind = configuration["model_type"]
    model, describe_options = _MODELS[kind]
    return Network(model, describe_options({**configuration, "type": kind}), "")


def class_names(configuration: Part) -> tuple[str, ...]:
    """Returns the class names of a configuration; empty if they are only numbered."""
    return _names(configuration.get("id2label"))


def _segformer(part: Part) -> Part:
    check_told(
        part,
        num_attention_heads=_mit_weights.HEADS,
        sr_ratios=_mit_weights.REDUCTIONS,
        patch_sizes=(7, 3, 3, 3),
        strides=(4, 2, 2, 2),
        hidden_act="gelu",
        reshape_last_stage=True,
    )
    return _sized(part, _mit_weights.SIZES, "hidden_sizes", "depths")


def _upernet(part: Part) -> Part:
    check_told(
        part,
        pool_scales=(1, 2, 3, 6),
        auxiliary_num_convs=1,
        auxiliary_concat_input=False,
    )
    if part.get("backbone_config") is None:
        return {}
    backbone = part_of("backbone_config", _typed(part["backbone_config"]))
    kind = backbone["type"]
    if kind == "convnext":
        check_told(backbone, patch_size=4, hidden_act="gelu")
        return _sized(backbone, _convnext_weights.SIZES, "hidden_sizes", "depths")
    if kind == "swin":
        check_told(backbone, patch_size=4, hidden_act="gelu", use_absolute_embeddings=False)
        options = _sized(backbone, _swin_weights.SIZES, "embed_dim", "depths")
        window = whole(backbone, "window_size", 7)
        if options and window != 7:
            options["encoder"] += f":{window}"
        return options
    raise CheckpointError(f"backbone_config must be of convnext or swin, got {shown(kind)}.")


def _eomt(part: Part) -> Part:
    if part["type"] == "eomt":
        sizes, gated, activation = dinov2.SIZES, bool(part.get("use_swiglu_ffn")), "gelu"
    else:
        sizes, gated = dinov3.SIZES, bool(part.get("use_gated_mlp"))
        activation = "silu" if gated else "gelu"
        check_told(part, rope_theta=100)
        if isinstance(part.get("rope_parameters"), dict):  # since transformers 5
            check_told({"type": part["type"], **part["rope_parameters"]}, rope_theta=100)
    check_told(part, patch_size=16, num_upscale_blocks=2, hidden_act=activation)
    names = ("image_size", "num_queries", "num_blocks")
    options: Part = {name: whole(part, name) for name in names if name in part}
    if "hidden_size" not in part or "num_hidden_layers" not in part:
        return options
    told = (whole(part, "hidden_size"), whole(part, "num_hidden_layers"), gated)
    for name, size in sizes.items():
        if told == (size.width, size.depth, size.gated):
            check_told(part, num_attention_heads=size.heads)
            return {**options, "encoder": name}
    raise CheckpointError(f"{part['type']} must be of a known size, got {shown(told)}.")


# By `model_type`: our architecture, and the function that reads its arguments.
_MODELS: dict[str, tuple[str, Callable[[Part], Part]]] = {
    "segformer": ("segformer", _segformer),
    "upernet": ("upernet", _upernet),
    "eomt": ("eomt", _eomt),
    "eomt_dinov3": ("eomt", _eomt),
}
KINDS = tuple(_MODELS)


def _sized(part: Part, sizes: Mapping[str, tuple[Any, tuple]], widths: str, depths: str) -> Part:
    """Returns the encoder, if its width and its numbers of blocks are told."""
    if widths not in part or depths not in part:
        return {}
    told = (_first(part[widths]), numbers(part, depths))
    for name, (width, blocks) in sizes.items():
        if told == (_first(width), blocks):
            return {"encoder": name}
    raise CheckpointError(f"{part['type']} must be of a known size, got {shown(told)}.")


def _first(found: Any) -> Any:
    """Returns the width of the first stage; those of the others follow from it."""
    return found[0] if is_list(found) and found else found


def _typed(found: Any) -> Any:
    """Returns a configuration inside of another with its `model_type` as type."""
    return {**found, "type": found.get("model_type")} if isinstance(found, dict) else found


def _names(found: Any) -> tuple[str, ...]:
    """Returns the names of `{"0": NAME, "1": NAME ...}`."""
    if not isinstance(found, dict):
        return ()
    names = [found.get(str(index)) for index in range(len(found))]
    if not all(isinstance(name, str) for name in names):
        return ()
    # Without names, transformers numbers them.
    if names == [f"LABEL_{index}" for index in range(len(names))]:
        return ()
    return tuple(str(name).strip() for name in names)
