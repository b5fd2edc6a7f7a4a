"""The `config.json` beside a file of Hugging Face's: architecture, options and class names."""

import json
import re
from pathlib import Path
from typing import Any

from .limits import CheckpointError
from .openmmlab import Network
from .openmmlab_checks import whole

SOURCE = "huggingface"
CONFIGURATION = "config.json"
# Names of files that come with such a configuration.
_FILES = re.compile(r"(pytorch_)?model(\.[\w-]+)?\.(safetensors|bin)")
_LARGEST = 2**20

# By `model_type`, our architecture and the arguments that have the configuration's names.
_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "segformer": ("segformer", ()),
    "upernet": ("upernet", ()),
    "eomt": ("eomt", ("image_size", "num_queries", "num_blocks")),
    "eomt_dinov3": ("eomt", ("image_size", "num_queries", "num_blocks")),
}


def beside(path: Path) -> Path | None:
    """Returns the configuration that lies beside a file with a name of Hugging Face's, if any."""
    place = path.with_name(CONFIGURATION)
    return place if _FILES.fullmatch(path.name) and place.is_file() else None


def read(path: Path) -> tuple[Network, tuple[str, ...]]:
    """Reads a configuration.

    Args:
        path: The `config.json`.

    Returns:
        The network, without options that tensors show, and the class names; empty if they are only
        numbered.

    Raises:
        CheckpointError: If it is none, or of an architecture that kerasseg does not have.
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
    model, names = _MODELS[kind]
    options = {name: whole(found, name) for name in names if name in found}
    return Network(model, options, ""), _names(found.get("id2label"))


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
