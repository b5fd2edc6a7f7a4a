"""Reads the tensors of published checkpoints. Needs neither TensorFlow nor PyTorch."""

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .pickles import CheckpointError, LazyTensor, Loader, Storage

# Keys under which training code wraps the tensors, in order of preference.
_WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# What a broken file makes its readers raise.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    KeyError,
    IndexError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    UnicodeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read(path: Path | str) -> dict[str, np.ndarray]:
    """Reads a checkpoint; its kind is told by its content.

    Nothing in the file is executed: a pickle may hold tensors and plain values only.

    Args:
        path: A PyTorch file (zip or legacy format), `.safetensors`, Keras `.h5`, or `.npz`.

    Returns:
        Arrays by name. `state_dict` and the like are unwrapped; half precision becomes float32.

    Raises:
        CheckpointError: If the file is missing, damaged, of another kind, without tensors, or holds
            objects of other classes.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing of that name"
        raise CheckpointError(f"{path}: must be a checkpoint file, got {found}.")
    try:
        content = _read_by_kind(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except _BROKEN as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: must be a whole checkpoint, got a damaged one ({reason})."
        ) from error
    return _tensors(path, content)


def _read_by_kind(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PK"):
        return _read_zip(path)
    if head.startswith(b"\x89HDF"):
        return _read_hdf5(path)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"\x80"):
        return _read_legacy(path)
    raise CheckpointError(
        "must be a PyTorch file, .safetensors, .h5 or .npz, got a file that begins with "
        f"{head[:8]!r}."
    )


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        pickled = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickled) != 1:
            raise CheckpointError(f"must be a PyTorch archive, got a zip of {names[:3]}.")
        prefix = pickled[0].removesuffix("data.pkl")
        little = (
            f"{prefix}byteorder" not in names or archive.read(f"{prefix}byteorder") == b"little"
        )

        def load_bytes(storage: Storage) -> bytes:
            member = archive.getinfo(f"{prefix}data/{storage.key}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"{member.filename} must be stored, got it compressed.")
            return archive.read(member)

        with archive.open(pickled[0]) as file:
            content = Loader(file).load()
        return _materialize(content, load_bytes, "<" if little else ">")


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        if Loader(file).load() != _LEGACY_MAGIC or Loader(file).load() != _LEGACY_PROTOCOL:
            raise CheckpointError("must be a PyTorch file, got another pickle.")
        system = Loader(file).load()
        loader = Loader(file)
        content = loader.load()
        storages = {}
        for key in Loader(file).load():
            (count,) = struct.unpack("<q", _read_exactly(file, 8))
            storage = loader.storages.get(key)
            if storage is None or count != storage.length:
                raise CheckpointError(f"storage {key!r} must be one that is used, of its size.")
            storages[key] = _read_exactly(file, count * storage.item_size)
    order = "<" if system.get("little_endian", True) else ">"
    return _materialize(content, lambda storage: storages[storage.key], order)


def _read_exactly(file, count: int) -> bytes:
    content = file.read(count) if count >= 0 else b""
    if len(content) != count:
        raise CheckpointError(f"must be a whole checkpoint, got {count - len(content)} bytes less.")
    return content


def _materialize(content: Any, load_bytes, byte_order: Literal["<", ">"]) -> Any:
    """Replaces the lazy tensors of nested dicts by arrays; shared storages are read once."""
    cache: dict[str, np.ndarray] = {}

    def storage_of(storage: Storage) -> np.ndarray:
        if storage.key not in cache:
            raw = load_bytes(storage)
            if len(raw) < storage.length * storage.item_size:
                raise CheckpointError(
                    f"storage {storage.key!r} must be whole, got {len(raw)} bytes."
                )
            cache[storage.key] = storage.decode(raw, byte_order)
        return cache[storage.key]

    def visit(value: Any, depth: int) -> Any:
        if isinstance(value, LazyTensor):
            return _strided(value, storage_of(value.storage))
        if isinstance(value, dict) and depth < 4:
            return {key: visit(item, depth + 1) for key, item in value.items()}
        return value

    return visit(content, 0)


def _strided(tensor: LazyTensor, storage: np.ndarray) -> np.ndarray:
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    if len(shape) != len(strides) or min((*shape, *strides, offset), default=0) < 0:
        raise CheckpointError(f"tensor must have a shape and strides, got {shape}, {strides}.")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if last >= len(storage) or math.prod(shape) > len(storage):
        raise CheckpointError(f"tensor of shape {shape} must lie within its storage.")
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import json

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            kinds = {name: file.get_slice(name).get_dtype() for name in names}
            found = {name: file.get_tensor(name) for name in names if kinds[name] != "BF16"}
    except SafetensorError as error:
        raise CheckpointError(f"must be a whole .safetensors file, got: {error}.") from error
    if len(found) < len(names):
        # NumPy has no bfloat16: the upper half of a float32.
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        for name in names:
            if name in found:
                continue
            begin, end = header[name]["data_offsets"]
            raw = np.frombuffer(content[8 + length + begin : 8 + length + end], "<u2")
            found[name] = _from_bfloat16(raw).reshape(header[name]["shape"])
    return {name: found[name] for name in names}


def _from_bfloat16(raw: np.ndarray) -> np.ndarray:
    return (raw.astype(np.uint32) << 16).view(np.float32)


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    found: dict[str, np.ndarray] = {}

    def collect(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


def _tensors(path: Path, content: Any) -> dict[str, np.ndarray]:
    top = list(content)[:8] if isinstance(content, dict) else type(content).__name__
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    found = {
        str(name): values.astype(np.float32) if values.dtype == np.float16 else values
        for name, values in (content.items() if isinstance(content, dict) else ())
        if isinstance(values, np.ndarray)
    }
    if not found:
        raise CheckpointError(f"{path}: must hold tensors by name, got {top}.")
    return found
