"""The safetensors format: a JSON header with the position of each tensor, and the tensors.

https://github.com/huggingface/safetensors
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .limits import CheckpointError, check_names, check_shape, read_exactly, to_native
from .storages import from_bfloat16

# The header has about 150 bytes per tensor.
_LARGEST_HEADER = 4 * 2**20

_KINDS = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    # NumPy has no bfloat16, so its bits are read.
    "BF16": "<u2",
}


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors.

    Raises:
        CheckpointError: If the file is not whole, or the tensors overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        start = 8 + length
        if length > _LARGEST_HEADER or start > size:
            raise _damaged(f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_without_twins)
            places = _places(header, size - start)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, UnicodeError) as error:
            raise _damaged("another header") from error
        found = {}
        for name, (kind, shape, begin, end) in places.items():
            file.seek(start + begin)
            values = to_native(read_exactly(file, end - begin).view(_KINDS[kind]))
            found[name] = (from_bfloat16(values) if kind == "BF16" else values).reshape(shape)
    return found


def _damaged(received: str) -> CheckpointError:
    return CheckpointError(f"must be a whole .safetensors file, got {received}.")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _damaged("a header with a name twice")
    return found


def _places(header: dict, size: int) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Returns kind, shape, begin and end of each tensor; tensors must not overlap."""
    header.pop("__metadata__", None)
    check_names(header)
    places = {}
    for name, entry in header.items():
        kind, (begin, end) = entry["dtype"], check_shape(name, entry["data_offsets"])
        shape = check_shape(name, entry["shape"])
        if kind not in _KINDS:
            raise CheckpointError(f"{name} must be one of {', '.join(_KINDS)}, got {kind!r:.40}.")
        if math.prod(shape) * np.dtype(_KINDS[kind]).itemsize != end - begin or end > size:
            raise _damaged(f"{end - begin} bytes at {begin} of {size} for {name} of {shape}")
        places[name] = (kind, shape, begin, end)
    last = 0
    for _, _, begin, end in sorted(places.values(), key=lambda place: place[2:]):
        if begin < last:
            raise _damaged("tensors that overlap")
        last = end
    return places
