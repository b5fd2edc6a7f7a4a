"""Small files that would cost a careless reader memory or time without end, or reveal other files.

Every function writes one into a folder and returns its path; `ALL` says how each is refused.
"""

import copy
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import h5py
import numpy as np

MEBIBYTE = 2**20
# A tuple that holds one tuple twice, which holds one twice, and so on 60 times.
NESTED = b")" + b"2\x86" * 60


def write_zip(path, pickled, entries=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in dict(entries).items():
            archive.writestr(f"archive/{name}", content)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def storage(key, count):
    """The instructions for a float32 storage."""
    parts = text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + integer(count)
    return b"(" + parts + b"tQ"


def tensor(key, count, offset, shape, strides):
    """The instructions for a view of a storage."""
    sides = [b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (shape, strides)]
    arguments = storage(key, count) + integer(offset) + b"".join(sides) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state_dict(tensors):
    items = b"".join(text(name) + made for name, made in tensors.items())
    return b"\x80\x02}(" + items + b"u."


def write_torch(path, tensors, storages):
    contents = {f"data/{key}": values.tobytes() for key, values in storages.items()}
    return write_zip(path, state_dict(tensors), contents)


def nested_tuples_as_key(folder):
    return write_zip(folder / "key.pth", b"\x80\x02}" + NESTED + b"K\x01s.")


def nested_tuples_in_a_set(folder):
    return write_zip(folder / "set.pth", b"\x80\x02cbuiltins\nset\n](" + NESTED + b"e\x85R.")


def nested_tuples_as_storage(folder):
    return write_zip(folder / "storage.pth", b"\x80\x02" + NESTED + b"Q.")


def nested_tuples_as_class(folder):
    return write_zip(folder / "class.pth", b"\x80\x04" + NESTED + text("x") + b"\x93.")


def nested_dicts(folder):
    """A dict of one dict under 30 names, which has one under 30 names, and so on."""
    level = b"}"
    for _ in range(20):
        level = b"}(" + text("a") + level + b"q\x00" + b"".join(
            text(f"b{index}") + b"h\x00" for index in range(30)
        ) + b"u"  # fmt: skip
    return write_zip(folder / "dicts.pth", b"\x80\x02" + level + b".")


def copies_of_a_list(folder):
    """A thousand dicts made of one list of ten thousand pairs."""
    pairs = b"](" + (text("a") + b"N\x86") * 10_000 + b"eq\x00"
    made = b"ccollections\nOrderedDict\nh\x00\x85R0" * 1000
    return write_zip(folder / "copies.pth", b"\x80\x02" + pairs + made + b".")


def three_million_lists(folder):
    return write_zip(folder / "lists.pth", b"\x80\x02" + b"]" * 3_000_000 + b".")


def one_tuple_for_many_calls(folder):
    """A tuple of 300 000 values, with which a function is called 150 000 times."""
    arguments = b"(" + b"N" * 300_000 + b"tq\x01"
    called = b"ctorch._utils\n_rebuild_parameter\nq\x00" + arguments + b"h\x00h\x01R0" * 150_000
    return write_zip(folder / "calls.pth", b"\x80\x02" + called + b".")


def distant_memory(folder):
    """Asks to remember something under number 2 147 483 647."""
    return write_zip(folder / "memo.pth", b"\x80\x02Nr\xff\xff\xff\x7f.")


def long_text(folder):
    pickled = b"\x80\x04\x8e" + struct.pack("<Q", 2**42) + b"."
    return write_zip(folder / "bytes.pth", pickled)


def inflated_pickle(folder):
    pickled = b"\x80\x02B" + struct.pack("<I", 100 * MEBIBYTE) + bytes(100 * MEBIBYTE) + b"."
    return write_zip(folder / "inflated.pth", pickled, compression=zipfile.ZIP_DEFLATED)


def many_views(folder):
    """400 views of a storage of a million elements, each with other strides."""
    count = 1_000_000
    views = {
        f"view{index}": tensor("0", count, index, (999, 900), (1000, 1)) for index in range(400)
    }
    return write_torch(folder / "views.pth", views, {"0": np.zeros(count, np.float32)})


def expanded_view(folder):
    view = tensor("0", 1, 0, (100_000, 100_000), (0, 0))
    return write_torch(folder / "expanded.pth", {"a": view}, {"0": np.zeros(1, np.float32)})


def many_dimensions(folder):
    view = tensor("0", 1, 0, (1,) * 200, (1,) * 200)
    return write_torch(folder / "dimensions.pth", {"a": view}, {"0": np.zeros(1, np.float32)})


def missing_storage(folder):
    view = tensor("0", 10**12, 0, (10**12,), (1,))
    return write_torch(folder / "missing.pth", {"a": view}, {"0": np.zeros(1, np.float32)})


def many_tensors(folder):
    view = tensor("0", 1, 0, (1,), (1,))
    views = {f"a{index}": b"h\x00" for index in range(30_000)}
    views = {"a": view + b"q\x00", **views}
    return write_torch(folder / "many.pth", views, {"0": np.zeros(1, np.float32)})


def tensors_under_many_names(folder):
    """1000 tensors in one dict, which is there under 1000 names."""
    view = tensor("0", 1, 0, (1,), (1,))
    inner = b"}(" + text("a") + view + b"q\x00"
    inner += b"".join(text(f"a{index}") + b"h\x00" for index in range(1000)) + b"uq\x01"
    outer = b"}(" + text("b") + inner
    outer += b"".join(text(f"b{index}") + b"h\x01" for index in range(1000)) + b"u."
    return write_zip(folder / "names.pth", b"\x80\x02" + outer, {"data/0": bytes(4)})


def long_names_of_networks(folder):
    """Two networks of 5000 tensors, under keys of 200 000 letters."""
    keys = [b"X" + struct.pack("<I", 200_000) + letter * 200_000 for letter in (b"a", b"b")]
    network = b"}(" + text("a") + tensor("0", 1, 0, (1,), (1,)) + b"q\x00"
    network += b"".join(text(f"a{index}") + b"h\x00" for index in range(5000)) + b"uq\x01"
    networks = b"}(" + keys[0] + network + keys[1] + b"h\x01u."
    return write_zip(folder / "keys.pth", b"\x80\x02" + networks, {"data/0": bytes(4)})


def name_for_a_terminal(folder):
    view = tensor("0", 1, 0, (1,), (1,))
    return write_torch(folder / "name.pth", {"\x1b[2J": view}, {"0": np.zeros(1, np.float32)})


def legacy_storage_too_long(folder):
    path = folder / "legacy.pth"
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(value, file, 2)
        file.write(state_dict({"a": tensor("0", 2**40, 0, (2**40,), (1,))}))
        pickle.dump(["0"], file, 2)
        file.write(struct.pack("<q", 2**40))
    return path


def legacy_tar(folder):
    """The format before the legacy one, and what some call `.pth.tar`."""
    path = folder / "old.pth.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def write_npz(path, arrays, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(header, content=b"", version=1):
    text = header if isinstance(header, bytes) else repr(header).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + content


def header(shape=(1,), descr="<f4"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


def inflated_npz(folder):
    path = folder / "inflated.npz"
    np.savez_compressed(path, a=np.zeros(100 * MEBIBYTE, np.uint8))
    return path


def inflated_header(folder):
    content = npy(b" " * 50 * MEBIBYTE, version=2)
    return write_npz(folder / "header.npz", {"a": content})


def large_shape(folder):
    return write_npz(folder / "shape.npz", {"a": npy(header((10**6, 10**6)))})


def large_text(folder):
    return write_npz(folder / "text.npz", {"a": npy(header((1,), "<U200000000"))})


def negative_shape(folder):
    return write_npz(folder / "negative.npz", {"a": npy(header((-1, -4)), bytes(16))})


class Command:
    """Runs a shell command when it is unpickled the usual way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


def objects(folder):
    path = folder / "objects.npz"
    np.savez(path, a=np.array([Command(f"touch {folder / 'executed'}")], object))
    return path


def overlapping_entries(folder):
    path = folder / "overlapping.npz"
    content = io.BytesIO()
    np.save(content, np.zeros(MEBIBYTE, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue())
        for index in range(300):
            twin = copy.copy(archive.filelist[0])
            twin.filename = f"a{index}.npy"
            archive.filelist.append(twin)
    return path


def large_directory(folder):
    """80 000 entries without content, of 54 bytes each."""
    names = [f"{index:08}" for index in range(80_000)]
    entry = struct.Struct("<4s4B4HL2L5H2L")
    directory = b"".join(
        entry.pack(b"PK\1\2", 20, 3, 20, *(0,) * 8, 8, *(0,) * 6) + name.encode() for name in names
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), 0, 0)
    path = folder / "directory.pth"
    path.write_bytes(b"PK\1\2" + directory[4:] + end)
    return path


def twin_entries(folder):
    path = folder / "twins.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(header(), bytes(4)))
        entry = zipfile.ZipInfo("b.npy")
        archive.writestr(entry, npy(header(), bytes(4)))
        entry.filename = "a.npy"
    return path


def bzip2(folder):
    content = npy(header((MEBIBYTE,), "|u1"), bytes(MEBIBYTE))
    return write_npz(folder / "bzip2.npz", {"a": content}, zipfile.ZIP_BZIP2)


def symbolic_link(folder):
    """A link to the file of passwords where the pickle should be."""
    path = folder / "link.pth"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("archive/data.pkl")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return path


def write_safetensors(path, header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header_without_end(folder):
    path = folder / "header.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    return path


def large_json(folder):
    return write_safetensors(folder / "json.safetensors", b'{"a":[' + b"[]," * 2 * MEBIBYTE)


def deep_json(folder):
    return write_safetensors(folder / "deep.safetensors", b'{"a":' + b"[" * MEBIBYTE)


def shared_bytes(folder):
    tensors = {f"a{index}": entry([MEBIBYTE], 0, 4 * MEBIBYTE) for index in range(200)}
    return write_safetensors(folder / "shared.safetensors", tensors, bytes(4 * MEBIBYTE))


def bytes_that_are_not_there(folder):
    return write_safetensors(folder / "short.safetensors", {"a": entry([2**40], 0, 2**42)})


def name_twice(folder):
    text = json.dumps(entry([1], 0, 4))
    content = f'{{"a":{text},"a":{text}}}'.encode()
    return write_safetensors(folder / "twice.safetensors", content, bytes(4))


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


NOTHING = "must hold tensors by name"
CUT_OFF = "must be a whole|damaged"
ALL = {
    nested_tuples_as_key: NOTHING,
    nested_tuples_in_a_set: NOTHING,
    nested_tuples_as_storage: "must refer to storages only",
    nested_tuples_as_class: "which could run code",
    nested_dicts: NOTHING,
    copies_of_a_list: "at most 1000000 steps",
    one_tuple_for_many_calls: "at most 1000000 steps",
    three_million_lists: "at most 1000000 steps",
    distant_memory: NOTHING,
    long_text: CUT_OFF,
    inflated_pickle: "must inflate to at most",
    many_views: "at most 4 times",
    expanded_view: "must lie within its storage",
    many_dimensions: "at most 32",
    missing_storage: "must have 4000000000000 bytes",
    many_tensors: "at most 20000 tensors",
    tensors_under_many_names: "at most 20000 tensors",
    long_names_of_networks: "of at most 1000 characters",
    name_for_a_terminal: "must be printable",
    legacy_storage_too_long: CUT_OFF,
    legacy_tar: r"must be a PyTorch file.*begins with b'sys_info'",
    inflated_npz: "must inflate to at most",
    inflated_header: CUT_OFF,
    large_shape: "must hold an array of",
    large_text: "must hold numbers",
    negative_shape: "must have a shape",
    objects: "must hold numbers, got object: it was not loaded",
    overlapping_entries: "must not overlap",
    large_directory: "directory of at most",
    twin_entries: "names of their own",
    bzip2: "must be stored or deflated",
    symbolic_link: CUT_OFF,
    header_without_end: CUT_OFF,
    large_json: CUT_OFF,
    deep_json: CUT_OFF,
    shared_bytes: "tensors that overlap",
    bytes_that_are_not_there: CUT_OFF,
    name_twice: "a name twice",
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
