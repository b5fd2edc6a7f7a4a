"""The objects that pickles of tensors may name: storages, tensors, and objects that stay unmade.

A storage is flat memory of one type; a tensor is a view of it.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from .limits import to_native


class Kind(NamedTuple):
    """The element type of a storage; bfloat16, which NumPy lacks, is read as 16 bits."""

    dtype: str
    bfloat16: bool = False


class Storage(NamedTuple):
    """Flat memory that tensors share: its key, its type and its number of elements."""

    key: str
    kind: Kind
    length: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.length * np.dtype(self.kind.dtype).itemsize

    def decode(self, raw: np.ndarray, byte_order: Literal["<", ">"]) -> np.ndarray:
        """Returns the elements in the machine's byte order; half precision becomes float32.

        Args:
            raw: The bytes of the file, `size` of them.
            byte_order: Byte order of the file.
        """
        dtype = np.dtype(self.kind.dtype)
        if dtype == np.bool_:
            return raw != 0
        values = to_native(raw.view(dtype.newbyteorder(byte_order)))
        if self.kind.bfloat16:
            return from_bfloat16(values)
        return values.astype(np.float32) if dtype == np.float16 else values


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Returns float32 values; bfloat16 is the upper half of their bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class LazyTensor(NamedTuple):
    """A view of a storage; `offset`, `shape` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Saved(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: Arrays by name.
        meta: What the training wrote down beside the tensors, under the key `meta`: plain values,
            in which `INERT` stands for objects that were not made. Empty if there is nothing.
    """

    tensors: dict[str, np.ndarray]
    meta: dict[str, Any]


class Inert:
    """Stands for an object that no tensor needs; it has no attributes and is never changed."""


INERT = Inert()

KINDS = {
    "DoubleStorage": Kind("f8"),
    "FloatStorage": Kind("f4"),
    "HalfStorage": Kind("f2"),
    "BFloat16Storage": Kind("u2", bfloat16=True),
    "LongStorage": Kind("i8"),
    "IntStorage": Kind("i4"),
    "ShortStorage": Kind("i2"),
    "CharStorage": Kind("i1"),
    "ByteStorage": Kind("u1"),
    "BoolStorage": Kind("?"),
}

# Objects that trainings save beside the tensors. They are not made; inert ones take their place.
IGNORED = {
    ("__builtin__", "set"),
    ("_codecs", "encode"),
    ("addict.addict", "Dict"),
    ("argparse", "Namespace"),
    ("builtins", "set"),
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
