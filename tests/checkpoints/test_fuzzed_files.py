"""Honest files of every format, cut off and changed at random: read, or an error that says so."""

import random
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hostile_pytorch import tensor, write_torch

from kerasseg.checkpoints.readers import CheckpointError, read

VALUES = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.ones(2, np.float32),
}


def write(path, kind):
    if kind == "npz":
        np.savez(path, **VALUES)
    elif kind == "compressed npz":
        np.savez_compressed(path, **VALUES)
    elif kind == "safetensors":
        safetensors.numpy.save_file(VALUES, path)
    elif kind == "pth":
        tensors = {
            "a.weight": tensor("0", 6, 0, (2, 3), (3, 1)),
            "a.bias": tensor("1", 2, 0, (2,), (1,)),
        }
        write_torch(path, tensors, {"0": VALUES["a.weight"], "1": VALUES["a.bias"]})
    else:
        with h5py.File(path, "w") as file:
            for name, values in VALUES.items():
                compression = "gzip" if kind == "compressed h5" else None
                file.create_dataset(name, data=values, compression=compression)


def change(content, chance):
    """Cuts bytes off, or changes one to eight."""
    if chance.random() < 0.2:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    # Much of a small HDF5 file is zero, and never read.
    places = [place for place, byte in enumerate(content) if byte]
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.choice(places)
        changed[place] = chance.choice((0, 255, changed[place] ^ 1 << chance.randrange(8)))
    return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "suffix", "times"),
    [
        ("pth", ".pth", 300),
        ("npz", ".npz", 300),
        ("compressed npz", ".npz", 300),
        ("safetensors", ".safetensors", 300),
        # Each of these takes a process.
        ("h5", ".h5", 12),
        ("compressed h5", ".h5", 12),
    ],
)
def test_a_changed_file_is_read_or_an_error_and_never_a_crash(kind, suffix, times, tmp_path):
    path = tmp_path / f"honest{suffix}"
    write(path, kind)
    honest, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(times):
        path.write_bytes(change(honest, chance))
        try:
            found = read(path)
        except CheckpointError:
            refused += 1
            continue
        assert all(values.dtype.kind in "biuf" for values in found.values())
        if zipfile.is_zipfile(path):  # the only format with checksums
            assert found.keys() == VALUES.keys()
            for name, values in VALUES.items():
                np.testing.assert_array_equal(found[name], values)
    # Most changes hit something that matters.
    assert refused > times // 4
