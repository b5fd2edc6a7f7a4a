"""Arrays in NumPy's `.npy` files as images; nothing in them is ever executed."""

import io

import numpy as np
from numpy.lib import format as npy_format

from ..errors import ImageFileError

_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def is_npy(content: bytes) -> bool:
    """Tells whether a file is an array by its first bytes."""
    return content.startswith(npy_format.MAGIC_PREFIX)


def read(content: bytes) -> np.ndarray:
    """Reads an array of numbers; no memory is taken beside the file's own bytes.

    Args:
        content: The file's bytes.

    Returns:
        Numbers in the byte order of the machine, (height, width, channels).

    Raises:
        ImageFileError: If the file is damaged or cut short, holds something else than numbers, or
            has another shape than (height, width) and (height, width, channels).
    """
    shape, fortran_order, dtype, start = _read_header(content)
    # Objects would be pickles, which can run any program.
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ImageFileError(
            f"array must hold numbers, got {dtype}", "save it as numpy.uint8 or numpy.uint16"
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageFileError(
            f"array must have the shape (height, width, channels), got {shape}",
            "save one image per file",
        )
    # Not `prod` of NumPy, which overflows.
    size = dtype.itemsize
    for side in shape:
        size *= side
    if len(content) - start != size:
        raise ImageFileError(
            f"array of {shape} {dtype} must have {size} bytes, got {len(content) - start}",
            "an interrupted copy",
        )
    values = np.frombuffer(content, dtype, offset=start)
    values = values.reshape(shape, order="F" if fortran_order else "C")
    values = np.ascontiguousarray(values, dtype.newbyteorder("="))
    return values if values.ndim == 3 else values[..., np.newaxis]


def _read_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Returns shape, whether columns come first, type of the numbers, and their position."""
    file = io.BytesIO(content)
    try:
        version = npy_format.read_magic(file)
        shape, fortran_order, dtype = _READERS[version](file)
    except Exception as error:  # NumPy raises many kinds of errors for damaged headers
        raise ImageFileError(
            "array cannot be read", f"a damaged .npy file: {str(error)[:200]}"
        ) from error
    return shape, fortran_order, dtype, file.tell()
