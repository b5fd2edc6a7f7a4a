"""TensorFlow's C interface (c_api.h) through ctypes, without importing the Python package.

`import tensorflow` imports Keras since 2.21; the libraries inside the package need neither.
"""

import ctypes
import functools
import importlib.util
from pathlib import Path

import numpy as np

from .tensors import DTYPES, STRING

_STRING_SIZE = 24  # sizeof(TF_TString)


class Output(ctypes.Structure):
    """TF_Output: an operation's tensor."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


@functools.cache
def load() -> ctypes.CDLL:
    """Loads the libraries of the installed TensorFlow.

    Raises:
        RuntimeError: If it is not installed.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise RuntimeError("tensorflow is not installed")
    folder = Path(spec.origin).parent
    framework, interface = sorted(
        (*folder.glob("libtensorflow_framework*"), *folder.glob("libtensorflow_cc*")),
        key=lambda path: "framework" not in path.name,
    )
    # Not RTLD_GLOBAL: TensorFlow's own OpenSSL would replace Python's in later imports.
    ctypes.CDLL(str(framework))
    library = ctypes.CDLL(str(interface))
    _declare(library)
    return library


def _declare(library: ctypes.CDLL) -> None:
    """Declares the types of functions; without them ctypes would pass 32-bit pointers and sizes."""
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    text, nothing = ctypes.c_char_p, None
    outputs, tensors = (pointer, pointer, number), (pointer, pointer, number)
    for name, result, arguments in (
        ("TF_NewStatus", pointer, ()),
        ("TF_DeleteStatus", nothing, (pointer,)),
        ("TF_GetCode", number, (pointer,)),
        ("TF_Message", text, (pointer,)),
        ("TF_NewGraph", pointer, ()),
        ("TF_DeleteGraph", nothing, (pointer,)),
        ("TF_NewSessionOptions", pointer, ()),
        ("TF_DeleteSessionOptions", nothing, (pointer,)),
        ("TF_NewBuffer", pointer, ()),
        ("TF_NewBufferFromString", pointer, (text, size)),
        ("TF_DeleteBuffer", nothing, (pointer,)),
        (
            "TF_LoadSessionFromSavedModel",
            pointer,
            (pointer, pointer, text, pointer, number, pointer, pointer, pointer),
        ),
        ("TF_CloseSession", nothing, (pointer, pointer)),
        ("TF_DeleteSession", nothing, (pointer, pointer)),
        ("TF_GraphOperationByName", pointer, (pointer, text)),
        (
            "TF_SessionRun",
            nothing,
            (pointer, pointer, *outputs, *tensors, pointer, number, pointer, pointer),
        ),
        ("TF_AllocateTensor", pointer, (number, pointer, number, size)),
        ("TF_DeleteTensor", nothing, (pointer,)),
        ("TF_TensorData", pointer, (pointer,)),
        ("TF_TensorType", number, (pointer,)),
        ("TF_NumDims", number, (pointer,)),
        ("TF_Dim", ctypes.c_int64, (pointer, number)),
        ("TF_StringInit", nothing, (pointer,)),
        ("TF_StringCopy", nothing, (pointer, text, size)),
        ("TF_StringGetDataPointer", pointer, (pointer,)),
        ("TF_StringGetSize", size, (pointer,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def to_tensor(array: np.ndarray) -> int:
    """Copies an array into a new tensor, which TF_DeleteTensor frees together with its strings."""
    c = load()
    code = next(code for code, dtype in DTYPES.items() if dtype == array.dtype)
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    size = array.size * _STRING_SIZE if code == STRING else array.nbytes
    tensor = c.TF_AllocateTensor(code, shape, array.ndim, size)
    if not tensor:
        raise MemoryError(f"no memory for a tensor of {size} bytes")
    data = c.TF_TensorData(tensor)
    if code != STRING:
        array = np.ascontiguousarray(array)
        ctypes.memmove(data, array.ctypes.data, array.nbytes)
        return tensor
    for index, content in enumerate(array.ravel()):
        string = data + index * _STRING_SIZE
        c.TF_StringInit(string)
        c.TF_StringCopy(string, content, len(content))
    return tensor


def to_array(tensor: int) -> np.ndarray:
    """Copies a tensor into a new array.

    Raises:
        ValueError: If NumPy has no such dtype.
    """
    c = load()
    code = c.TF_TensorType(tensor)
    if code not in DTYPES:
        raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {code}.")
    array = np.empty([c.TF_Dim(tensor, axis) for axis in range(c.TF_NumDims(tensor))], DTYPES[code])
    data = c.TF_TensorData(tensor)
    if code != STRING:
        ctypes.memmove(array.ctypes.data, data, array.nbytes)
        return array
    for index in range(array.size):
        string = data + index * _STRING_SIZE
        content = c.TF_StringGetDataPointer(string)
        array.flat[index] = ctypes.string_at(content, c.TF_StringGetSize(string))
    return array
