"""Tensors on the wire: NumPy arrays to TensorFlow's `TensorProto` and back. NumPy only.

Works on any class with the fields of `TensorProto`: the official one, and `messages`'.
Strings are arrays of the dtype object that hold bytes.
"""

import math

import numpy as np

STRING = 7  # DT_STRING

# The part of DataType in tensorflow/core/framework/types.proto that NumPy has.
DTYPES = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    STRING: np.dtype(object),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    17: np.dtype(np.uint16),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}
NAMES = {
    code: "string" if code == STRING else np.dtype(dtype).name for code, dtype in DTYPES.items()
}

# Fields for the numbers of a sender that does not fill tensor_content.
_FIELDS = {
    1: "float_val",
    2: "double_val",
    3: "int_val",
    4: "int_val",
    5: "int_val",
    6: "int_val",
    STRING: "string_val",
    9: "int64_val",
    10: "bool_val",
    17: "int_val",
    19: "half_val",
    22: "uint32_val",
    23: "uint64_val",
}
_LARGEST = 2**31  # elements
_MOST_DIMENSIONS = 254  # as in TensorFlow
_AT_ONCE = 2**16  # values


def strings(values) -> np.ndarray:
    """Makes an array of one dimension of byte strings, which NumPy itself would cut at zeros."""
    values = list(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def write(array: np.ndarray, proto) -> None:
    """Fills a `TensorProto` with an array.

    Raises:
        ValueError: If TensorFlow has no such dtype.
    """
    codes = {dtype: code for code, dtype in DTYPES.items()}
    if array.dtype not in codes:
        raise ValueError(f"dtype must be one of {', '.join(NAMES.values())}, got {array.dtype}.")
    proto.dtype = codes[array.dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if proto.dtype == STRING:
        proto.string_val.extend(array.ravel())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()


def read(proto) -> np.ndarray:
    """Reads an array from a `TensorProto`.

    Raises:
        ValueError: If the dtype is unknown, or there are too many or too few values for the shape.
    """
    if proto.dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {proto.dtype}.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim[:_MOST_DIMENSIONS])
    if len(proto.tensor_shape.dim) > _MOST_DIMENSIONS:
        raise ValueError(f"shape must have at most {_MOST_DIMENSIONS} dimensions, got more.")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count > _LARGEST:
        raise ValueError(f"shape must have sizes from 0, {_LARGEST} values at most, got {shape}.")
    dtype = DTYPES[proto.dtype]
    if proto.tensor_content and proto.dtype != STRING:
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise ValueError(
                f"tensor_content must have {count * dtype.itemsize} bytes for the shape {shape}, "
                f"got {len(proto.tensor_content)}."
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, _FIELDS[proto.dtype])
    if len(values) > count or (len(values) == 0 and proto.dtype == STRING and count):
        raise ValueError(f"values must be {count} for the shape, got {len(values)}.")
    return _repeat_last(_to_array(values, dtype), count).reshape(shape)


def _to_array(values, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "O":
        return strings(values)
    if dtype == np.float16:  # the values are its bits
        return _to_array(values, np.dtype(np.uint16)).view(np.float16)
    array = np.empty(len(values), dtype)
    for at in range(0, len(values), _AT_ONCE):  # other threads stand still during each part
        array[at : at + _AT_ONCE] = np.array(values[at : at + _AT_ONCE]).astype(dtype)
    return array


def _repeat_last(values: np.ndarray, count: int) -> np.ndarray:
    """Repeats the last value, which a sender may leave out; without any value fills in zeros."""
    if len(values) == 0:
        return np.zeros(count, values.dtype)
    return np.concatenate((values, np.repeat(values[-1:], count - len(values))))
