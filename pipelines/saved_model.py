"""Runs a SavedModel the way TensorFlow Serving does: through the C++ loader, without Keras.

As a program (`python -m kerasseg.pipelines.saved_model FOLDER IN OUT`) it answers every file of IN
with a file of the same name in OUT. Loading in the exporting process, or in Python, would prove
little: some SavedModels load there and fail in a server. `import tensorflow` imports Keras since
2.21, so the libraries of the TensorFlow package are called through their C interface (c_api.h).
"""

import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from .errors import InputError

_TF_STRING = 7
_STRING_SIZE = 24  # sizeof(TF_TString)


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


class SavedModel:
    """A SavedModel whose signature `serving_default` maps a batch of strings to one of strings.

    Args:
        folder: Version folder, which holds `saved_model.pb`.

    Raises:
        RuntimeError: If TensorFlow cannot load it, with its message.
    """

    def __init__(self, folder: Path | str):
        self._c = _load_library()
        self._status = self._c.TF_NewStatus()
        graph = self._c.TF_NewGraph()
        meta_graph = _Buffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = self._c.TF_LoadSessionFromSavedModel(
            self._c.TF_NewSessionOptions(),
            None,
            str(folder).encode(),
            tags,
            1,
            graph,
            ctypes.byref(meta_graph),
            self._status,
        )
        self._check()
        content = ctypes.string_at(meta_graph.data, meta_graph.length)
        feed, fetch = _signature_tensors(content)
        self._feed, self._fetch = self._find(graph, feed), self._find(graph, fetch)

    def predict(self, image: bytes) -> bytes:
        """Sends a batch of one string, and returns the answer's only string.

        Raises:
            RuntimeError: If the graph refuses it, with TensorFlow's message.
        """
        request = self._to_tensor(image)
        answer = ctypes.c_void_p()
        self._c.TF_SessionRun(
            self._session,
            None,
            *(ctypes.byref(self._feed), ctypes.byref(request), 1),
            *(ctypes.byref(self._fetch), ctypes.byref(answer), 1),
            *(None, 0, None, self._status),
        )
        self._c.TF_DeleteTensor(request)
        self._check()
        string = self._c.TF_TensorData(answer)
        start, size = self._c.TF_StringGetDataPointer(string), self._c.TF_StringGetSize(string)
        content = ctypes.string_at(start, size)
        self._c.TF_DeleteTensor(answer)
        return content

    def _to_tensor(self, content: bytes) -> ctypes.c_void_p:
        shape = (ctypes.c_int64 * 1)(1)
        tensor = self._c.TF_AllocateTensor(_TF_STRING, shape, 1, _STRING_SIZE)
        string = self._c.TF_TensorData(tensor)
        self._c.TF_StringInit(string)
        self._c.TF_StringCopy(string, content, len(content))
        return ctypes.c_void_p(tensor)

    def _find(self, graph, tensor: str) -> _Output:
        name, _, index = tensor.partition(":")
        operation = self._c.TF_GraphOperationByName(graph, name.encode())
        if not operation:
            raise RuntimeError(f"the signature's tensor {tensor} is not in the graph")
        return _Output(operation, int(index))

    def _check(self) -> None:
        if self._c.TF_GetCode(self._status):
            raise RuntimeError(self._c.TF_Message(self._status).decode(errors="replace"))


def _load_library() -> ctypes.CDLL:
    """Loads TensorFlow's C interface, without importing the Python package."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise RuntimeError("tensorflow is not installed")
    folder = Path(spec.origin).parent
    framework, interface = sorted(
        (*folder.glob("libtensorflow_framework*"), *folder.glob("libtensorflow_cc*")),
        key=lambda path: "framework" not in path.name,
    )
    ctypes.CDLL(str(framework), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(interface), ctypes.RTLD_GLOBAL)
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
        "TF_AllocateTensor",
        "TF_TensorData",
        "TF_StringGetDataPointer",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_StringGetSize.restype = ctypes.c_size_t
    library.TF_Message.restype = ctypes.c_char_p
    # Without these, ctypes would pass the pointers among the arguments as 32-bit integers.
    pointer = ctypes.c_void_p
    library.TF_GetCode.argtypes = library.TF_Message.argtypes = (pointer,)
    library.TF_GraphOperationByName.argtypes = (pointer, ctypes.c_char_p)
    library.TF_LoadSessionFromSavedModel.argtypes = (
        *(pointer, pointer, ctypes.c_char_p, pointer, ctypes.c_int),
        *(pointer, pointer, pointer),
    )
    library.TF_AllocateTensor.argtypes = (ctypes.c_int, pointer, ctypes.c_int, ctypes.c_size_t)
    for name in ("TF_TensorData", "TF_DeleteTensor", "TF_StringInit"):
        getattr(library, name).argtypes = (pointer,)
    library.TF_StringGetDataPointer.argtypes = library.TF_StringGetSize.argtypes = (pointer,)
    library.TF_StringCopy.argtypes = (pointer, ctypes.c_char_p, ctypes.c_size_t)
    library.TF_SessionRun.argtypes = (
        *(pointer, pointer),
        *(pointer, pointer, ctypes.c_int),
        *(pointer, pointer, ctypes.c_int),
        *(pointer, ctypes.c_int, pointer, pointer),
    )
    return library


def _signature_tensors(meta_graph: bytes) -> tuple[str, str]:
    """Reads the names of the only input and output of `serving_default`.

    Layout: MetaGraphDef{5: {1: key, 2: SignatureDef{1: inputs, 2: outputs}}}, where both are
    {1: key, 2: TensorInfo{1: name}}.
    """
    for entry in _parse(meta_graph)[5]:
        fields = _parse(entry)
        if fields[1] == [b"serving_default"]:
            signature = _parse(fields[2][0])
            feed, fetch = (_parse(_parse(signature[side][0])[2][0])[1][0] for side in (1, 2))
            return feed.decode(), fetch.decode()
    raise RuntimeError("there is no signature serving_default")


def _parse(message: bytes) -> dict[int, list[bytes]]:
    """Splits a protocol-buffer message into its length-delimited fields; passes over the others."""
    fields: dict[int, list[bytes]] = defaultdict(list)
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        match tag & 7:
            case 0:
                _, position = _read_varint(message, position)
            case 1:
                position += 8
            case 5:
                position += 4
            case _:
                length, position = _read_varint(message, position)
                fields[tag >> 3].append(message[position : position + length])
                position += length
    return fields


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def predict_in_clean_process(folder: Path, images: list[bytes]) -> list[bytes]:
    """Sends encoded images through a SavedModel in a process without Keras and Python TensorFlow.

    Args:
        folder: Version folder, which holds `saved_model.pb`.
        images: Encoded images.

    Returns:
        One PNG label map an image.

    Raises:
        InputError: If the SavedModel cannot be loaded or run there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        requests, answers = Path(scratch, "in"), Path(scratch, "out")
        requests.mkdir()
        answers.mkdir()
        names = [f"{index:06d}" for index in range(len(images))]
        for name, image in zip(names, images, strict=True):
            (requests / name).write_bytes(image)
        command = [sys.executable, "-m", __name__, str(folder), str(requests), str(answers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise InputError(f"{folder}: does not run in a process of its own: {reason[0]}")
        return [(answers / name).read_bytes() for name in names]


def main() -> None:
    """Answers the images of a folder; see the module's description."""
    folder, requests, answers = (Path(argument) for argument in sys.argv[1:4])
    model = SavedModel(folder)
    for path in sorted(requests.iterdir()):
        (answers / path.name).write_bytes(model.predict(path.read_bytes()))
    if {"keras", "tensorflow"} & sys.modules.keys():
        raise RuntimeError("Keras or TensorFlow was imported: this proves nothing about a server")


if __name__ == "__main__":
    main()
