"""HDF5 files that Keras wrote; `hdf5_process.py` reads them in a separate process."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from .limits import (
    MOST_TENSORS,
    CheckpointError,
    allowance,
    check_names,
    check_shape,
    read_exactly,
    to_native,
)

_PROGRAM = Path(__file__).with_name("hdf5_process.py")
_LONGEST_LIST = 64 * 2**20
# Seconds of processor time. A network of 1000 tensors takes 0.3 s; inflating takes 1 s per 100 MB.
_SECONDS, _BYTES_A_SECOND = 2, 5_000_000


def read(path: Path, entry: str = "") -> dict[str, np.ndarray]:
    """Reads the numbers of an HDF5 file.

    Args:
        path: The file, or a zip archive.
        entry: The entry of the archive that is an HDF5 file.

    Returns:
        Arrays by their path in the file, `GROUP/GROUP/NAME`.

    Raises:
        CheckpointError: If the file is damaged, holds links, has values in other files or values
            that are no numbers, or holds more than its size allows.
    """
    size = path.stat().st_size
    seconds = _SECONDS + size // _BYTES_A_SECOND
    limits = (allowance(size), seconds, MOST_TENSORS)
    # -P: nothing is imported from the folder of the program, which has its own "torchvision.py".
    command = [sys.executable, "-P", _PROGRAM, path.resolve(), entry, *limits]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # No plug-ins with further filters.
        env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::"},
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            return _receive(process.stdout, allowance(size))
    except _RefusedError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(_explain(process, seconds)) from error
    finally:
        process.kill()
        process.wait()


def _explain(process: subprocess.Popen, seconds: int) -> str:
    """Explains why the program ended before it had written everything."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    out_of_time = getattr(signal, "SIGXCPU", None)
    if out_of_time is not None and process.returncode == -out_of_time:
        return f"must take at most {seconds} seconds of processor time to read, got more."
    if process.returncode is not None and process.returncode < 0:
        return (
            "must be a whole HDF5 file, got a damaged one (HDF5's library ended with signal "
            f"{-process.returncode})."
        )
    return "must be a whole HDF5 file, got a damaged one (its values cannot be read)."


def _receive(pipe, most_bytes: int) -> dict[str, np.ndarray]:
    """Receives the tensors and checks them again, as a file might have taken over the process."""
    answer = json.loads(pipe.readline(_LONGEST_LIST))
    if "error" in answer:
        raise _RefusedError(answer["error"])
    described = [
        (name, np.dtype(kind), check_shape(name, shape)) for name, kind, shape in answer["tensors"]
    ]
    if any(dtype.kind not in "biuf" for _, dtype, _ in described):
        raise CheckpointError("tensors must be numbers.")
    check_names([name for name, _, _ in described])
    if sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in described) > most_bytes:
        raise CheckpointError(f"tensors must take at most {most_bytes} bytes.")
    return {
        name: to_native(read_exactly(pipe, dtype.itemsize * math.prod(shape)).view(dtype)).reshape(
            shape
        )
        for name, dtype, shape in described
    }


class _RefusedError(CheckpointError):
    """The program's message on what is wrong with the file."""
