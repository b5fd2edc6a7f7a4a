"""Files that PyTorch wrote (in `data`), and hostile or broken ones made here."""

import contextlib
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import types
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hostile_pytorch import Command, tensor, text, write_torch, write_zip

from kerasseg.checkpoints.readers import CheckpointError, read

DATA = Path(__file__).parent / "data"
FILES = ("zip.pth", "legacy.pth", "wrapped.pth")


@pytest.mark.parametrize("name", FILES)
def test_files_of_pytorch_are_read_without_it(name):
    found = read(DATA / name)
    np.testing.assert_array_equal(found[_named(name, "a.weight")], [[0, 1, 2], [3, 4, 5]])
    transposed = found[_named(name, "a.transposed")]  # the same storage, other strides
    np.testing.assert_array_equal(transposed, [[0, 3], [1, 4], [2, 5]])
    for half, expected in (("half", [0.5, -2.0]), ("brain", [1.5, -3.0])):
        values = found[_named(name, half)]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)
    count = found[_named(name, "count")]
    assert (count.dtype, count.shape, int(count)) == (np.int64, (), 7)
    if name != "wrapped.pth":
        assert found["none"].shape == (0, 3)


def _named(file, tensor):
    return f"module.{tensor}" if file == "wrapped.pth" else tensor


def test_safetensors_are_read_bfloat16_too(tmp_path):
    safetensors.numpy.save_file({"w": np.eye(3, dtype=np.float32)}, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors")["w"], np.eye(3))
    # 1.5 and -3 in bfloat16 are the upper 16 bits of float32: 0x3fc0 and 0xc040.
    header = b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    content = struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3FC0, 0xC040)
    (tmp_path / "b.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "b.safetensors")["b"], [1.5, -3.0])


def test_npz_and_h5_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    np.testing.assert_array_equal(read(tmp_path / "a.npz")["w"], [1, 1])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layer/kernel"] = np.arange(3)
    np.testing.assert_array_equal(read(tmp_path / "a.h5")["layer/kernel"], [0, 1, 2])


class Evaluation:
    def __reduce__(self):
        return (eval, ("__import__('os').mkdir('owned')",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("nested", [False, True])
def test_a_malicious_file_is_refused_by_the_name_of_its_class(tmp_path, protocol, nested):
    marker = tmp_path / "executed"
    hostile = Command(f"touch {marker}")
    content = {"meta": {"hooks": [hostile]}, "state_dict": {}} if nested else hostile
    path = write_zip(tmp_path / "evil.pth", pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError, match=rf"evil\.pth: .*{os.name}.system.*not loaded"):
        read(path)
    assert not marker.exists()


def test_evaluation_and_the_old_format_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"builtins.eval"):
        read(write_zip(tmp_path / "evil.pth", pickle.dumps(Evaluation())))
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(pickle.dumps(Evaluation(), protocol=2))
    with pytest.raises(CheckpointError, match=r"eval"):
        read(legacy)
    # INST, the opcode of protocol 0 for old classes
    with pytest.raises(CheckpointError, match=r"posix.system"):
        read(write_zip(tmp_path / "inst.pth", b"(S'true'\niposix\nsystem\n."))
    assert not (tmp_path / "owned").exists()


def test_a_pickle_cannot_change_what_it_may_name(tmp_path):
    """BUILD sets attributes of any object: on a storage's kind it must fail, not stay."""
    pickled = b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeX\x02\x00\x00\x00f8sb."
    with pytest.raises(CheckpointError):
        read(write_zip(tmp_path / "change.pth", pickled))
    assert read(DATA / "zip.pth")["a.weight"].dtype == np.float32


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_changed_file_is_an_error_or_read_never_a_crash(name, tmp_path):
    whole = (DATA / name).read_bytes()
    path = tmp_path / name
    for end in range(0, len(whole), 16):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read(path)
    for index in range(0, len(whole), 7):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 0x55]) + whole[index + 1 :])
        with contextlib.suppress(CheckpointError):
            assert read(path)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    shutil.unpack_archive(DATA / "zip.pth", tmp_path / "zip", "zip")
    (pickled,) = tmp_path.rglob("data.pkl")
    # Shape (2, 3) of the first tensor becomes (2, 9).
    content = pickled.read_bytes()
    assert b"K\x02K\x03\x86" in content
    pickled.write_bytes(content.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86", 1))
    shutil.make_archive(str(tmp_path / "large"), "zip", tmp_path / "zip")
    with pytest.raises(CheckpointError, match=r"within its storage|stored"):
        read(tmp_path / "large.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a PyTorch file.*got a file that begins with b''"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 20, "begins with"),
        (b"just a text file", "begins with b'just a t'"),
    ],
)
def test_a_foreign_file_is_an_error_that_says_what_would_be_right(content, message, tmp_path):
    path = tmp_path / "foreign.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_a_missing_file_a_folder_and_a_file_without_tensors_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="got nothing of that name"):
        read(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="got a folder"):
        read(tmp_path)
    path = write_zip(tmp_path / "empty.pth", pickle.dumps({"epoch": 3}))
    with pytest.raises(CheckpointError, match=r"must hold tensors by name, got \['epoch'\]"):
        read(path)


def test_keras_2_weights_are_read_by_layer_and_variable(tmp_path):
    """Keras 2 files a variable under its layer's name, twice; `model.save` adds a folder on top."""
    from kerasseg.checkpoints import keras_deeplab

    values = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    for top in ("", "model_weights/"):
        path = tmp_path / "weights.h5"
        with h5py.File(path, "w") as file:
            file[f"{top}aspp0/aspp0/kernel:0"] = values
            file[f"{top}aspp0_BN/aspp0_BN/moving_variance:0"] = values[0, 0, 0]
        state = keras_deeplab.clean(read(path))
        assert sorted(state) == ["aspp0/kernel", "aspp0_BN/moving_variance"]
        np.testing.assert_array_equal(state["aspp0/kernel"], values)


def test_tied_weights_are_one_view_of_their_storage(tmp_path):
    """A decoder that shares its embedding: one view under two names, and its transpose."""
    values = np.arange(6, dtype=np.float32)
    view = tensor("0", 6, 0, (2, 3), (3, 1))
    views = {f"layer{index}.weight": view for index in range(100)}
    views["transposed"] = tensor("0", 6, 0, (3, 2), (1, 3))
    found = read(write_torch(tmp_path / "tied.pth", views, {"0": values}))
    assert len(found) == 101
    np.testing.assert_array_equal(found["layer7.weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["transposed"], [[0, 3], [1, 4], [2, 5]])
    assert all(np.shares_memory(found["transposed"], values) for values in found.values())


def test_different_views_of_a_storage_may_have_four_times_its_elements(tmp_path):
    storages = {"0": np.arange(8, dtype=np.float32)}
    forms = {(8,): (1,), (2, 4): (4, 1), (4, 2): (2, 1), (2, 2, 2): (4, 2, 1)}
    views = {
        f"view{index}": tensor("0", 8, 0, shape, strides)
        for index, (shape, strides) in enumerate(forms.items())
    }
    found = read(write_torch(tmp_path / "four.pth", views, storages))
    assert [found[f"view{index}"].shape for index in range(4)] == list(forms)
    views["view4"] = tensor("0", 8, 0, (1, 8), (8, 1))
    with pytest.raises(CheckpointError, match="at most 4 times its 8 elements"):
        read(write_torch(tmp_path / "five.pth", views, storages))
    # Parts of one storage, as a flat buffer of all parameters has them, are no more than it.
    parts = {f"part{index}": tensor("0", 8, index, (1,), (1,)) for index in range(8)}
    found = read(write_torch(tmp_path / "parts.pth", parts, storages))
    np.testing.assert_array_equal([found[f"part{index}"][0] for index in range(8)], range(8))


def test_zeros_are_read_compressed_too(tmp_path):
    """Deflate makes 1 byte of 1000; 64 MiB may come of any file."""
    zeros = np.zeros((1024, 1024, 4), np.float32)
    np.savez_compressed(tmp_path / "zeros.npz", a=zeros, b=np.ones(3))
    assert (tmp_path / "zeros.npz").stat().st_size < 20_000
    found = read(tmp_path / "zeros.npz")
    assert found["a"].shape == zeros.shape
    assert not found["a"].any()
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file.create_dataset("a", data=zeros, compression="gzip", shuffle=True)
    assert not read(tmp_path / "zeros.h5")["a"].any()


def test_an_archive_that_was_unpacked_and_packed_again_is_read(tmp_path):
    shutil.unpack_archive(DATA / "zip.pth", tmp_path / "zip", "zip")
    shutil.make_archive(str(tmp_path / "again"), "zip", tmp_path / "zip")
    found, whole = read(tmp_path / "again.zip"), read(DATA / "zip.pth")
    assert found.keys() == whole.keys()
    np.testing.assert_array_equal(found["a.weight"], whole["a.weight"])


def dicts(content):
    """The instructions for nested dicts of tensors."""
    if isinstance(content, bytes):
        return content
    return b"}(" + b"".join(text(name) + dicts(value) for name, value in content.items()) + b"u"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"net": {"a": 0}, "epoch": 3}, ["a"]),
        ({"state_dict": {"a": 0}, "optimizer": {"state": {"a.momentum": 0}}}, ["a"]),
        ({"ema": {"module": {"a": 0}}}, ["a"]),
        ({"a": 0, "b": 0, "extra": {"c": 0}}, ["a", "b"]),
        ({"student": {"a": 0}, "teacher": {"a": 0}}, ["student.a", "teacher.a"]),
        ({"state_dict": {"a": 0}, "state_dict_ema": {"module.a": 0}},
         ["state_dict.a", "state_dict_ema.module.a"]),
    ],
)  # fmt: skip
def test_the_network_is_found_among_what_a_training_kept(content, names, tmp_path):
    view = tensor("0", 1, 0, (1,), (1,))

    def with_tensors(value):
        if isinstance(value, dict):
            return {name: with_tensors(inner) for name, inner in value.items()}
        return view if value == 0 else b"K" + bytes([value])

    pickled = b"\x80\x02" + dicts(with_tensors(content)) + b"."
    path = write_zip(tmp_path / "a.pth", pickled, {"data/0": np.ones(1, np.float32).tobytes()})
    assert sorted(read(path)) == names


@pytest.mark.parametrize("protocol", range(1, 6))
def test_pickles_of_every_protocol_are_read(protocol, tmp_path, monkeypatch):
    """As Python writes them, with functions and classes under the names of PyTorch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        raise AssertionError

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            return (rebuild, (Storage(), 1, (2, 2), (2, 1), False, OrderedDict()))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, "0", "cpu", 5)
            return None

    state = OrderedDict(a=Tensor())
    state._metadata = {"": {"version": 1}}
    meta = {"epoch": 3, "time": 1.5, "seen": {1, 2}, "big": 2**70, "raw": b"\xff", "name": "\u00e9"}
    content = {"meta": meta, (1, 2): [None, True], "state_dict": state}
    pickled = io.BytesIO()
    Pickler(pickled, protocol).dump(content)
    storage = np.arange(5, dtype=np.float32).tobytes()
    path = write_zip(tmp_path / "a.pth", pickled.getvalue(), {"data/0": storage})
    np.testing.assert_array_equal(read(path)["a"], [[1, 2], [3, 4]])


def test_reading_loads_no_framework_and_no_hdf5_into_the_process(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(3)
    code = (
        "import sys\n"
        "from kerasseg.checkpoints.readers import read\n"
        "print([len(read(path)) for path in sys.argv[1:]])\n"
        "print({'tensorflow', 'keras', 'torch', 'h5py'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, DATA / "zip.pth", tmp_path / "a.h5"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == "[6, 1]\nset()\n"


def test_a_dict_of_pairs_is_read_as_python_2_wrote_it(tmp_path):
    pairs = b"](](" + text("a") + tensor("0", 1, 0, (1,), (1,)) + b"ee"
    pickled = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
    path = write_zip(tmp_path / "a.pth", pickled, {"data/0": np.ones(1, np.float32).tobytes()})
    np.testing.assert_array_equal(read(path)["a"], [1])
