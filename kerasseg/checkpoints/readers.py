"""Readers of published checkpoints, without TensorFlow or PyTorch."""

import contextlib
from pathlib import Path

import numpy as np

from . import hdf5, pytorch, safetensors
from .archives import Archive, read_npz
from .limits import CheckpointError
from .storages import Saved

__all__ = ["CheckpointError", "Saved", "check_keras_file", "read", "read_saved"]

# First bytes of files in these formats.
_ZIP, _HDF5 = b"PK", b"\x89HDF"
_KERAS_WEIGHTS = "model.weights.h5"


def read(path: Path | str) -> dict[str, np.ndarray]:
    """Reads a checkpoint; its format is recognised by its content.

    Nothing in the file is executed, and nothing outside it is read: a pickle may only hold tensors
    and plain values, and an HDF5 file may not hold links or values of other files. Memory and time
    are limited by the size of the file: the tensors may take 64 MiB and 8 times its size, which is
    more than trained networks need, compressed or not.

    Args:
        path: A PyTorch file (zip or legacy format), `.safetensors`, Keras `.h5`, or `.npz`.

    Returns:
        Arrays of numbers by name. Other data of the training is left out. If there are several
        networks, such as `student` and `teacher`, each name begins with the key of its network.
        Half precision becomes float32. Tied weights share their memory.

    Raises:
        CheckpointError: If the file is missing or damaged, has another format or no tensors, takes
            more memory or time than its size allows, or holds objects of other classes.
    """
    return read_saved(path).tensors


def read_saved(path: Path | str) -> Saved:
    """Reads a checkpoint as `read` does, with what its training wrote down beside the tensors.

    Args:
        path: The file. Only PyTorch files hold more than tensors.

    Raises:
        CheckpointError: As `read`.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing of that name"
        raise CheckpointError(f"{path}: must be a checkpoint file, got {found}.")
    with _naming(path):
        return _read_by_kind(path)


@contextlib.contextmanager
def _naming(path: Path):
    """Turns every error of the block into a `CheckpointError` that names the file."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {_printable(error)}") from None
    except MemoryError as error:
        raise CheckpointError(f"{path}: needs more memory than there is.") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # a damaged file can make its readers raise anything
        reason = _printable(str(error).partition("\n")[0]) or type(error).__name__
        raise CheckpointError(
            f"{path}: must be a whole checkpoint, got a damaged one ({reason})."
        ) from error


def _printable(message: object) -> str:
    """Escapes text that contains names from the file, so that a terminal can show it safely."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(message)[:1000])


def check_keras_file(path: Path) -> None:
    """Checks the weights of a `.keras` or `.h5` file as `read` does, before Keras reads the file.

    Raises:
        CheckpointError: If `read` would refuse the weights.
    """
    with _naming(path):
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(_HDF5):
            hdf5.read(path)
        elif head.startswith(_ZIP):
            with Archive(path) as archive:
                names = archive.names
            if _KERAS_WEIGHTS in names:
                hdf5.read(path, _KERAS_WEIGHTS)


def _read_by_kind(path: Path) -> Saved:
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_ZIP):
        found, meta = _read_zip(path)
    elif head.startswith(_HDF5):
        found, meta = hdf5.read(path), {}
    elif head[8:9] == b"{":
        found, meta = safetensors.read(path), {}
    elif head.startswith(b"\x80"):
        found, meta = pytorch.read_legacy(path)
    else:
        raise CheckpointError(
            "must be a PyTorch file, .safetensors, .h5 or .npz, got a file that begins with "
            f"{head[:8]!r}."
        )
    if not found:
        raise CheckpointError("must hold tensors by name, got none.")
    tensors = {
        name: values.astype(np.float32) if values.dtype == np.float16 else values
        for name, values in found.items()
    }
    return Saved(tensors, meta)


def _read_zip(path: Path) -> Saved:
    with Archive(path) as archive:
        if _KERAS_WEIGHTS in archive.names:
            raise CheckpointError(
                "must be published weights, got a Keras model: it can be used as it is."
            )
        if archive.names and all(name.endswith(".npy") for name in archive.names):
            return Saved(read_npz(archive), {})
        return pytorch.read_zip(archive)
