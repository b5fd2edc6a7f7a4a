"""The `config.json` beside a file of Hugging Face's: architecture, options and class names."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..encoders import _convnext_weights, _mit_weights, _swin_weights, dinov2, dinov3
from .limits import CheckpointError, OtherNetworkError
from .openmmlab import Network
from .openmmlab_checks import check, is_list, numbers, part_of, shown, whole

SOURCE = "huggingface"
CONFIGURATION = "config.json"
# Names of files that come with such a configuration.
_FILES = re.compile(r"(pytorch_)?model(\.[\w-]+)?\.(safetensors|bin)")
_LARGEST = 2**20

Part = dict[str, Any]


def beside(path: Path) -> Path | None:
    """Returns the configuration that lies beside a file with a name of Hugging Face's, if any."""
    place = path.with_name(CONFIGURATION)
    return place if _FILES.fullmatch(path.name) and place.is_file() else None


def read(path: Path) -> tuple[Network, tuple[str, ...]]:
    """Reads a configuration.

    Args:
        path: The `config.json`.

    Returns:
        The network, without options that only tensors show, and the class names; empty if they are
        only numbered.

    Raises:
        OtherNetworkError: If the network differs from ours in what tensors do not show.
        CheckpointError: If it is no configuration, or of an architecture that kerasseg does not
            have.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{CONFIGURATION} must be JSON of at most 1 MiB.") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in _MODELS:
        raise CheckpointError(
            f"model_type of {CONFIGURATION} must be one of {', '.join(_MODELS)}, got "
            f"{ascii(kind)[:60]}."
        )
    model, describe = _MODELS[kind]
    try:
        options = describe({**found, "type": kind})
    except CheckpointError as error:
        raise OtherNetworkError(str(error)) from error
    return Network(model, options, ""), _names(found.get("id2label"))


def _segformer(part: Part) -> Part:
    _check_told(
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
    _check_told(
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
        _check_told(backbone, patch_size=4, hidden_act="gelu")
        return _sized(backbone, _convnext_weights.SIZES, "hidden_sizes", "depths")
    if kind == "swin":
        _check_told(backbone, patch_size=4, hidden_act="gelu", use_absolute_embeddings=False)
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
        _check_told(part, rope_theta=100)
        if isinstance(part.get("rope_parameters"), dict):  # since transformers 5
            _check_told({"type": part["type"], **part["rope_parameters"]}, rope_theta=100)
    _check_told(part, patch_size=16, num_upscale_blocks=2, hidden_act=activation)
    names = ("image_size", "num_queries", "num_blocks")
    options: Part = {name: whole(part, name) for name in names if name in part}
    if "hidden_size" not in part or "num_hidden_layers" not in part:
        return options
    told = (whole(part, "hidden_size"), whole(part, "num_hidden_layers"), gated)
    for name, size in sizes.items():
        if told == (size.width, size.depth, size.gated):
            _check_told(part, num_attention_heads=size.heads)
            return {**options, "encoder": name}
    raise CheckpointError(f"{part['type']} must be of a known size, got {shown(told)}.")


# By `model_type`: our architecture, and the function that reads its arguments.
_MODELS: dict[str, tuple[str, Callable[[Part], Part]]] = {
    "segformer": ("segformer", _segformer),
    "upernet": ("upernet", _upernet),
    "eomt": ("eomt", _eomt),
    "eomt_dinov3": ("eomt", _eomt),
}


def _check_told(part: Part, **expected: Any) -> None:
    """Checks what tensors do not show; transformers leaves out what has its usual value."""
    for key, value in expected.items():
        check(part, key, value, default=value)


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
