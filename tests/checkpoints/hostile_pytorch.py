"""PyTorch files that exhaust a careless reader, or make it reveal other files.

Every function writes one into a folder and returns its path; `REFUSALS` says how each is refused.
"""

import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np

MEBIBYTE = 2**20
# A tuple that holds one tuple twice, which holds one twice, and so on 60 times.
NESTED = b")" + b"2\x86" * 60


class Command:
    """Runs a shell command when it is unpickled the usual way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


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


NOTHING = "must hold tensors by name"
CUT_OFF = "must be a whole|damaged"
REFUSALS = {
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
}
