"""The `config.json` beside a file of weights, of transformers or segmentation_models.pytorch."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from . import huggingface_configuration, smp_configuration
from .limits import CheckpointError, OtherNetworkError
from .openmmlab import Network

CONFIGURATION = "config.json"
# Names of files that come with such a configuration.
_FILES = re.compile(r"(pytorch_)?model(\.[\w-]+)?\.(safetensors|bin)")
_LARGEST = 2**20


class Told(NamedTuple):
    """What a configuration tells.

    Attributes:
        source: One of `kerasseg.checkpoints.SOURCES`.
        network: The network, without options that only tensors show.
        class_names: Names of the classes; empty if there are none.
    """

    source: str
    network: Network
    class_names: tuple[str, ...]


def beside(path: Path) -> Path | None:
    """Returns the configuration that lies beside a file with a name of the Hub's, if any."""
    place = path.with_name(CONFIGURATION)
    return place if _FILES.fullmatch(path.name) and place.is_file() else None


def read(path: Path) -> Told:
    """Reads a configuration.

    Args:
        path: The `config.json`.

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
    found = found if isinstance(found, dict) else {}
    key, module = "model_type", huggingface_configuration
    if "_model_class" in found:
        key, module = "_model_class", smp_configuration
    kinds = module.KINDS
    kind = found.get(key)
    if not isinstance(kind, str) or kind not in kinds:
        raise CheckpointError(
            f"{key} of {CONFIGURATION} must be one of {', '.join(kinds)}, got {ascii(kind)[:60]}."
        )
    return _told(found, module)


def _told(found: dict[str, Any], module: Any) -> Told:
    try:
        network = module.describe(found)
    except CheckpointError as error:
        raise OtherNetworkError(str(error)) from error
    return Told(module.SOURCE, network, huggingface_configuration.class_names(found))
