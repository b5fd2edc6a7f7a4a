"""Zip archives and .safetensors files that exhaust a careless reader or make it reveal files.

Every function writes one into a folder and returns its path; `REFUSALS` says how each is refused.
"""

import copy
import io
import json
import struct
import zipfile

import numpy as np
from hostile_pytorch import Command

MEBIBYTE = 2**20


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


CUT_OFF = "must be a whole|damaged"
REFUSALS = {
    inflated_npz: "must inflate to at most",
    inflated_header: CUT_OFF,
    large_shape: "must hold an array of",
    large_text: "must hold numbers",
    negative_shape: "must have a shape",
    objects: "must hold numbers, got object: it was not loaded",
    overlapping_entries: "must not overlap",
    large_directory: "directory of at most",
    twin_entries: "must have different names",
    bzip2: "must be stored or deflated",
    symbolic_link: CUT_OFF,
    header_without_end: CUT_OFF,
    large_json: CUT_OFF,
    deep_json: CUT_OFF,
    shared_bytes: "tensors that overlap",
    bytes_that_are_not_there: CUT_OFF,
    name_twice: "a name twice",
}
