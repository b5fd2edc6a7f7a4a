"""Weights on the Hugging Face Hub, by addresses such as `hf://USER/NAME`.

Needs huggingface_hub, the extra `hf`. It keeps what it downloads in its own cache.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from .json_configuration import CONFIGURATION
from .limits import CheckpointError

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
# Names of files with all weights, the best one first; each may come with a configuration.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_VARIANT = "variant.yml"


class Fetched(NamedTuple):
    """Weights from the Hub.

    Attributes:
        path: The file, in huggingface_hub's cache, with its configuration beside it.
        name: `USER/NAME`.
        address: The address with the commit.
    """

    path: Path
    name: str
    address: str


def is_address(text: str) -> bool:
    """Tells whether a text is an address of the Hub and not a path."""
    return text.startswith(SCHEME)


def fetch(address: str) -> Fetched:
    """Downloads weights and their configuration, unless they are in the cache.

    Args:
        address: `hf://USER/NAME`, or `hf://USER/NAME@REVISION` for a branch, tag or commit.

    Raises:
        CheckpointError: If the address is not one, huggingface_hub is not installed, or the files
            are not there or cannot be downloaded.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise CheckpointError(f"address must be hf://USER/NAME, got {ascii(address)[:200]}.")
    name, revision = parts.groups()
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise CheckpointError(
            f"{address} needs huggingface_hub, which is not installed: pip install 'kerasseg[hf]'."
        ) from error
    try:
        info = hub.HfApi().model_info(name, revision=revision)
        files = {file.rfilename for file in info.siblings or ()}
        weights = _choose(address, files)
        place: Any = {"repo_id": name, "revision": info.sha}
        for beside in (CONFIGURATION, _VARIANT):
            if beside in files:
                hub.hf_hub_download(filename=beside, **place)
        path = hub.hf_hub_download(filename=weights, **place)
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise CheckpointError(f"{address} cannot be downloaded ({reason}).") from error
    return Fetched(Path(path), name, f"{SCHEME}{name}@{info.sha}")


def _choose(address: str, files: set[str]) -> str:
    for name in _WEIGHTS:
        if name in files:
            return name
    parts = next((name for name in files if name.endswith(".index.json")), None)
    got = "weights in several parts" if parts else ", ".join(sorted(files)[:6]) or "no files"
    raise CheckpointError(f"{address} must have {' or '.join(_WEIGHTS)}, got {got}.")
