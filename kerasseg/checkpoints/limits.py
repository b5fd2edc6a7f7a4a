"""What reading a file of weights may cost: a multiple of the file's real size, and fixed counts."""

import numpy as np


class CheckpointError(ValueError):
    """A checkpoint cannot be read: its message says which and why."""


# The tensors of a file may take 64 MiB and 8 times its size. Deflate makes 1 byte of 1000 zeros,
# but trained weights shrink by a tenth, pruned and quantised ones to a quarter. A file that needs
# more has hardly any values, and can be saved without compression.
_FLOOR = 64 * 2**20
_RATIO = 8

# Trained networks have hundreds to some thousand tensors, three times that with an optimizer's.
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 32
_LONGEST_NAME = 1000

_CHUNK = 2**20


def allowance(size: int) -> int:
    """Returns how many bytes the tensors of a file of `size` bytes may take."""
    return _FLOOR + _RATIO * size


def read_exactly(file, count: int) -> np.ndarray:
    """Reads `count` bytes, piece by piece, so that Ctrl-C works.

    The caller knows that the file can hold as many.

    Raises:
        CheckpointError: If the file ends before.
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
    """Returns values in the machine's byte order, copied only if theirs is another."""
    dtype = values.dtype.newbyteorder("=")
    return values.view(dtype) if values.dtype.isnative else values.astype(dtype)


def check_shape(name: str, shape) -> tuple[int, ...]:
    """Returns a shape, or whatever a file has in its place, as a tuple.

    Raises:
        CheckpointError: If it is not one of a few whole numbers.
    """
    valid = isinstance(shape, (tuple, list)) and len(shape) <= MOST_DIMENSIONS
    if not valid or not all(type(side) is int and 0 <= side < 2**48 for side in shape):
        raise CheckpointError(f"{name} must have a shape of up to {MOST_DIMENSIONS} whole numbers.")
    return tuple(shape)


def check_names(names) -> None:
    """Checks the names of the tensors of a file before these are read.

    Raises:
        CheckpointError: If there are too many, or one cannot be shown on a screen.
    """
    if len(names) > MOST_TENSORS:
        raise CheckpointError(f"must hold at most {MOST_TENSORS} tensors, got {len(names)}.")
    for name in names:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise CheckpointError(
                f"names of tensors must be printable and of at most {_LONGEST_NAME} characters, "
                f"got one of {len(name)} that begins with {name[:40]!r}."
            )
