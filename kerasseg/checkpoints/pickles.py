"""Pickles of tensors, read without executing anything that they name."""

import pickle
from collections import OrderedDict
from typing import Any, Literal, NamedTuple

import numpy as np


class CheckpointError(ValueError):
    """A checkpoint cannot be read: its message says which and why."""


class _Kind(NamedTuple):
    """The element type of a storage; bfloat16, which NumPy lacks, comes as its 16 bits."""

    dtype: str
    bfloat16: bool = False


class Storage(NamedTuple):
    """Flat memory that tensors share: where it is found, its type and its number of elements."""

    key: str
    kind: _Kind
    length: int

    @property
    def item_size(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.kind.dtype).itemsize

    def decode(self, raw: bytes, byte_order: Literal["<", ">"]) -> np.ndarray:
        """Returns the elements in the machine's byte order."""
        dtype = np.dtype(self.kind.dtype)
        values = np.frombuffer(raw, dtype.newbyteorder(byte_order), count=self.length).astype(dtype)
        return (values.astype(np.uint32) << 16).view(np.float32) if self.kind.bfloat16 else values


class LazyTensor(NamedTuple):
    """A view of a storage; `shape` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Stands for an object that is none of our business: made, filled, and never asked."""

    def __new__(cls, *_args, **_kwargs):
        return super().__new__(cls)

    def __init__(self, *_args, **_kwargs):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, item):
        pass

    def extend(self, items):
        pass


# What a pickle may call are objects without attributes: a pickle can set those of functions.
class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_ignored) -> LazyTensor:
        if not isinstance(storage, Storage):
            raise CheckpointError(f"tensor must view a storage, got {type(storage).__name__}.")
        return LazyTensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor, *_ignored):
        return tensor


_KINDS = {
    "DoubleStorage": _Kind("f8"),
    "FloatStorage": _Kind("f4"),
    "HalfStorage": _Kind("f2"),
    "BFloat16Storage": _Kind("u2", bfloat16=True),
    "LongStorage": _Kind("i8"),
    "IntStorage": _Kind("i4"),
    "ShortStorage": _Kind("i2"),
    "CharStorage": _Kind("i1"),
    "ByteStorage": _Kind("u1"),
    "BoolStorage": _Kind("?"),
}

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    **{("torch", name): kind for name, kind in _KINDS.items()},
}

# What trainings leave beside the tensors. The objects are not made: inert ones take their place.
_INERT = {
    ("_codecs", "encode"),
    ("addict.addict", "Dict"),
    ("argparse", "Namespace"),
    ("datetime", "datetime"),
    ("mmcv.utils.config", "ConfigDict"),
    ("mmengine.config.config", "ConfigDict"),
    ("mmengine.logging.history_buffer", "HistoryBuffer"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("pathlib", "PosixPath"),
    ("torch", "device"),
}


class Loader(pickle.Unpickler):
    """Reads a pickle of tensors and plain values; any class but the listed ones is refused.

    Attributes:
        storages: The storages that the tensors view, by key.
    """

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        """Reads one object.

        Raises:
            CheckpointError: If the pickle is damaged or names a class that is not allowed.
        """
        try:
            return super().load()
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"must be a whole PyTorch file, got: {error}.") from error

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Returns what stands for a global of the pickle; never imports."""
        place = (module_name, global_name)
        if place in _ALLOWED:
            return _ALLOWED[place]
        if place in _INERT:
            return _Inert
        raise CheckpointError(
            f"must hold tensors and plain values only, got an object of {module_name}."
            f"{global_name}, which could run code: it was not loaded."
        )

    def persistent_load(self, pid: Any) -> Storage:
        """Returns a storage: `("storage", kind, key, location, count, view)`."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise CheckpointError(f"must refer to storages only, got {pid!r}.")
        kind, key, count = pid[1], str(pid[2]), int(pid[4])
        if not isinstance(kind, _Kind) or count < 0 or (len(pid) > 5 and pid[5] is not None):
            raise CheckpointError(f"storage must be one of {', '.join(_KINDS)}, got {pid!r}.")
        return self.storages.setdefault(key, Storage(key, kind, count))
