"""PyTorch's files: zip archives, and older files of several pickles in a row."""

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .archives import Archive
from .limits import MOST_TENSORS, CheckpointError, check_names, read_exactly
from .pickles import Loader
from .storages import LazyTensor, Saved, Storage

# Keys under which training code keeps the network's tensors.
_WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "net", "network")
# The key under which OpenMMLab's training code keeps its configuration and the classes.
_META = "meta"
_DEEPEST = 4
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Largest size of each of the three pickles before the pickle of the tensors, in bytes.
_LONGEST_HEAD = 4096

# Tied weights are one view with two names, which counts once, or a transposed view. All different
# views of a storage together may have four times its elements.
_MOST_VIEWED = 4


def read_zip(archive: Archive) -> Saved:
    """Reads the tensors of an archive that `torch.save` wrote, and what is under `meta`.

    Raises:
        CheckpointError: If the archive has no pickle of tensors, or a tensor is incomplete.
    """
    pickled = [name for name in archive.names if name.rpartition("/")[2] == "data.pkl"]
    if len(pickled) != 1:
        shown = ", ".join(name[:100] for name in archive.names[:3])
        raise CheckpointError(f"must be a PyTorch archive, got a zip of {shown}.")
    prefix = pickled[0].removesuffix("data.pkl")
    order = f"{prefix}byteorder"
    little = order not in archive.names or archive.read(order).tobytes() == b"little"

    def load(storage: Storage) -> np.ndarray:
        name = f"{prefix}data/{storage.key}"
        if archive.size(name) < storage.size:
            raise CheckpointError(f"{name} must have {storage.size} bytes, got fewer.")
        return archive.read(name)[: storage.size]

    content = archive.read(pickled[0])
    loaded = Loader(io.BytesIO(content.tobytes()), len(content)).load()
    tensors = _materialize(select(loaded), load, "<" if little else ">")
    return Saved(tensors, _meta(loaded))


def read_legacy(path: Path) -> Saved:
    """Reads a file of `torch.save` before version 1.6.

    Raises:
        CheckpointError: If it is another kind of pickle, or a tensor is incomplete.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = [Loader(file, min(size, _LONGEST_HEAD)).load() for _ in range(3)]
        if head[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL] or type(head[2]) is not dict:
            raise CheckpointError("must be a PyTorch file, got another pickle.")
        loader = Loader(file, size)
        loaded = loader.load()
        tensors = select(loaded)
        places = {}
        for key in Loader(file, size).load():
            (count,) = struct.unpack("<q", file.read(8))
            storage = loader.storages.get(key) if type(key) is str else None
            if storage is None or count != storage.length:
                raise CheckpointError("storages must be those that are used, of their size.")
            places[key] = file.tell()
            if file.seek(storage.size, io.SEEK_CUR) > size:
                raise CheckpointError("must be a whole checkpoint, got one that is cut off.")

        def load(storage: Storage) -> np.ndarray:
            file.seek(places[storage.key])
            return read_exactly(file, storage.size)

        little = head[2].get("little_endian", True)
        return Saved(_materialize(tensors, load, "<" if little else ">"), _meta(loaded))


def _meta(content: Any) -> dict[str, Any]:
    found = content.get(_META) if type(content) is dict else None
    return found if type(found) is dict else {}


def select(content: Any) -> dict[str, LazyTensor]:
    """Finds the tensors by name in the object that a training saved.

    Returns:
        The state dict, which is the object itself or its entry under a key such as `state_dict`. If
        there are several candidates, such as `student` and `teacher`, all of them; each name then
        begins with the key.

    Raises:
        CheckpointError: If there are no tensors.
    """
    found = _collect(content, 0, {}) if type(content) is dict else {}
    if not found:
        shown = type(content).__name__
        if type(content) is dict:
            shown = str([key[:40] for key in list(content)[:8]])
        raise CheckpointError(f"must hold tensors by name, got {shown}.")
    return found


def _collect(content: dict, depth: int, known: dict[int, dict]) -> dict[str, LazyTensor]:
    """Collects the tensors of nested dicts; skips a dict that was visited before."""
    if id(content) in known:
        return known[id(content)]
    known[id(content)] = {}
    direct = {name: value for name, value in content.items() if type(value) is LazyTensor}
    nested = {}
    for key, value in content.items():
        inner = (
            _collect(value, depth + 1, known) if type(value) is dict and depth < _DEEPEST else {}
        )
        if inner:
            nested[key] = inner
    known[id(content)] = found = _join(direct, nested)
    return found


def _join(direct: dict, nested: dict[str, dict]) -> dict[str, LazyTensor]:
    count = len(direct) + sum(map(len, nested.values()))
    if count > MOST_TENSORS:
        raise CheckpointError(f"must hold at most {MOST_TENSORS} tensors, got {count}.")
    wrapper = next((key for key in _WRAPPERS if key in nested), None)
    if wrapper is not None:
        # Other entries count if they hold the same network again, such as an average or a teacher.
        first = next(iter(nested[wrapper]))
        nested = {key: inner for key, inner in nested.items() if _has(inner, first)}
        direct = {}
    elif len(direct) >= sum(map(len, nested.values())):
        return direct
    if len(nested) == 1 and not direct:
        return next(iter(nested.values()))
    check_names(nested)  # a long key would become a part of the name of every tensor
    joined = {f"{key}.{name}": value for key in nested for name, value in nested[key].items()}
    check_names(joined)
    return {**joined, **direct}


def _has(tensors: dict, name: str) -> bool:
    return any(other == name or other.endswith(f".{name}") for other in tensors)


def _check_views(tensors: set[LazyTensor]) -> None:
    viewed: dict[str, int] = {}
    for storage, offset, shape, strides in tensors:
        last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if count and (last >= storage.length or count > storage.length):
            raise CheckpointError(f"tensor of shape {shape} must lie within its storage.")
        viewed[storage.key] = viewed.get(storage.key, 0) + count
        if viewed[storage.key] > _MOST_VIEWED * storage.length:
            raise CheckpointError(
                f"tensors that share a storage must have together at most {_MOST_VIEWED} times its "
                f"{storage.length} elements, got more."
            )


def _view(tensor: LazyTensor, storage: np.ndarray) -> np.ndarray:
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, storage.dtype)
    steps = [step * storage.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps)


def _materialize(
    tensors: dict[str, LazyTensor],
    load: Callable[[Storage], np.ndarray],
    byte_order: Literal["<", ">"],
) -> dict[str, np.ndarray]:
    """Returns views of the storages, each of which is read once and not copied."""
    check_names(tensors)
    _check_views(set(tensors.values()))
    storages: dict[str, np.ndarray] = {}
    views: dict[LazyTensor, np.ndarray] = {}
    for tensor in tensors.values():
        key = tensor.storage.key
        if key not in storages:
            storages[key] = tensor.storage.decode(load(tensor.storage), byte_order)
        if tensor not in views:
            views[tensor] = _view(tensor, storages[key])
    return {name: views[tensor] for name, tensor in tensors.items()}
