"""Limits for reading a file of weights: a multiple of the file's size, and fixed counts."""

import numpy as np


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says which one and why."""


class OtherNetworkError(CheckpointError):
    """A configuration describes a network that kerasseg does not have; the message says why.

    Tensors that fit one of ours would compute other logits in it.
    """


# The tensors of a file may take 64 MiB and 8 times the file's size. Deflate compresses 1000 zeros
# to 1 byte, but trained weights by 10 %, and pruned and quantised weights to a quarter. A file that
# exceeds the limit holds hardly any values and can be saved without compression.
_FLOOR = 64 * 2**20
_RATIO = 8

# Trained networks have hundreds to some thousands of tensors; with an optimizer, three times that.
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 32
_LONGEST_NAME = 1000

_CHUNK = 2**20


def allowance(size: int) -> int:
    """Returns how many bytes the tensors of a file of `size` bytes may take."""
    return _FLOOR + _RATIO * size


def read_exactly(file, count: int) -> np.ndarray:
    """Reads `count` bytes, piece by piece, so that Ctrl-C works.

    The caller has checked that the file can hold so many bytes.

    Raises:
        CheckpointError: If the file ends earlier.
    """
    content = np.empty(count, np.uint8)
    view, filled = content.data, 0
    while filled < count:
        read = file.readinto(view[filled : filled + _CHUNK])
        if not read:
            raise CheckpointError(
                f"must be a whole checkpoint, got {count - filled} bytes less than it says."
            )
        filled += read
    return content


def to_native(values: np.ndarray) -> np.ndarray:
    """Returns values in the machine's byte order; copies them only if they have another order."""
    dtype = values.dtype.newbyteorder("=")
    return values.view(dtype) if values.dtype.isnative else values.astype(dtype)


def check_shape(name: str, shape) -> tuple[int, ...]:
    """Returns a shape as a tuple, after checking what a file has in its place.

    Raises:
        CheckpointError: If it is not a sequence of a few whole numbers.
    """
    valid = isinstance(shape, (tuple, list)) and len(shape) <= MOST_DIMENSIONS
    if not valid or not all(type(side) is int and 0 <= side < 2**48 for side in shape):
        raise CheckpointError(f"{name} must have a shape of up to {MOST_DIMENSIONS} whole numbers.")
    return tuple(shape)


def check_names(names) -> None:
    """Checks the names of a file's tensors before the tensors are read.

    Raises:
        CheckpointError: If there are too many names, or one cannot be shown on a screen.
    """
    if len(names) > MOST_TENSORS:
        raise CheckpointError(f"must hold at most {MOST_TENSORS} tensors, got {len(names)}.")
    for name in names:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise CheckpointError(
                f"names of tensors must be printable and of at most {_LONGEST_NAME} characters, "
                f"got one of {len(name)} that begins with {name[:40]!r}."
            )
