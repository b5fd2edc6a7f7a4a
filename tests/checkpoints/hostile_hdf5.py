"""HDF5 files that exhaust a careless reader, or make it reveal other files.

Every function writes one into a folder and returns its path; `REFUSALS` says how each is refused.
"""

import struct

import h5py
import numpy as np

MEBIBYTE = 2**20


def external_values(folder):
    path = folder / "external.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    return path


def external_link(folder):
    with h5py.File(folder / "other.hdf", "w") as file:
        file["secret"] = np.arange(3)
    path = folder / "external_link.h5"
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("other.hdf", "secret")
    return path


def soft_link(folder):
    path = folder / "soft_link.h5"
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = np.arange(3)
    return path


def virtual_dataset(folder):
    with h5py.File(folder / "source.hdf", "w") as file:
        file["secret"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), np.int64)
    layout[:] = h5py.VirtualSource(folder / "source.hdf", "secret", (3,))
    path = folder / "virtual.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)
    return path


def values_never_written(folder):
    path = folder / "unwritten.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10**6,), "f4", fillvalue=1)
    return path


def chunks_never_written(folder):
    path = folder / "chunks.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10**6,), "f4", chunks=(1000,), fillvalue=1)[:10] = 2
    return path


def large_dataset(folder):
    path = folder / "large.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")
    return path


def inflated_dataset(folder):
    path = folder / "inflated.h5"
    with h5py.File(path, "w") as file:
        zeros = np.zeros(100 * MEBIBYTE, np.uint8)
        file.create_dataset("a", data=zeros, compression="gzip", chunks=(4 * MEBIBYTE,))
    return path


def dataset_under_many_names(folder):
    path = folder / "hard_links.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(MEBIBYTE, np.uint8)
        for index in range(300):
            file[f"a{index}"] = file["a"]
    return path


def group_in_itself(folder):
    path = folder / "cycle.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["b"] = group
    return path


def node_in_itself(folder):
    """The node of a group's tree is its own child: HDF5's library calls itself until it crashes."""
    path = folder / "crash.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(3)
    content = bytearray(path.read_bytes())
    node = content.index(b"TREE")
    content[node + 5] = 1  # no leaf
    struct.pack_into("<Q", content, node + 32, node)
    path.write_bytes(content)
    return path


def text_in_hdf5(folder):
    path = folder / "text.h5"
    with h5py.File(path, "w") as file:
        file["a"] = ["text"]
    return path


CUT_OFF = "must be a whole|damaged"
REFUSALS = {
    external_values: "values of other files: they were not read",
    external_link: "got a link: it was not followed",
    soft_link: "got a link: it was not followed",
    virtual_dataset: "values of other files: they were not read",
    values_never_written: "values in the file, got fewer",
    chunks_never_written: "values in the file, got fewer",
    large_dataset: "values in the file, got fewer|take at most",
    inflated_dataset: "take at most",
    dataset_under_many_names: "take at most",
    group_in_itself: "must be a group once",
    node_in_itself: CUT_OFF,
    text_in_hdf5: "must hold numbers",
}
