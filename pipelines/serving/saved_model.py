"""Runs a SavedModel the way TensorFlow Serving does: through the C++ loader, without Keras.

As a program (`python -m kerasseg.pipelines.serving.saved_model FOLDER IN OUT`) it answers every
file of IN with a file of the same name in OUT. Loading in the exporting process, or in Python,
would prove little: some SavedModels load there and fail in a server.
"""

import ctypes
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from ..records import wire
from ..runtime import clean_process
from . import c_interface, signatures
from .signatures import TensorInfo
from .tensors import DTYPES, NAMES, strings

INVALID_ARGUMENT, NOT_FOUND = 3, 5  # TensorFlow's status codes are gRPC's


class SavedModelError(RuntimeError):
    """An error of TensorFlow's while it loads or runs a SavedModel.

    Attributes:
        code: TensorFlow's status code, the same as gRPC's: 3 for an invalid argument.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class SavedModel:
    """A SavedModel, loaded once; any number of threads may run it.

    Args:
        folder: Version folder, which holds `saved_model.pb`.

    Attributes:
        signatures: Inputs and outputs of each signature.
        meta_graph: The serialized MetaGraphDef.

    Raises:
        SavedModelError: If TensorFlow cannot load it; has TensorFlow's message.
    """

    def __init__(self, folder: Path | str):
        c = c_interface.load()
        self._graph = c.TF_NewGraph()
        options, content = c.TF_NewSessionOptions(), c.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            with _checked_status() as status:
                self._session = c.TF_LoadSessionFromSavedModel(
                    *(options, None, str(folder).encode(), tags, 1, self._graph, content, status)
                )
            self._finalizer = weakref.finalize(self, _close, self._session, self._graph)
            self._finalizer.atexit = False
            buffer = c_interface.Buffer.from_address(content)
            self.meta_graph = ctypes.string_at(buffer.data, buffer.length)
        finally:
            c.TF_DeleteSessionOptions(options)
            c.TF_DeleteBuffer(content)
        self._check_variables(Path(folder))
        self.signatures = signatures.read(self.meta_graph)

    def _check_variables(self, folder: Path) -> None:
        """Refuses a graph whose variables have no values, which TensorFlow loads silently."""
        index = folder / "variables" / "variables.index"
        kinds = (b"VarHandleOp", b"VariableV2")
        if any(kind in self.meta_graph for kind in kinds) and not index.is_file():
            raise SavedModelError(f"{index} must be there, got no such file.", NOT_FOUND)

    def close(self) -> None:
        """Frees the memory; the model must not be running and cannot be run again."""
        self._finalizer()

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = "serving_default",
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            inputs: One array per input; strings as arrays of the dtype object.
            signature: Name of the signature.
            outputs: Names of the outputs to compute; None for all.
            timeout: Seconds after which TensorFlow gives up; None for never.

        Returns:
            The outputs by name.

        Raises:
            SavedModelError: If there is no such signature or output, inputs do not fit, or the
                graph fails, with its message.
        """
        described = self.signatures.get(signature)
        if described is None:
            raise _invalid("signature", list(self.signatures), signature)
        if inputs.keys() != described.inputs.keys():
            raise _invalid("inputs", list(described.inputs), list(inputs))
        names = list(described.outputs if outputs is None else dict.fromkeys(outputs))
        for name in names:
            if name not in described.outputs:
                raise _invalid("output", list(described.outputs), name)
        for name, array in inputs.items():
            _check_input(name, described.inputs[name], array)
        # All outputs in one order, as TensorFlow keeps a compiled graph per choice forever.
        feeds = [(info, inputs[name]) for name, info in described.inputs.items()]
        answers = self._run(feeds, list(described.outputs.values()), timeout)
        found = dict(zip(described.outputs, answers, strict=True))
        return {name: found[name] for name in names}

    def _run(self, feeds, fetches: list[TensorInfo], timeout: float | None) -> list[np.ndarray]:
        c = c_interface.load()
        with ExitStack() as stack:
            tensors = (ctypes.c_void_p * len(feeds))()
            for index, (_, array) in enumerate(feeds):
                tensors[index] = c_interface.to_tensor(array)
                stack.callback(c.TF_DeleteTensor, tensors[index])
            answers = (ctypes.c_void_p * len(fetches))()
            with _checked_status() as status:
                c.TF_SessionRun(
                    *(self._session, _run_options(stack, timeout)),
                    *(self._outputs([info for info, _ in feeds]), tensors, len(feeds)),
                    *(self._outputs(fetches), answers, len(fetches)),
                    *(None, 0, None, status),
                )
            for answer in answers:
                stack.callback(c.TF_DeleteTensor, answer)
            return [c_interface.to_array(answer) for answer in answers]

    def _outputs(self, infos: list[TensorInfo]) -> ctypes.Array:
        return (c_interface.Output * len(infos))(*(self._find(info.name) for info in infos))

    def _find(self, tensor: str) -> c_interface.Output:
        name, _, index = tensor.partition(":")
        operation = c_interface.load().TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise SavedModelError(f"the signature's tensor {tensor} is not in the graph", 13)
        return c_interface.Output(operation, int(index or 0))

    def predict(self, image: bytes) -> bytes:
        """Sends `serving_default` a batch of one string, and returns its output's only string.

        Raises:
            SavedModelError: If the graph refuses it, with TensorFlow's message.
        """
        described = self.signatures.get("serving_default")
        if described is None:
            raise SavedModelError("there is no signature serving_default", INVALID_ARGUMENT)
        answers = self.run({name: strings([image]) for name in described.inputs})
        return next(iter(answers.values())).item()


def _check_input(name: str, info: TensorInfo, array: np.ndarray) -> None:
    if DTYPES.get(info.dtype) != array.dtype:
        wanted = NAMES.get(info.dtype, str(info.dtype))
        raise _invalid(f"dtype of {name}", wanted, array.dtype)
    if not info.takes(array.shape):
        raise _invalid(f"shape of {name}", info.shape, array.shape)


def _invalid(what: str, wanted, got) -> SavedModelError:
    if isinstance(wanted, list):
        wanted = f"{'' if what == 'inputs' else 'one of '}{', '.join(wanted)}"
    if isinstance(got, list):
        got = ", ".join(got) or "none"
    return SavedModelError(f"{what} must be {wanted}, got {got}.", INVALID_ARGUMENT)


def _run_options(stack: ExitStack, timeout: float | None) -> int | None:
    """Makes a RunOptions{2: timeout_in_ms}."""
    if timeout is None:
        return None
    c = c_interface.load()
    content = b"\x10" + wire.varint(max(1, int(1000 * timeout)))
    buffer = c.TF_NewBufferFromString(content, len(content))
    stack.callback(c.TF_DeleteBuffer, buffer)
    return buffer


@contextmanager
def _checked_status() -> Iterator[int]:
    """Yields a TF_Status, one per call as threads must not share it, and raises its error."""
    c = c_interface.load()
    status = c.TF_NewStatus()
    try:
        yield status
        if code := c.TF_GetCode(status):
            raise SavedModelError(c.TF_Message(status).decode(errors="replace"), code)
    finally:
        c.TF_DeleteStatus(status)


def _close(session: int, graph: int) -> None:
    c = c_interface.load()
    status = c.TF_NewStatus()
    c.TF_CloseSession(session, status)
    c.TF_DeleteSession(session, status)
    c.TF_DeleteGraph(graph)
    c.TF_DeleteStatus(status)


def predict_in_clean_process(folder: Path, images: list[bytes]) -> list[bytes]:
    """Sends encoded images through a SavedModel in a process without Keras and Python TensorFlow.

    Args:
        folder: Version folder, which holds `saved_model.pb`.
        images: Encoded images.

    Returns:
        One PNG label map per image.

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
        clean_process.run(__name__, folder, requests, answers)
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
